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

// This file kills keys on command: that of one record, or all of a role, of the
// roles below a part of a name, or of an entity.
//
//   - First an order is stored, which names all the records; then every record is
//     marked for deletion, which ends the order; then the keys are deleted while the
//     caller waits. Whatever is cut short, the sweep finishes: an order by marking,
//     a marked record by deleting.
//   - Deleting is what the sweep does, with the same workers and the same retries,
//     but of chosen records, due or not.
//   - A record that somebody else is at, such as an issue under way, is waited for:
//     by itself, so that no other key lives on because of it, and without holding
//     another record, so that two kills never wait for each other.
//   - The admin key of a connection is not among them: see kill_admin.go.

const (
	// killBudget bounds a kill while its caller waits: the command line gives up
	// after 60 s. What is left then is for the sweep.
	killBudget = 50 * time.Second
	// killProgress is how often a long kill says in the log how far it is.
	killProgress = 10 * time.Second
	// markWorkers is how many records are marked at the same time.
	markWorkers = 16
	// orderKeys is how many records one order names: an entry of Vault's storage may
	// have 1 MiB.
	orderKeys = 1000
	// ordersBudget is how much of a sweep the marking for orders may take.
	ordersBudget = 15 * time.Second
)

// A target says whose keys are to die.
type target struct {
	role     string // with a slash at the end, all roles below it
	entityID string
	record   *pointer
}

func (t target) String() string {
	switch {
	case t.record != nil:
		return "key " + t.record.id
	case t.entityID != "":
		return "entity " + t.entityID
	}
	return "role " + t.role
}

// A killOrder names records that are to be marked for deletion.
//
//	{"version":1,"target":"role team-a/","keys":["openai~team-a~bot~…"],"at":"…","by":{"entity_id":"…"}}
type killOrder struct {
	Version int       `json:"version"`
	Target  string    `json:"target"` // for the log
	Keys    []string  `json:"keys"`   // names of pointers
	At      time.Time `json:"at"`
	By      owner     `json:"by"`
}

const killOrderVersion = 1

// A killResult is what came of a kill.
type killResult struct {
	revoked int // keys that are gone at their provider
	queued  int // keys that the sweep will delete
	failed  []keyFailure
	tokens  int       // tokens that cannot be revoked
	lastEnd time.Time // when the last of these ends
}

// A keyFailure is a key that could not be deleted yet. It stays queued.
type keyFailure struct {
	id  string
	err error
}

// killTarget kills all keys of a target that there are now. After an error nothing was
// done yet; if an order was stored all the same, the sweep carries it out.
func (b *backend) killTarget(ctx context.Context, s logical.Storage, t target, by owner) (*killResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, killBudget, errTimeSpent)
	defer cancel()
	pointers, err := b.pointersOf(ctx, s, t)
	if err != nil {
		return nil, fmt.Errorf("kill the keys of %s: %w", t, err)
	}
	orders, err := b.storeOrders(ctx, s, t, pointers, by)
	if err != nil {
		return nil, fmt.Errorf("kill the keys of %s: %w", t, err)
	}
	run := b.newKillRun(s, t.String())
	run.mark(ctx, pointers)
	if run.allMarked() {
		b.dropOrders(ctx, s, orders)
		orders = nil
	}
	run.delete(ctx)
	if run.allMarked() {
		b.dropOrders(ctx, s, orders)
	}
	result := run.result()
	b.tellKilled(t.String(), by, result)
	return result, nil
}

// storeOrders stores what is to be killed, and returns where.
func (b *backend) storeOrders(ctx context.Context, s logical.Storage, t target, pointers []pointer, by owner) ([]string, error) {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	var orders []string
	for chunk := range slices.Chunk(pointers, orderKeys) {
		order := killOrder{Version: killOrderVersion, Target: t.String(), At: b.now(), By: by}
		for _, p := range chunk {
			order.Keys = append(order.Keys, p.name())
		}
		key := orderKey(newID(b.now()))
		if err := save(ctx, s, key, order); err != nil {
			b.dropOrders(ctx, s, append(orders, key))
			return nil, err
		}
		orders = append(orders, key)
	}
	return orders, nil
}

// dropOrders removes orders whose records are all marked. Its failure costs one more
// look by the sweep.
func (b *backend) dropOrders(ctx context.Context, s logical.Storage, orders []string) {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	for _, key := range orders {
		if err := remove(ctx, s, key); err != nil {
			b.Logger().Warn("a kill is done and its order stays until the sweep", "error", err)
		}
	}
}

// finishOrders marks what orders still have to be marked. What it has no time for
// comes first in the next sweep.
func (b *backend) finishOrders(ctx context.Context, s logical.Storage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ordersBudget, errTimeSpent)
	defer cancel()
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
	var pointers []pointer
	for _, name := range order.Keys {
		p, err := parsePointer(name)
		if err != nil {
			return fmt.Errorf("bug: order of the kill of %s: %w", order.Target, err)
		}
		pointers = append(pointers, p)
	}
	run := b.newKillRun(s, order.Target)
	run.repeated = true
	run.mark(ctx, pointers)
	b.Logger().Info("a kill that was cut short goes on", "target", order.Target, "keys", len(run.tasks), "left", len(run.open))
	if run.allMarked() {
		b.dropOrders(ctx, s, []string{key})
		return nil
	}
	order.Keys = slices.DeleteFunc(order.Keys, func(name string) bool {
		p, err := parsePointer(name)
		return err == nil && !run.open[p]
	})
	return b.saveOrder(ctx, s, key, *order)
}

