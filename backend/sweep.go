package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file finishes what was left: creates without an answer, keys whose holder
// is lost, deletions that failed, service accounts whose role is gone.
//
//   - It looks only at what is due, by the time index; once the mount is being
//     disabled, everything is due.
//   - It collects first and acts then. Each connection has workers of its own, so
//     that one which fails or is paused does not hold up another.
//   - A record whose slot is taken is being moved by somebody else: it is left.
//   - A connection that fails several times in a row is left until the next sweep.
//   - What fails is retried for ever, ever less often, and says so in its record.

const (
	// sweepBudget bounds one sweep. Vault holds locks meanwhile, and ends it after
	// 90 s.
	sweepBudget = 45 * time.Second
	// failuresInARow is when a connection is given up until the next sweep.
	failuresInARow = 3
)

var errSweepBudget = errors.New("the sweep's time is spent")

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
	ctx, cancel := context.WithTimeoutCause(ctx, sweepBudget, errSweepBudget)
	defer cancel()
	return b.sweep(ctx, req.Storage)
}

// A sweepRun is one sweep.
type sweepRun struct {
	*backend
	storage logical.Storage
	tainted bool

	done, failed, left atomic.Int64

	mu     sync.Mutex
	oldest time.Time // minute of the oldest entry that stays; zero if none does
}

func (b *backend) sweep(ctx context.Context, s logical.Storage) error {
	started := b.now()
	run := &sweepRun{backend: b, storage: s, tainted: b.System().Tainted()}
	tasks, err := run.collect(ctx, started)
	if err != nil {
		return fmt.Errorf("sweep: collect what is due: %w", err)
	}
	byConfig := map[string][]task{}
	for _, t := range tasks {
		byConfig[t.config] = append(byConfig[t.config], t)
	}
	var wg sync.WaitGroup
	for config, tasks := range byConfig {
		wg.Go(func() { run.connection(ownIndexState(ctx), config, tasks) })
	}
	wg.Wait()
	if run.tainted {
		b.sweeps.reset() // if the mount lives on, the index is read anew
	} else {
		b.sweeps.finished(started, run.oldest)
	}
	if len(tasks) > 0 {
		b.Logger().Info("sweep", "due", len(tasks), "done", run.done.Load(), "failed", run.failed.Load(), "left", run.left.Load(), "took", b.now().Sub(started).String())
	}
	return nil
}

// ownIndexState gives a goroutine its own place for what the SDK notes of each
// storage write in the context, without a lock.
func ownIndexState(ctx context.Context) context.Context {
	return logical.IndexStateContext(ctx, &logical.WALState{})
}

// collect returns what is due: records first, then principals, so that keys are
// gone before what owns them.
func (r *sweepRun) collect(ctx context.Context, now time.Time) ([]task, error) {
	if r.tainted {
		return r.collectAll(ctx)
	}
	return r.collectDue(ctx, now)
}

func (r *sweepRun) collectAll(ctx context.Context) ([]task, error) {
	var tasks []task
	for _, prefix := range []string{ledgerPrefix, principalPrefix} {
		err := walk(ctx, r.storage, prefix, func(key string) error {
			p, err := parseStored(key)
			if err != nil {
				return err
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
	var records, principals []task
	for _, t := range tasks {
		if t.principal() {
			principals = append(principals, t)
		} else {
			records = append(records, t)
		}
	}
	queue.work(ctx, records, workers)
	queue.settleAll(ctx)
	queue.work(ctx, principals, 1)
}

// A sweepQueue is the work of one sweep on one connection.
type sweepQueue struct {
	run    *sweepRun
	config string
	inARow atomic.Int64 // failures that blame the connection

	mu       sync.Mutex
	pendings []heldPending
}

// A heldPending is a pending record whose slot is held until it is settled.
type heldPending struct {
	task
	rec     record
	release func()
}

func (q *sweepQueue) work(ctx context.Context, tasks []task, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(tasks)) {
		wg.Go(func() {
			ctx := ownIndexState(ctx)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tasks) {
					return
				}
				if ctx.Err() != nil || q.givenUp() {
					q.run.leave(tasks[i])
					continue
				}
				q.do(ctx, tasks[i])
			}
		})
	}
	wg.Wait()
}

func (q *sweepQueue) givenUp() bool { return q.inARow.Load() >= failuresInARow }

func (q *sweepQueue) do(ctx context.Context, t task) {
	if t.principal() {
		done, err := q.run.sweepPrincipal(ctx, q.run.storage, t.pointer, q.run.tainted)
		q.outcome(ctx, t, done, err)
		return
	}
	release, ok := q.run.slots.try(recordSlot(t.id))
	if !ok {
		q.run.leave(t)
		return
	}
	if held := q.record(ctx, t, release); !held {
		release()
	}
}

// record works on one record. It reports whether it keeps the record's slot.
func (q *sweepQueue) record(ctx context.Context, t task, release func()) (held bool) {
	r := q.run
	rec, err := r.ledger(r.storage).get(ctx, t.pointer)
	switch {
	case err != nil:
		q.outcome(ctx, t, false, err)
	case rec == nil:
		q.outcome(ctx, t, true, nil)
	case !r.tainted && rec.Due.After(r.now()):
		if rec.pointer().dueKey(rec.Due) == t.hint {
			r.leave(t) // later in this minute
		} else {
			q.outcome(ctx, t, true, nil) // a stale hint
		}
	case rec.State == pending:
		q.mu.Lock()
		q.pendings = append(q.pendings, heldPending{task: t, rec: *rec, release: release})
		q.mu.Unlock()
		return true
	default:
		if rec.State == active {
			r.Logger().Info("a key has outlived its lease; deleting it", "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID)
		}
		err := r.kill(ctx, r.storage, *rec)
		q.outcome(ctx, t, err == nil, err)
	}
	return false
}

// settleAll settles the pending records, one scope at a time.
func (q *sweepQueue) settleAll(ctx context.Context) {
	byScope := map[string][]heldPending{}
	for _, p := range q.pendings {
		byScope[p.rec.Scope] = append(byScope[p.rec.Scope], p)
	}
	for _, group := range byScope {
		q.settleScope(ctx, group)
	}
}

func (q *sweepQueue) settleScope(ctx context.Context, group []heldPending) {
	recs := make([]record, len(group))
	for i, p := range group {
		recs[i] = p.rec
		defer p.release()
	}
	conn, err := q.run.backend.connection(ctx, q.run.storage, q.config)
	failures := []error{err}
	if err == nil {
		failures = q.run.settle(ctx, q.run.storage, conn, recs)
	}
	for _, err := range failures {
		q.outcome(ctx, group[0].task, false, err)
	}
	if len(failures) == 0 {
		for _, p := range group {
			q.outcome(ctx, p.task, true, nil)
		}
	}
}

// outcome counts a task. One that is done, or that has moved to another minute,
// loses its entry in the index.
func (q *sweepQueue) outcome(ctx context.Context, t task, done bool, err error) {
	r := q.run
	switch {
	case err == nil && done:
		r.done.Add(1)
		q.inARow.Store(0)
		r.forget(ctx, t)
	case err == nil:
		r.leave(t)
	default:
		r.failed.Add(1)
		if ctx.Err() != nil || provider.KindOf(err) == "" {
			r.stays(t) // else the failure moved it to the minute of the next try
		}
		r.Logger().Warn("sweep: one key or service account is left for a later try", "config", t.config, "role", t.role, "id", t.id, "error", err)
		if blamesConnection(err) {
			q.inARow.Add(1)
		}
	}
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
