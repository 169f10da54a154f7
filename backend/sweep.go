package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file finishes what was left: creates without an answer, keys whose holder
// is lost, deletions that failed, service accounts whose role is gone, rotations of
// admin keys and of the keys of static roles.
//
//   - It looks only at what is due, by the time index; once the mount is being
//     disabled, everything is due.
//   - It collects first and acts then. Each connection has workers of its own, so
//     that one which fails or is paused does not hold up another.
//   - A record whose slot is taken is being moved by somebody else: it is left.
//   - A connection that fails several times in a row is left until the next sweep.
//     On a mount that is being disabled there may be none: what is left is tried
//     again until the time is spent.
//   - What fails is retried for ever, ever less often, and says so in its record.

const (
	// sweepBudget bounds one sweep. Vault holds locks meanwhile, and ends it after
	// 90 s.
	sweepBudget = 45 * time.Second
	// failuresInARow is when a connection is given up until the next sweep.
	failuresInARow = 3
	// taintedRetry is when a mount that is being disabled tries again; it doubles.
	taintedRetry = 2 * time.Second
)

var errTimeSpent = errors.New("the time for this is spent")

// A task is one entry of the time index, or, on a mount that is being disabled,
// one record without regard to time.
type task struct {
	pointer
	hint   string    // the entry's key; empty if the task is not from the index
	minute time.Time // of the entry
}

// periodic is called by Vault once a minute.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	if !b.WriteSafeReplicationState() {
		return nil
	}
	release, ok := b.slots.try("sweep")
	if !ok {
		return nil
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, sweepBudget, errTimeSpent)
	defer cancel()
	return b.sweep(ctx, req.Storage)
}

// A sweepRun is one sweep, or one kill.
type sweepRun struct {
	*backend
	storage logical.Storage
	tainted bool
	// chosen says that the tasks are those of a kill: they are due whatever their
	// records say, and what fails, or is in somebody else's hands, is kept.
	chosen bool

	done, failed, left atomic.Int64

	mu       sync.Mutex
	oldest   time.Time // minute of the oldest entry that stays; zero if none does
	failures []keyFailure
	busy     []task
	open     map[pointer]bool // records that a kill has to mark yet
	repeated bool             // the kill goes on with an order
	tokens   int              // of those done, tokens that live on
	lastEnd  time.Time        // of these, the latest end
}

func (b *backend) sweep(ctx context.Context, s logical.Storage) error {
	if b.System().Tainted() {
		return b.drain(ctx, s)
	}
	if err := b.finishOrders(ctx, s); err != nil {
		b.Logger().Warn("sweep: a kill is left for a later try", "error", err)
	}
	started := b.now()
	run := &sweepRun{backend: b, storage: s}
	tasks, err := run.collectDue(ctx, started)
	if err != nil {
		return fmt.Errorf("sweep: collect what is due: %w", err)
	}
	run.all(ctx, tasks)
	b.sweeps.finished(started, run.oldest)
	run.scanStatics(ctx)
	b.reindex(ctx, s)
	b.metrics.swept(b.now().Sub(started), b.now(), run.failed.Load()+run.left.Load())
	if b.System().Tainted() {
		return b.drain(ctx, s) // Vault waits for this sweep, and asks for no other
	}
	return nil
}

// drain deletes everything at the providers, because after a disable nothing is
// left that remembers it. A move of the mount looks the same, but then the mount
// lives on, and the next sweep reads the whole index.
func (b *backend) drain(ctx context.Context, s logical.Storage) error {
	b.sweeps.reset()
	for wait := taintedRetry; ; wait *= 2 {
		run := &sweepRun{backend: b, storage: s, tainted: true}
		tasks, err := run.collectAll(ctx)
		if err != nil {
			return fmt.Errorf("drain the mount: collect what there is: %w", err)
		}
		run.all(ctx, tasks)
		if run.failed.Load()+run.left.Load() == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil // what is left is in the log, and is tried again
		}
	}
}

