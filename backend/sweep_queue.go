package backend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A sweepQueue is the work of one sweep on one connection.
type sweepQueue struct {
	run    *sweepRun
	config string
	inARow atomic.Int64 // failures that blame the connection
	busy   atomic.Bool  // somebody else holds a record

	mu       sync.Mutex
	pendings []heldPending
	doomed   []task // whose keys are to be deleted
	statics  []task // static roles that are to be looked at
}

// A heldPending is a pending record whose slot is held until it is settled.
type heldPending struct {
	task
	rec     record
	release func()
}

// work calls do with each task, or leaves it once the time or the connection is
// given up.
func (q *sweepQueue) work(ctx context.Context, tasks []task, workers int, do func(context.Context, task)) {
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
				q.contained(ctx, tasks[i], do)
			}
		})
	}
	wg.Wait()
}

func (q *sweepQueue) givenUp() bool {
	return q.inARow.Load() >= failuresInARow && !q.run.tainted
}

// contained keeps a panic to its task, which then stays in the index.
func (q *sweepQueue) contained(ctx context.Context, t task, do func(context.Context, task)) {
	finished := false
	defer func() {
		if !finished {
			q.run.stays(t)
			if t.id == noticeID { // it may be removed already
				_ = q.run.notice(ctx, q.run.storage, t.config, t.role, q.run.now())
			}
		}
	}()
	defer q.run.recovered("entry", t.id)
	do(ctx, t)
	finished = true
}

func (q *sweepQueue) principal(ctx context.Context, t task) {
	done, err := q.run.sweepPrincipal(ctx, q.run.storage, t.pointer, q.run.tainted)
	q.outcome(ctx, t, done, err)
}

// look sorts a record out: nothing to do, to be looked for, or to be deleted. So
// slow deletions do not keep creates without an answer from being looked for.
func (q *sweepQueue) look(ctx context.Context, t task) {
	r := q.run
	release, ok := q.slot(t)
	if !ok {
		return
	}
	held := false
	defer func() {
		if !held {
			release()
		}
	}()
	rec, err := r.ledger(r.storage).get(ctx, t.pointer)
	switch {
	case err != nil:
		q.outcome(ctx, t, false, err)
	case rec == nil:
		r.census.dropped(t.pointer) // a drop may take effect after its error
		q.outcome(ctx, t, true, nil)
	case !r.due(rec):
		q.notDue(ctx, t, rec)
	case rec.Kind == static && rec.State == active && !r.tainted && !r.chosen:
		// The role says what becomes of it.
		q.add(func() { q.statics = append(q.statics, task{pointer: staticPointer(rec.Config, rec.Role)}) })
		r.leave(t)
	case rec.State == pending:
		held = true
		q.add(func() { q.pendings = append(q.pendings, heldPending{task: t, rec: *rec, release: release}) })
	default:
		r.choose(ctx, *rec)
		q.add(func() { q.doomed = append(q.doomed, t) })
	}
}

// choose marks a record that a kill has chosen, so that its key dies even if there
// is no time left to delete it now. It returns the record as it then is.
func (r *sweepRun) choose(ctx context.Context, rec record) record {
	if !r.chosen {
		return rec
	}
	if r.mustHurry(rec) {
		next, err := r.markKilled(ctx, rec)
		if err != nil {
			r.Logger().Warn("a record could not be marked for deletion", "id", rec.ID, "error", err)
			return rec
		}
		rec = next
	}
	if rec.Kind == static { // its role needs another key
		if err := r.notice(ctx, r.storage, rec.Config, rec.Role, r.now()); err != nil {
			r.Logger().Warn("the sweep is told later that a static role has lost its key", "role", rec.Role, "error", err)
			return rec
		}
	}
	r.marked(rec.pointer())
	return rec
}

// markKilled marks a record for deletion now. A token only ends.
func (r *sweepRun) markKilled(ctx context.Context, rec record) (record, error) {
	if rec.Token {
		return r.ledger(r.storage).outlive(ctx, rec, &livesOnError{until: rec.ExpiresAt})
	}
	return r.ledger(r.storage).hurry(ctx, rec)
}

