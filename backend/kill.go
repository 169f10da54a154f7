package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file kills keys on command: that of one record, or all of a role, of the
// roles below a part of a name, or of an entity.
//
//   - A kill of many is first stored as an order; then every record is marked for
//     deletion, which drops the order; then the keys are deleted while the caller
//     waits. Whatever is cut short, the sweep finishes: an order by marking, a
//     marked record by deleting.
//   - A record that somebody else is at, such as an issue under way, is waited for.
//   - Deleting is what the sweep does, with the same workers and the same retries,
//     but of chosen records, due or not.
//   - The admin key of a connection is not among them: see kill_admin.go.

const (
	// killBudget bounds a kill while its caller waits: the command line gives up
	// after 60 s. What is left then is for the sweep.
	killBudget = 50 * time.Second
	// killProgress is how often a long kill says in the log how far it is.
	killProgress = 10 * time.Second
	// markWorkers is how many records are marked at the same time.
	markWorkers = 16
)

// A target says whose keys are to die.
type target struct {
	Role     string `json:"role,omitempty"` // with a slash at the end, all roles below it
	EntityID string `json:"entity_id,omitempty"`
}

func (t target) String() string {
	if t.EntityID != "" {
		return "entity " + t.EntityID
	}
	return "role " + t.Role
}

// covers reports whether a key of a role is meant.
func (t target) covers(rec record) bool {
	switch {
	case rec.Kind == admin:
		return false
	case t.EntityID != "":
		return rec.EntityID == t.EntityID
	}
	return standsFor(t.Role, rec.Role)
}

// A killOrder is a kill that is not finished: some records are not marked yet.
//
//	{"version":1,"target":{"role":"team-a/"},"at":"…","by":{"entity_id":"…"}}
type killOrder struct {
	Version int       `json:"version"`
	Target  target    `json:"target"`
	At      time.Time `json:"at"`
	By      owner     `json:"by"`
}

const killOrderVersion = 1

// A killResult is what came of a kill.
type killResult struct {
	revoked int // keys that are gone at their provider
	queued  int // keys that the sweep will delete
	failed  []keyFailure
}

// A keyFailure is a key that could not be deleted yet. It stays queued.
type keyFailure struct {
	id  string
	err error
}

// killTarget kills all keys of a target.
func (b *backend) killTarget(ctx context.Context, s logical.Storage, t target, by owner) (*killResult, error) {
	ctx, cancel := context.WithTimeout(ctx, killBudget)
	defer cancel()
	order := orderKey(newID(b.now()))
	if err := b.saveOrder(ctx, s, order, killOrder{Version: killOrderVersion, Target: t, At: b.now(), By: by}); err != nil {
		return nil, err
	}
	run := b.newKillRun(s, t.String())
	late, err := run.mark(ctx, t, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("kill the keys of %s: %w (the sweep goes on with it)", t, err)
	}
	if len(late) == 0 && len(run.unmarked) == 0 {
		b.dropOrder(ctx, s, order)
	}
	run.delete(ctx, late)
	if len(late) > 0 && len(run.unmarked) == 0 && len(run.unseen) == 0 {
		b.dropOrder(ctx, s, order)
	}
	return run.result(), nil
}

func (b *backend) saveOrder(ctx context.Context, s logical.Storage, key string, order killOrder) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return save(ctx, s, key, order)
}

// dropOrder removes an order whose records are all marked. Its failure costs one
// more look by the sweep.
func (b *backend) dropOrder(ctx context.Context, s logical.Storage, key string) {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	if err := remove(ctx, s, key); err != nil {
		b.Logger().Warn("a kill is done and its order stays until the sweep", "error", err)
	}
}

// killRecords kills the keys of a few records of roles.
func (b *backend) killRecords(ctx context.Context, s logical.Storage, what string, recs []record) *killResult {
	ctx, cancel := context.WithTimeout(ctx, killBudget)
	defer cancel()
	run := b.newKillRun(s, what)
	for _, rec := range recs {
		run.tasks = append(run.tasks, task{pointer: rec.pointer()})
	}
	run.delete(ctx, nil)
	return run.result()
}

// finishOrders marks what orders still have to be marked, of what there was when
// they were given.
func (b *backend) finishOrders(ctx context.Context, s logical.Storage) error {
	names, err := list(ctx, s, orderPrefix)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, b.finishOrder(ctx, s, orderKey(name)))
	}
	return errors.Join(errs...)
}