// all works on tasks, those of each connection by themselves.
func (r *sweepRun) all(ctx context.Context, tasks []task) {
	started := r.now()
	byConfig := map[string][]task{}
	for _, t := range tasks {
		byConfig[t.config] = append(byConfig[t.config], t)
	}
	var wg sync.WaitGroup
	for config, tasks := range byConfig {
		wg.Go(func() {
			defer r.recovered("connection", config)
			r.connection(ownIndexState(ctx), config, tasks)
		})
	}
	wg.Wait()
	if len(tasks) > 0 && !r.chosen {
		r.Logger().Info("sweep", "due", len(tasks), "done", r.done.Load(), "failed", r.failed.Load(), "left", r.left.Load(), "took", r.now().Sub(started).String())
	}
}

// recovered keeps a panic from ending the process, which serves other mounts.
func (r *sweepRun) recovered(what, name string) {
	if p := recover(); p != nil {
		r.failed.Add(1)
		logPanic(r.Logger(), p, "sweep of "+what, name)
	}
}

// collectAll returns a task for every record and principal.
func (r *sweepRun) collectAll(ctx context.Context) ([]task, error) {
	var tasks []task
	for _, prefix := range []string{ledgerPrefix, principalPrefix} {
		err := walk(ctx, r.storage, prefix, func(key string) error {
			p, err := parseStored(key)
			if err != nil {
				r.Logger().Error("bug: the ledger holds what cannot be read", "error", err)
				return nil
			}
			tasks = append(tasks, task{pointer: p})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

// connection works on the tasks of one connection.
func (r *sweepRun) connection(ctx context.Context, config string, tasks []task) {
	workers := 1
	if conn, err := r.backend.connection(ctx, r.storage, config); err == nil {
		workers = conn.entry.MaxConcurrency
	}
	queue := &sweepQueue{run: r, config: config}
	var records, principals, admins []task
	for _, t := range tasks {
		switch {
		case t.principal():
			principals = append(principals, t)
		case t.static():
			queue.statics = append(queue.statics, t)
		case t.admin():
			admins = append(admins, t)
		default:
			records = append(records, t)
		}
	}
	var wg sync.WaitGroup
	aside := func(do func(context.Context)) {
		wg.Go(func() {
			defer r.recovered("connection", config)
			do(ownIndexState(ctx))
		})
	}
	aside(func(ctx context.Context) { queue.adminKey(ctx, admins) })
	queue.work(ctx, records, workers, queue.look)
	aside(queue.settleAll)
	aside(func(ctx context.Context) { queue.work(ctx, onceEach(queue.statics), workers, queue.static) })
	queue.work(ctx, queue.doomed, workers, queue.delete)
	wg.Wait()
	if r.tainted && queue.busy.Load() {
		for _, t := range principals { // a mint may be under way under one
			r.leave(t)
		}
		return
	}
	queue.work(ctx, principals, 1, queue.principal)
}

// onceEach drops those tasks about a static role that do not come from the time
// index, if another one does.
func onceEach(tasks []task) []task {
	indexed := map[string]bool{}
	for _, t := range tasks {
		indexed[t.role] = indexed[t.role] || t.hint != ""
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(tasks, func(t task) bool {
		repeated := t.hint == "" && (indexed[t.role] || seen[t.role])
		seen[t.role] = true
		return repeated
	})
}

// forget removes a task's entry from the time index.
func (r *sweepRun) forget(ctx context.Context, t task) {
	if t.hint == "" {
		return
	}
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := remove(ctx, r.storage, t.hint); err != nil {
		r.stays(t)
	}
}

func (r *sweepRun) leave(t task) {
	r.left.Add(1)
	r.stays(t)
}

// stays remembers that an entry of the index is still there.
func (r *sweepRun) stays(t task) {
	if t.hint == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oldest.IsZero() || t.minute.Before(r.oldest) {
		r.oldest = t.minute
	}
}