// mustHurry reports whether a record of a kill is to be marked anew.
func (r *sweepRun) mustHurry(rec record) bool {
	if rec.Token && rec.State == revoking {
		return false
	}
	return rec.State == active || rec.State == revoking && (rec.Attempts > 0 || rec.Due.After(r.now()) || !rec.Killed)
}

// marked notes that the sweep will go on with a record, or that it is gone.
func (r *sweepRun) marked(p pointer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, p)
}

// notDue drops an entry of the index that is stale. One that still names the
// record's minute stays: without it nobody would look at the record again.
func (q *sweepQueue) notDue(ctx context.Context, t task, rec *record) {
	if rec.pointer().dueKey(rec.Due) == t.hint {
		q.run.stays(t) // it is due later in this minute
		return
	}
	q.outcome(ctx, t, true, nil)
}

// due reports whether a record is to be worked on now.
func (r *sweepRun) due(rec *record) bool {
	return r.tainted || r.chosen || !rec.Due.After(r.now())
}

func (q *sweepQueue) add(what func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	what()
}

// delete deletes the key of a record, if it is still due.
func (q *sweepQueue) delete(ctx context.Context, t task) {
	r := q.run
	release, ok := q.slot(t)
	if !ok {
		return
	}
	defer release()
	rec, err := r.ledger(r.storage).get(ctx, t.pointer)
	switch { // somebody else may have been at it
	case err != nil || rec == nil:
		q.outcome(ctx, t, err == nil, err)
		return
	case !r.due(rec):
		q.notDue(ctx, t, rec)
		return
	}
	if !r.tainted && !r.chosen && !q.ended(ctx, rec) {
		r.leave(t)
		return
	}
	if rec.State == active && !rec.Token && !r.tainted && !r.chosen {
		r.Logger().Info("a key has outlived its lease; deleting it", "role", rec.Role, "config", rec.Config, "id", rec.ID, "key_id", rec.KeyID)
	}
	err = r.kill(ctx, r.storage, *rec)
	q.outcome(ctx, t, err == nil, err)
}

// stillUsed is until when somebody may use the key of a record; zero if nobody does.
func (r record) stillUsed() time.Time {
	if r.Token {
		return r.ExpiresAt
	}
	if r.State == active {
		return r.Due
	}
	return r.NotBefore
}

// ended reports whether the time in which somebody uses a key is over by its
// provider's clock too. Were ours to jump ahead, every lease and every overlap would
// look over, while their holders still use the keys. Where the provider's time is not
// known, ours decides.
func (q *sweepQueue) ended(ctx context.Context, rec *record) bool {
	end := rec.stillUsed()
	if end.IsZero() {
		return true
	}
	conn, err := q.run.backend.connection(ctx, q.run.storage, q.config)
	if err != nil {
		return true // the deletion will say so
	}
	_ = q.run.askTime(ctx, conn) // without, our own clock decides
	now, known := conn.transport.Now()
	if !known || !now.Add(clockTolerance).Before(end) {
		return true
	}
	q.run.Logger().Warn("a key looks over, but not by its provider's clock; is this node's clock ahead?", "role", rec.Role, "config", rec.Config, "id", rec.ID, "provider_time", now.UTC().Format(time.RFC3339))
	return false
}

// slot takes the slot of a record, or leaves its task. A kill comes back to it.
func (q *sweepQueue) slot(t task) (release func(), ok bool) {
	release, ok = q.run.slots.try(recordSlot(t.id))
	switch {
	case ok:
	case q.run.chosen:
		q.run.mu.Lock()
		defer q.run.mu.Unlock()
		q.run.busy = append(q.run.busy, t)
	default:
		q.busy.Store(true)
		q.run.leave(t)
	}
	return release, ok
}

