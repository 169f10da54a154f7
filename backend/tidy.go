package backend

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file deletes what this mount made at a provider and its ledger does not know:
// what a restored storage or a lost one has forgotten.
//
//   - Only what bears the tag of this mount where this mount puts it. The tag of
//     another mount or cluster on the same account is another one.
//   - A copy of this mount, from a backup of Vault, has the same tag. So only what is
//     older than a buffer, and was not used within it, is deleted, and no admin key.
//   - The ledger is asked once more before each deletion.
//   - An orphan gets no record: its name says whose it is, and what is not deleted
//     now is found again.

const (
	// tidyBuffer is how old an orphan must be, if the caller does not say.
	tidyBuffer = time.Hour
	// tidyBufferLeast and tidyBufferMost bound what the caller may say.
	tidyBufferLeast = time.Minute
	tidyBufferMost  = 10 * 365 * 24 * time.Hour
)

// The states of a tidy.
const (
	tidyRunning     = "running"
	tidyFinished    = "finished"
	tidyIncomplete  = "incomplete" // something could not be listed or deleted
	tidyInterrupted = "interrupted"
)

// A tidyEntry is how the last tidy of a connection went.
//
//	{"version":1,"state":"finished","dry_run":true,"started_at":"…","found":2,…}
type tidyEntry struct {
	Version    int        `json:"version"`
	State      string     `json:"state"`
	DryRun     bool       `json:"dry_run"`
	Buffer     seconds    `json:"safety_buffer"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt time.Time  `json:"finished_at,omitzero"`
	By         owner      `json:"by"`
	Listed     int        `json:"listed"` // keys at the provider
	Found      int        `json:"found"`  // orphans
	Deleted    int        `json:"deleted"`
	Skipped    int        `json:"skipped"` // too young, or of unknown age
	Failed     int        `json:"failed"`
	Items      []tidyItem `json:"items,omitempty"` // the first of them
	Problems   []string   `json:"problems,omitempty"`
	// LastScope is where it ran out of time, and the next one goes on.
	LastScope string `json:"last_scope,omitempty"`
}

const tidyVersion = 1

// A tidyItem is one orphan and what became of it.
type tidyItem struct {
	Kind      kind      `json:"kind"`
	KeyID     string    `json:"key_id"`
	Name      string    `json:"name"`
	Scope     string    `json:"scope,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	Outcome   string    `json:"outcome"`
}

func tidySlot(config string) string { return "tidy " + config }

// tidy deletes the orphans of a connection, or says what it would delete.
func (b *backend) tidy(ctx context.Context, req *logical.Request, config string, dryRun bool, buffer seconds) (*tidyEntry, error) {
	release, ok := b.slots.try(tidySlot(config))
	if !ok {
		return nil, refuse(http.StatusConflict, "connection %q is being tidied; read tidy-status", config)
	}
	defer release()
	v, err := b.newSurvey(ctx, req.Storage, config)
	if err != nil {
		return nil, err
	}
	e := &tidyEntry{Version: tidyVersion, State: tidyRunning, DryRun: dryRun, Buffer: buffer, StartedAt: b.now(), By: b.callerOf(req)}
	before, err := load[tidyEntry](ctx, req.Storage, tidyKey(config))
	if err != nil {
		return nil, err
	}
	if before != nil {
		e.LastScope = before.LastScope
	}
	if err := b.saveTidy(ctx, req.Storage, config, e); err != nil {
		return nil, err
	}
	work, cancel := context.WithTimeout(ctx, surveyBudget)
	defer cancel()
	if err := e.run(work, v); err != nil {
		v.problem("%s", err)
	}
	e.finish(v)
	b.Logger().Info("tidy", "config", config, "dry_run", dryRun, "by", e.By.String(), "found", e.Found, "deleted", e.Deleted, "failed", e.Failed)
	return e, b.saveTidy(ctx, req.Storage, config, e)
}

func (b *backend) saveTidy(ctx context.Context, s logical.Storage, config string, e *tidyEntry) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return save(ctx, s, tidyKey(config), e)
}

func (e *tidyEntry) run(ctx context.Context, v *survey) error {
	if err := v.readLedger(ctx, func(record) {}); err != nil {
		return err
	}
	v.readScopes(ctx)
	v.last = e.LastScope
	v.eachKey(ctx, func(listedKey) {}, func(key listedKey) { e.note(key, e.one(ctx, v, key)) })
	e.LastScope = v.last
	return nil
}

// The outcomes of an orphan. Any other is why its deletion failed.
const (
	wouldDelete = "would be deleted"
	deleted     = "deleted"
	tooYoung    = "skipped: younger than safety_buffer"
	ofNoAge     = "skipped: the provider does not say how old it is"
	ofLate      = "skipped: it was used within safety_buffer"
	ofAdmin     = "skipped: an admin key; delete it at the provider if no copy of this Vault uses it"
	inLedgerNow = "skipped: the ledger knows it by now"
)

