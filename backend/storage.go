package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// recordTimeout bounds a storage write that must not be cut off by a caller who
// goes away.
const recordTimeout = 15 * time.Second

// load reads a stored entry; nil if there is none.
func load[T any](ctx context.Context, s logical.Storage, key string) (*T, error) {
	entry, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if entry == nil {
		return nil, nil
	}
	value := new(T)
	if err := json.Unmarshal(entry.Value, value); err != nil {
		return nil, &decodeError{key, err}
	}
	return value, nil
}

// A decodeError is that a stored entry is not what it should be.
type decodeError struct {
	key string
	err error
}

func (e *decodeError) Error() string { return "decode " + e.key + ": " + e.err.Error() }
func (e *decodeError) Unwrap() error { return e.err }

// save writes an entry.
func save(ctx context.Context, s logical.Storage, key string, value any) error {
	return put(ctx, s, key, value, false)
}

// saveSealed writes an entry that holds a secret.
func saveSealed(ctx context.Context, s logical.Storage, key string, value any) error {
	return put(ctx, s, key, value, true)
}

func put(ctx context.Context, s logical.Storage, key string, value any, sealed bool) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if err := s.Put(ctx, &logical.StorageEntry{Key: key, Value: raw, SealWrap: sealed}); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func remove(ctx context.Context, s logical.Storage, key string) error {
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func list(ctx context.Context, s logical.Storage, prefix string) ([]string, error) {
	names, err := s.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	return names, nil
}

// walk calls visit with every key below prefix, in order. It stops at the first
// error.
func walk(ctx context.Context, s logical.Storage, prefix string, visit func(key string) error) error {
	names, err := list(ctx, s, prefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			err = walk(ctx, s, prefix+name, visit)
		} else {
			err = visit(prefix + name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// together does several things with the storage at the same time, which costs
// little more than one of them. It returns their first error.
func together(ctx context.Context, work ...func(context.Context) error) error {
	errs := make([]error, len(work))
	var wg sync.WaitGroup
	for i, do := range work {
		wg.Go(func() { errs[i] = do(ownIndexState(ctx)) })
	}
	wg.Wait()
	return firstError(errs...)
}

// ownIndexState gives a goroutine its own place for what the SDK notes of each
// storage write in the context, without a lock.
func ownIndexState(ctx context.Context) context.Context {
	return logical.IndexStateContext(ctx, &logical.WALState{})
}

// mustRecord returns a context for a write that records what has happened or is
// about to: the caller's going away does not stop it.
func mustRecord(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}
