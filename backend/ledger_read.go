package backend

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// This file reads the ledger: one record, those of a role, or all of a connection.
// What finds a record by what is known of its key is in index.go.

// get returns a record; nil if there is none.
func (l ledger) get(ctx context.Context, p pointer) (*record, error) {
	return load[record](ctx, l.storage, p.key())
}

// countRole counts the records of one role under one connection: the keys that
// may exist, whatever their state.
func (l ledger) countRole(ctx context.Context, config, role string) (int, error) {
	names, err := list(ctx, l.storage, recordsPrefix(config, role))
	if err != nil {
		return 0, err
	}
	count := 0
	for _, name := range names {
		if strings.HasPrefix(name, mark) {
			count++
		}
	}
	return count, nil
}

// ofRole returns the records of one role under one connection; without a role,
// those of the connection's admin keys.
func (l ledger) ofRole(ctx context.Context, config, role string) ([]record, error) {
	names, err := list(ctx, l.storage, recordsPrefix(config, role))
	if err != nil {
		return nil, err
	}
	var recs []record
	for _, name := range names {
		id, ok := strings.CutPrefix(name, mark)
		if !ok {
			continue
		}
		rec, err := l.get(ctx, pointer{config: config, role: role, id: id})
		if err != nil {
			return nil, err
		}
		if rec != nil {
			recs = append(recs, *rec)
		}
	}
	return recs, nil
}

// staticOf returns the records of a static role's keys, under all connections that
// there are and those that the role names: it may have moved from one to another, and
// one may be deleted by force. A role that does not say, because it is gone, is looked
// for under all that the ledger knows, which costs more: some storages read all that
// is below a prefix to list it.
func (l ledger) staticOf(ctx context.Context, role string, e *staticEntry) ([]record, error) {
	from := configPrefix
	if e == nil || e.leaving() {
		from = ledgerPrefix
	}
	configs, err := list(ctx, l.storage, from)
	if err != nil {
		return nil, err
	}
	if e != nil {
		configs = append(configs, e.configs()...)
	}
	for i, config := range configs {
		configs[i] = strings.TrimSuffix(config, "/")
	}
	slices.Sort(configs)
	var all []record
	for _, config := range slices.Compact(configs) {
		recs, err := l.ofRole(ctx, config, role)
		if err != nil {
			return nil, err
		}
		all = append(all, slices.DeleteFunc(recs, func(rec record) bool { return rec.Kind != static })...)
	}
	return all, nil
}

// pointersUnder returns where all records are of the roles that a name stands for;
// without a name, all that there are.
func (l ledger) pointersUnder(ctx context.Context, name string) ([]pointer, error) {
	configs, err := list(ctx, l.storage, ledgerPrefix)
	if err != nil {
		return nil, err
	}
	var pointers []pointer
	for _, config := range configs {
		prefix := recordsPrefix(strings.TrimSuffix(config, "/"), strings.TrimSuffix(name, "/"))
		err := walk(ctx, l.storage, prefix, func(key string) error {
			p, err := parseStored(key)
			if err == nil && (name == "" || standsFor(name, p.role)) {
				pointers = append(pointers, p)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pointers, nil
}

// readWorkers is how many records are read at the same time.
const readWorkers = 16

// readRecords calls visit, which is not called twice at once, with every record of a
// connection. One that cannot be decoded is an error, or, unless that is nil, a call of
// undecodable.
func (l ledger) readRecords(ctx context.Context, config string, visit func(record), undecodable func(error)) error {
	keys := make(chan string)
	errs := make([]error, readWorkers)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range readWorkers {
		wg.Go(func() {
			for key := range keys {
				rec, err := load[record](ctx, l.storage, key)
				if _, bad := errors.AsType[*decodeError](err); bad && undecodable != nil {
					undecodable(err)
					continue
				}
				if err != nil && errs[w] == nil {
					errs[w] = err
				}
				if rec != nil {
					mu.Lock()
					visit(*rec)
					mu.Unlock()
				}
			}
		})
	}
	err := walk(ctx, l.storage, recordsPrefix(config, ""), func(key string) error {
		keys <- key
		return ctx.Err()
	})
	close(keys)
	wg.Wait()
	return firstError(append(errs, err)...)
}

// countRoleEverywhere counts the records of a role under all connections: a role
// may have moved from one to another.
func (l ledger) countRoleEverywhere(ctx context.Context, role string) (int, error) {
	configs, err := list(ctx, l.storage, ledgerPrefix)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, config := range configs {
		count, err := l.countRole(ctx, strings.TrimSuffix(config, "/"), role)
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}

// countConfig counts the records of one connection, without those of its admin
// keys. Its cost grows with them.
func (l ledger) countConfig(ctx context.Context, config string) (int, error) {
	count := 0
	err := l.walkConfig(ctx, config, func() error { count++; return nil })
	return count, err
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// holdsAny reports whether the ledger holds a record of the connection, other
// than those of its admin keys.
func (l ledger) holdsAny(ctx context.Context, config string) (bool, error) {
	err := l.walkConfig(ctx, config, func() error { return errEnough })
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

func (l ledger) walkConfig(ctx context.Context, config string, visit func() error) error {
	prefix := recordsPrefix(config, "")
	return walk(ctx, l.storage, prefix, func(key string) error {
		if strings.HasPrefix(key, prefix+mark) {
			return nil
		}
		return visit()
	})
}