func (e *tidyEntry) one(ctx context.Context, v *survey, key listedKey) string {
	switch {
	case key.kind == admin:
		return ofAdmin
	case key.CreatedAt.IsZero():
		return ofNoAge
	case v.now().Sub(v.madeAt(key)) < e.Buffer.duration():
		return tooYoung
	case v.now().Sub(key.LastUsedAt) < e.Buffer.duration():
		return ofLate
	case e.DryRun:
		return wouldDelete
	}
	err := v.deleteOrphan(ctx, key)
	switch {
	case errors.Is(err, errKnown):
		return inLedgerNow
	case err != nil && !provider.IsKind(err, provider.NotFound):
		return provider.HideKeys(err.Error())
	}
	v.Logger().Info("orphan deleted", "config", v.conn.name, "kind", key.kind, "key_id", key.ID, "name", key.Name)
	return deleted
}

// madeAt is when a key was made, or, if it is of a pool, switched on under its name.
func (v *survey) madeAt(key listedKey) time.Time {
	if _, ok := v.conn.client.(provider.PoolKeeper); ok {
		return idTime(idOf(key.Name))
	}
	return key.CreatedAt
}

func (e *tidyEntry) note(key listedKey, outcome string) {
	e.Found++
	switch outcome {
	case wouldDelete:
	case deleted:
		e.Deleted++
	case tooYoung, ofNoAge, ofLate, ofAdmin, inLedgerNow:
		e.Skipped++
	default:
		e.Failed++
	}
	if len(e.Items) < findingsShown {
		e.Items = append(e.Items, tidyItem{Kind: key.kind, KeyID: key.ID, Name: key.Name, Scope: key.scope, CreatedAt: key.CreatedAt, Outcome: outcome})
	}
}

func (e *tidyEntry) finish(v *survey) {
	e.FinishedAt, e.Listed, e.Problems = v.now(), v.listed, v.problems
	e.State = tidyFinished
	if e.Failed > 0 || len(e.Problems) > 0 {
		e.State = tidyIncomplete
	}
}

var errKnown = errors.New("the ledger knows it")

// deleteOrphan deletes what the ledger does not know, if it still does not.
func (v *survey) deleteOrphan(ctx context.Context, key listedKey) error {
	if key.kind == principalKind {
		return v.deleteOrphanedPrincipal(ctx, key)
	}
	known, err := v.inLedger(ctx, key)
	if err != nil {
		return err
	}
	if known {
		return errKnown
	}
	return v.noted(v.conn, v.conn.client.Delete(ctx, provider.Ref{ID: key.ID, Scope: key.scope}))
}

// deleteOrphanedPrincipal deletes a principal while no issue can find it by its name.
func (v *survey) deleteOrphanedPrincipal(ctx context.Context, key listedKey) error {
	release, err := v.slots.acquire(ctx, principalNameSlot(key.Name))
	if err != nil {
		return err
	}
	defer release()
	if err := firstError(v.readPrincipals(ctx), v.readRoles(ctx)); err != nil {
		return err
	}
	if v.principals[key.ID] || v.ofRoles[key.Name] {
		return errKnown
	}
	keeper := v.conn.client.(provider.PrincipalKeeper)
	return v.noted(v.conn, keeper.DeletePrincipal(ctx, provider.Principal{ID: key.ID, Name: key.Name, Scope: key.scope}))
}

// tidyStatus returns how the last tidy of each connection went.
func (b *backend) tidyStatus(ctx context.Context, s logical.Storage) (map[string]*tidyEntry, error) {
	configs, err := list(ctx, s, tidyPrefix)
	if err != nil {
		return nil, err
	}
	slices.Sort(configs)
	all := map[string]*tidyEntry{}
	for _, config := range configs {
		e, err := load[tidyEntry](ctx, s, tidyKey(config))
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if release, free := b.slots.try(tidySlot(config)); free {
			release()
			if e.State == tidyRunning {
				e.State = tidyInterrupted // its process has ended
			}
		}
		all[config] = e
	}
	return all, nil
}

func (e *tidyEntry) data() map[string]any {
	items := make([]map[string]any, 0, len(e.Items))
	for _, item := range e.Items {
		items = append(items, map[string]any{
			"kind": item.Kind.ofListed(), "key_id": item.KeyID, "name": item.Name, "scope": item.Scope,
			"created_at": rfc3339(item.CreatedAt), "outcome": item.Outcome,
		})
	}
	return map[string]any{
		"state": e.State, "dry_run": e.DryRun, "safety_buffer": int64(e.Buffer),
		"started_at": rfc3339(e.StartedAt), "finished_at": rfc3339(e.FinishedAt), "by": e.By.String(),
		"listed": e.Listed, "found": e.Found, "deleted": e.Deleted, "skipped": e.Skipped, "failed": e.Failed,
		"items": items, "problems": nonNil(e.Problems),
	}
}
