package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// A faultyStorage counts the operations on a storage and spoils one of them.
type faultyStorage struct {
	logical.Storage

	mu     sync.Mutex
	ops    []opID // what was done since reset
	at     opID   // the operation to spoil
	op     string // or its full name, each time
	how    storageFault
	dead   bool // the process has crashed: nothing works any more
	onHit  func()
	active bool
}

type storageFault int

const (
	failBefore storageFault = iota // an error, and nothing was done
	failAfter                      // an error, although it was done
	crashBefore
	crashAfter
	cancelBefore // the caller goes away, and the operation is done
	// deposedBefore: nothing can be stored any more, but the process lives on.
	deposedBefore
)

func (f storageFault) String() string {
	return [...]string{"fails", "fails after its effect", "crash before", "crash after", "caller gone before", "deposed before"}[f]
}

var errInjected = errors.New("injected storage failure")

// An opID names an operation: what it does, to what kind of entry, and how many
// of the same came before it. Some happen at the same time, so a plain index would
// mean another one each time.
type opID struct {
	what string // as "put index/id"
	nth  int
}

func (id opID) String() string { return fmt.Sprintf("%s %d", id.what, id.nth) }

// noOp is no operation.
var noOp = opID{}

// kindOfOp leaves ids and times out of a name.
func kindOfOp(op string) string {
	verb, key, _ := strings.Cut(op, " ")
	parts := strings.Split(key, "/")
	kind := parts[0]
	if kind+"/" == indexPrefix && len(parts) > 1 {
		kind += "/" + parts[1]
	}
	return verb + " " + kind
}

// spoil arms one fault, counting operations from now on.
func (f *faultyStorage) spoil(at opID, how storageFault, onHit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.at, f.op, f.how, f.onHit, f.active, f.dead = nil, at, "", how, onHit, true, false
}

// spoilOp arms a fault for all operations of a name, such as "put config/openai".
func (f *faultyStorage) spoilOp(op string, how storageFault) {
	f.spoil(noOp, how, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op = op
}

// heal ends all faults and returns the operations since spoil.
func (f *faultyStorage) heal() []opID {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active, f.dead = false, false
	return f.ops
}

func (f *faultyStorage) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// step says what happens to the next operation.
func (f *faultyStorage) step(name string) (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errInjected, nil
	}
	if !f.active {
		return nil, nil
	}
	id := opID{what: kindOfOp(name)}
	for _, before := range f.ops {
		if before.what == id.what {
			id.nth++
		}
	}
	f.ops = append(f.ops, id)
	if id != f.at && name != f.op {
		return nil, nil
	}
	if f.onHit != nil {
		f.onHit()
	}
	switch f.how {
	case failBefore:
		return errInjected, nil
	case failAfter:
		return nil, errInjected
	case crashBefore, deposedBefore:
		f.dead = true
		return errInjected, nil
	case crashAfter:
		f.dead = true
		return nil, errInjected
	}
	return nil, nil
}

func (f *faultyStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	before, after := f.step("get " + key)
	if before != nil {
		return nil, before
	}
	entry, err := f.Storage.Get(ctx, key)
	return entry, errors.Join(err, after)
}

func (f *faultyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	before, after := f.step("put " + entry.Key)
	if before != nil {
		return before
	}
	return errors.Join(f.Storage.Put(ctx, entry), after)
}

func (f *faultyStorage) Delete(ctx context.Context, key string) error {
	before, after := f.step("delete " + key)
	if before != nil {
		return before
	}
	return errors.Join(f.Storage.Delete(ctx, key), after)
}

func (f *faultyStorage) List(ctx context.Context, prefix string) ([]string, error) {
	before, after := f.step("list " + prefix)
	if before != nil {
		return nil, before
	}
	names, err := f.Storage.List(ctx, prefix)
	return names, errors.Join(err, after)
}
