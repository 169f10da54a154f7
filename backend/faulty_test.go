package backend

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// A faultyStorage counts the operations on a storage and spoils one of them.
type faultyStorage struct {
	logical.Storage

	mu     sync.Mutex
	ops    []string // what was done since reset, as "put ledger"
	at     int      // index of the operation to spoil; -1 for none
	op     string   // or its name
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

// spoil arms one fault, counting operations from now on.
func (f *faultyStorage) spoil(at int, how storageFault, onHit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops, f.at, f.op, f.how, f.onHit, f.active, f.dead = nil, at, "", how, onHit, true, false
}

// spoilOp arms a fault for all operations of a name, such as "put config/openai".
func (f *faultyStorage) spoilOp(op string, how storageFault) {
	f.spoil(-1, how, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op = op
}

// heal ends all faults and returns the operations since spoil.
func (f *faultyStorage) heal() []string {
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
	index := len(f.ops)
	f.ops = append(f.ops, name)
	if index != f.at && name != f.op {
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