// staticTime is what must be left of a sweep for the rotation of one more key.
const staticTime = 6 * time.Second

// static tends a static role. One that is being written or rotated is left.
func (q *sweepQueue) static(ctx context.Context, t task) {
	r := q.run
	if end, ok := ctx.Deadline(); ok && time.Until(end) < staticTime {
		r.leave(t)
		return
	}
	release, ok := r.slots.try(staticSlot(t.role))
	if !ok {
		r.leave(t)
		return
	}
	defer release()
	if t.id == noticeID { // first, so that one that comes meanwhile is not lost
		r.forget(ctx, t)
	}
	before, after, err := r.tendStatic(ctx, r.storage, t.role)
	moved := after != before
	switch {
	case err != nil:
		r.failed.Add(1)
		r.Logger().Warn("sweep: a static role is left for a later try", "config", t.config, "role", t.role, "error", err)
		if blamesConnection(err) && ctx.Err() == nil {
			q.inARow.Add(1)
		}
	case moved:
		q.inARow.Store(0)
		fallthrough
	default:
		r.done.Add(1)
	}
	q.afterStatic(ctx, t, moved && t.hint == before, err != nil && !moved || r.staticDue(ctx, t, after), err)
}

// afterStatic removes an entry of the time index, unless it is removed already, or
// there is still something to do.
func (q *sweepQueue) afterStatic(ctx context.Context, t task, removed, todo bool, cause error) {
	switch {
	case removed, t.hint == "" && cause == nil:
	case !todo:
		if t.id != noticeID {
			q.run.forget(ctx, t)
		}
	case t.id == noticeID || t.hint == "":
		// What a provider has refused is not asked for each minute.
		later := q.run.now()
		if provider.KindOf(cause) != "" || errors.Is(cause, errNoConnection) {
			later = later.Add(noticeAgain).Truncate(noticeAgain) // several become one
		}
		if err := q.run.notice(ctx, q.run.storage, t.config, t.role, later); err != nil {
			q.run.Logger().Warn("sweep: a static role is looked at again within the hour", "role", t.role, "error", err)
		}
	default:
		q.run.stays(t)
	}
}

// noticeAgain is when a static role is looked at again after its provider has failed.
const noticeAgain = 10 * time.Minute

// notice makes the sweep look at a static role.
func (b *backend) notice(ctx context.Context, s logical.Storage, config, role string, at time.Time) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return b.ledger(s).hint(ctx, noticePointer(config, role), at)
}

// staticDue reports whether a role's entry of the time index still announces
// something. That of a suspended role does not: to lift the suspension is noticed.
func (r *sweepRun) staticDue(ctx context.Context, t task, due string) bool {
	if t.hint == "" || t.hint != due {
		return false
	}
	suspended, err := suspensionOf(ctx, r.storage, t.role)
	return err != nil || suspended == nil
}

// adminKey tends the connection's admin key, if any task is about it.
func (q *sweepQueue) adminKey(ctx context.Context, tasks []task) {
	if len(tasks) == 0 {
		return
	}
	finished := false
	defer func() {
		if !finished { // it panicked
			q.leaveAll(tasks)
		}
	}()
	release, ok := q.slotsOfAdminKey()
	if !ok {
		q.busy.Store(true)
		q.leaveAll(tasks)
		finished = true
		return
	}
	defer release()
	err := q.run.tendAdminKey(ctx, q.run.storage, q.config, q.run.tainted)
	if err != nil {
		q.run.failed.Add(1)
		q.run.Logger().Warn("sweep: an admin key is left for a later try", "config", q.config, "error", err)
	}
	for _, t := range tasks {
		q.afterTending(ctx, t, err)
	}
	finished = true
}

func (q *sweepQueue) leaveAll(tasks []task) {
	for _, t := range tasks {
		q.run.leave(t)
	}
}