func (b *backend) finishOrder(ctx context.Context, s logical.Storage, key string) error {
	order, err := load[killOrder](ctx, s, key)
	if err != nil || order == nil {
		return err
	}
	run := b.newKillRun(s, order.Target.String())
	late, err := run.mark(ctx, order.Target, order.At)
	if err != nil {
		return fmt.Errorf("finish the kill of %s: %w", order.Target, err)
	}
	b.Logger().Info("a kill that was cut short goes on", "target", order.Target.String(), "keys", len(run.tasks), "busy", len(late), "unmarked", len(run.unmarked))
	if len(run.unmarked) > 0 {
		return fmt.Errorf("finish the kill of %s: %w", order.Target, run.unmarked[0])
	}
	if len(late) == 0 {
		b.dropOrder(ctx, s, key)
	}
	return nil
}

// A killRun is one kill.
type killRun struct {
	*sweepRun
	what     string
	tasks    []task  // records that are marked, or were to be
	unmarked []error // why records could not be marked
}

func (b *backend) newKillRun(s logical.Storage, what string) *killRun {
	return &killRun{sweepRun: &sweepRun{backend: b, storage: s, chosen: true, unseen: map[pointer]bool{}}, what: what}
}

// mark marks the records of a target as revoking, due now, so that the sweep goes
// on with them whatever becomes of this process. It returns those that somebody
// else is at. One that cannot be marked is deleted all the same, if it can be read. A
// record that is younger than before is left, if that is set.
func (k *killRun) mark(ctx context.Context, t target, before time.Time) (late []task, err error) {
	pointers, err := k.pointersOf(ctx, k.storage, t)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(markWorkers, len(pointers)) {
		wg.Go(func() {
			ctx := ownIndexState(ctx)
			for i := next.Add(1) - 1; i < int64(len(pointers)); i = next.Add(1) - 1 {
				one := task{pointer: pointers[i]}
				found, busy, err := k.markOne(ctx, t, one.pointer, before)
				mu.Lock()
				if err != nil {
					k.unmarked = append(k.unmarked, fmt.Errorf("mark record %s: %w", one.id, err))
				}
				switch {
				case busy:
					late = append(late, one)
				case found:
					k.tasks = append(k.tasks, one)
				case err != nil:
					k.failed.Add(1)
					k.fail(one, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return late, nil
}

// markOne marks one record. It is found if it is one of the target. A pending one stays as it is: it is found by its name,
// and nobody has its key.
func (k *killRun) markOne(ctx context.Context, t target, p pointer, before time.Time) (found, busy bool, err error) {
	release, ok := k.slots.try(recordSlot(p.id))
	if !ok {
		return false, true, nil
	}
	defer release()
	l := k.ledger(k.storage)
	rec, err := l.get(ctx, p)
	if err != nil || rec == nil || !t.covers(*rec) {
		return false, false, err
	}
	if !before.IsZero() && rec.CreatedAt.After(before) {
		return false, false, nil
	}
	if rec.State == active {
		_, err = l.retire(ctx, *rec, k.now())
	}
	return true, false, err
}

// delete deletes the keys of all tasks, and of those that somebody else is at as
// soon as that is over.
func (k *killRun) delete(ctx context.Context, late []task) {
	for _, t := range late {
		k.unseen[t.pointer] = true
	}
	done := make(chan struct{})
	var progress, work sync.WaitGroup
	progress.Go(func() { k.sayProgress(done, len(k.tasks)+len(late)) })
	work.Go(func() { k.all(ownIndexState(ctx), late) })
	k.all(ctx, k.tasks)
	work.Wait()
	close(done)
	progress.Wait()
	k.Logger().Info("kill", "target", k.what, "revoked", k.done.Load(), "failed", k.failed.Load(), "queued", k.left.Load())
}

// sayProgress logs how far a long kill is.
func (k *killRun) sayProgress(done <-chan struct{}, keys int) {
	ticker := time.NewTicker(killProgress)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.Logger().Info("kill goes on", "target", k.what, "of", keys, "revoked", k.done.Load(), "failed", k.failed.Load())
		case <-done:
			return
		}
	}
}

func (k *killRun) result() *killResult {
	return &killResult{revoked: int(k.done.Load()), queued: int(k.left.Load()), failed: k.failures}
}

// pointersOf returns where the records of a target may be.
func (b *backend) pointersOf(ctx context.Context, s logical.Storage, t target) ([]pointer, error) {
	var pointers []pointer
	if t.EntityID != "" {
		err := b.walkFact(ctx, s, byEntity(t.EntityID), func(rec record) error {
			pointers = append(pointers, rec.pointer())
			return nil
		})
		return pointers, err
	}
	return b.ledger(s).pointersUnder(ctx, t.Role)
}