func (b *backend) saveOrder(ctx context.Context, s logical.Storage, key string, order killOrder) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return save(ctx, s, key, order)
}

// A killRun is one kill.
type killRun struct {
	*sweepRun
	what  string
	tasks []task // records that are marked, or were to be
	late  []task // those that could not be looked at yet
}

func (b *backend) newKillRun(s logical.Storage, what string) *killRun {
	return &killRun{sweepRun: &sweepRun{backend: b, storage: s, chosen: true, open: map[pointer]bool{}}, what: what}
}

// allMarked reports whether the sweep would go on with every record, whatever
// becomes of this process.
func (k *killRun) allMarked() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.open) == 0
}

// mark marks records as revoking, due now, so that the sweep goes on with them.
func (k *killRun) mark(ctx context.Context, pointers []pointer) {
	for _, p := range pointers {
		k.open[p] = true
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(markWorkers, len(pointers)) {
		wg.Go(func() {
			ctx := ownIndexState(ctx)
			for i := next.Add(1) - 1; i < int64(len(pointers)); i = next.Add(1) - 1 {
				k.markOne(ctx, task{pointer: pointers[i]})
			}
		})
	}
	wg.Wait()
}

// markOne marks one record. A pending one stays as it is: it is found by its name,
// and nobody has its key. One that somebody else is at, or that cannot be read, is
// looked at later.
func (k *killRun) markOne(ctx context.Context, t task) {
	later := true
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if later {
			k.late = append(k.late, t)
		}
	}()
	defer k.recovered("entry", t.id)
	release, ok := k.slots.try(recordSlot(t.id))
	if !ok {
		return
	}
	defer release()
	rec, err := k.ledger(k.storage).get(ctx, t.pointer)
	if err != nil {
		k.Logger().Warn("a record that is to be killed could not be read; it is tried again", "id", t.id, "role", t.role, "config", t.config, "error", err)
		return
	}
	later = false
	if rec == nil {
		k.gone(ctx, t)
		return
	}
	k.choose(ctx, *rec)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tasks = append(k.tasks, t)
}

// gone notes that a record is gone. If that of a static key was deleted before its role
// was told, it is told now; no other role minds.
func (k *killRun) gone(ctx context.Context, t task) {
	if k.repeated {
		if err := k.notice(ctx, k.storage, t.config, t.role, k.now()); err != nil {
			return
		}
	}
	k.marked(t.pointer)
}

// delete deletes the keys of all records, each that somebody else is at as soon as
// that is over.
func (k *killRun) delete(ctx context.Context) {
	done := make(chan struct{})
	var progress, waiting sync.WaitGroup
	progress.Go(func() { k.sayProgress(done, len(k.tasks)+len(k.late)) })
	wait := func(tasks []task) {
		for _, t := range tasks {
			if ctx.Err() != nil {
				k.leave(t)
				continue
			}
			waiting.Go(func() {
				defer k.recovered("entry", t.id)
				k.deleteLate(ownIndexState(ctx), t)
			})
		}
	}
	wait(k.late)
	k.all(ctx, k.tasks)
	wait(k.busy)
	waiting.Wait()
	close(done)
	progress.Wait()
	k.Logger().Info("kill", "target", k.what, "revoked", int(k.done.Load())-k.tokens, "live_on", k.tokens, "failed", k.failed.Load(), "queued", k.left.Load())
}

// deleteLate waits for a record, and deletes its key.
func (k *killRun) deleteLate(ctx context.Context, t task) {
	release, err := k.slots.acquire(ctx, recordSlot(t.id))
	if err != nil {
		k.leave(t)
		return
	}
	defer release()
	rec, err := k.ledger(k.storage).get(ctx, t.pointer)
	switch {
	case ctx.Err() != nil:
		k.leave(t)
		return
	case err != nil:
	case rec == nil:
		k.marked(t.pointer)
	case rec.State == pending:
		k.marked(t.pointer)
		err = k.settleLate(ctx, *rec)
	default:
		err = k.kill(ctx, k.storage, k.choose(ctx, *rec))
	}
	switch lives := livesOn(err); {
	case lives != nil:
		k.livesOn(lives)
	case err != nil:
		k.failed.Add(1)
		k.fail(t, err)
	default:
		k.done.Add(1)
	}
}

func (k *killRun) settleLate(ctx context.Context, rec record) error {
	conn, err := k.backend.connection(ctx, k.storage, rec.Config)
	if err != nil {
		return err
	}
	return k.settle(ctx, k.storage, conn, []record{rec})[0]
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

// result is what is told of a kill: of many failures the first.
func (k *killRun) result() *killResult {
	r := &killResult{
		revoked: int(k.done.Load()) - k.tokens, queued: int(k.left.Load()), failed: k.failures,
		tokens: k.tokens, lastEnd: k.lastEnd,
	}
	if more := len(r.failed) - findingsShown; more > 0 {
		r.failed, r.queued = r.failed[:findingsShown], r.queued+more
	}
	return r
}

// pointersOf returns where the records of a target may be. It reads no record, if
// the index is made.
func (b *backend) pointersOf(ctx context.Context, s logical.Storage, t target) ([]pointer, error) {
	var pointers []pointer
	var err error
	switch {
	case t.record != nil:
		return []pointer{*t.record}, nil
	case t.entityID != "":
		pointers, err = b.pointersWith(ctx, s, byEntity(t.entityID))
	default:
		pointers, err = b.ledger(s).pointersUnder(ctx, t.role)
	}
	return slices.DeleteFunc(pointers, pointer.admin), err
}