// slotsOfAdminKey takes what a rotation needs, unless somebody is at it.
func (q *sweepQueue) slotsOfAdminKey() (release func(), ok bool) {
	first, ok := q.run.slots.try(rotationSlot(q.config))
	if !ok {
		return nil, false
	}
	second, ok := q.run.slots.try(connectionSlot(q.config))
	if !ok {
		first()
		return nil, false
	}
	return func() { second(); first() }, true
}

// afterTending drops an entry of the index that does not announce anything any
// more.
func (q *sweepQueue) afterTending(ctx context.Context, t task, tended error) {
	due, err := q.run.adminDue(ctx, t.pointer)
	stale := t.hint != t.dueKey(due) && (tended == nil || t.id != adminID)
	switch {
	case err != nil:
		q.run.Logger().Warn("sweep: an admin key is left for a later try", "config", q.config, "error", err)
		q.run.leave(t)
	case t.hint == "" && !due.IsZero() && t.id != adminID, t.hint != "" && !stale:
		q.run.leave(t)
	default:
		q.run.done.Add(1)
		q.run.forget(ctx, t)
	}
}

// adminDue is when what p points to is due; zero for never.
func (r *sweepRun) adminDue(ctx context.Context, p pointer) (time.Time, error) {
	if p.id == adminID {
		entry, err := loadConfig(ctx, r.storage, p.config)
		if err != nil || entry == nil {
			return time.Time{}, err
		}
		return entry.rotateAt(), nil
	}
	rec, err := r.ledger(r.storage).get(ctx, p)
	if err != nil || rec == nil {
		return time.Time{}, err
	}
	return rec.Due, nil
}

// settleAll settles the pending records, one scope at a time.
func (q *sweepQueue) settleAll(ctx context.Context) {
	byScope := map[string][]heldPending{}
	for _, p := range q.pendings {
		byScope[p.rec.Scope] = append(byScope[p.rec.Scope], p)
	}
	for scope, group := range byScope {
		func() {
			defer q.run.recovered("scope", scope)
			q.settleScope(ctx, group)
		}()
	}
}

func (q *sweepQueue) settleScope(ctx context.Context, group []heldPending) {
	recs := make([]record, len(group))
	for i, p := range group {
		recs[i] = p.rec
		defer p.release()
	}
	conn, err := q.run.backend.connection(ctx, q.run.storage, q.config)
	if err != nil || ctx.Err() != nil || q.givenUp() {
		for _, p := range group {
			if errors.Is(err, errNoConnection) && !q.run.tainted && !q.run.chosen {
				q.run.stays(p.task) // until the connection is written again
				continue
			}
			q.run.leave(p.task)
		}
		return
	}
	for _, p := range group {
		q.run.stays(p.task) // until it is settled; only one failure of all is noted
	}
	var before error
	for i, err := range q.run.settle(ctx, q.run.storage, conn, recs) {
		if err != nil && errors.Is(err, before) {
			q.run.left.Add(1) // one listing that failed is one failure
			continue
		}
		before = err
		q.outcome(ctx, group[i].task, err == nil, err)
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
	case livesOn(err) != nil: // the record has moved to its end
		q.inARow.Store(0)
		r.livesOn(livesOn(err))
	default:
		r.failed.Add(1)
		if t.principal() || ctx.Err() != nil || provider.KindOf(err) == "" {
			r.stays(t) // else the failure moved the record to the minute of its next try
		}
		r.fail(t, err)
		r.Logger().Warn("one key or service account is left for a later try", "config", t.config, "role", t.role, "id", t.id, "error", err)
		if blamesConnection(err) && ctx.Err() == nil {
			q.inARow.Add(1)
		}
	}
}

// livesOn counts a token that cannot be revoked. There is no more to do about it.
func (r *sweepRun) livesOn(e *livesOnError) {
	r.done.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens++
	if e.until.After(r.lastEnd) {
		r.lastEnd = e.until
	}
}

// fail keeps what a kill has to tell.
func (r *sweepRun) fail(t task, err error) {
	if !r.chosen {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, keyFailure{id: t.id, err: err})
}
