package backend

import (
	"context"
	"fmt"
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
//   - Only what is older than a buffer, and whose age the provider tells.
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
	var orphans []listedKey
	v.eachKey(ctx, func(listedKey) {}, func(key listedKey) { orphans = append(orphans, key) })
	e.Found = len(orphans)
	for _, key := range orphans {
		e.note(key, e.one(ctx, v, key))
	}
	return nil
}

// The outcomes of an orphan. Any other is why its deletion failed.
const (
	wouldDelete = "would be deleted"
	deleted     = "deleted"
	tooYoung    = "skipped: younger than safety_buffer"
	ofNoAge     = "skipped: the provider does not say how old it is"
	inUse       = "skipped: the ledger knows it by now"
)

func (e *tidyEntry) one(ctx context.Context, v *survey, key listedKey) string {
	switch {
	case key.CreatedAt.IsZero():
		return ofNoAge
	case v.now().Sub(key.CreatedAt) < e.Buffer.duration():
		return tooYoung
	case e.DryRun:
		return wouldDelete
	}
	known, err := v.stillKnown(ctx, key)
	switch {
	case err != nil:
		return provider.HideKeys(err.Error())
	case known:
		return inUse
	}
	err = v.noted(v.conn, v.deleteOrphan(ctx, key))
	if err != nil && !provider.IsKind(err, provider.NotFound) {
		return err.Error()
	}
	v.Logger().Info("orphan deleted", "config", v.conn.name, "kind", key.kind, "key_id", key.ID, "name", key.Name)
	return deleted
}

func (e *tidyEntry) note(key listedKey, outcome string) {
	switch outcome {
	case wouldDelete:
	case deleted:
		e.Deleted++
	case tooYoung, ofNoAge, inUse:
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

// stillKnown asks the ledger once more.
func (v *survey) stillKnown(ctx context.Context, key listedKey) (bool, error) {
	if key.kind != principalKind {
		return v.inLedger(ctx, key)
	}
	err := v.readPrincipals(ctx)
	return v.principals[key.ID], err
}

// deleteOrphan deletes what the ledger does not know. An issue that finds a
// service account by its name just now fails, and makes another one.
func (v *survey) deleteOrphan(ctx context.Context, key listedKey) error {
	switch key.kind {
	case principalKind:
		keeper := v.conn.client.(provider.PrincipalKeeper)
		return keeper.DeletePrincipal(ctx, provider.Principal{ID: key.ID, Name: key.Name, Scope: key.scope})
	case admin:
		rotator, err := v.conn.rotator()
		if err != nil {
			return err
		}
		if key.scope, err = rotator.AdminScope(ctx); err != nil {
			return fmt.Errorf("ask for what proves the account: %w", err)
		}
	}
	return v.conn.delete(ctx, record{Kind: key.kind, KeyID: key.ID, Scope: key.scope})
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
			"kind": string(item.Kind), "key_id": item.KeyID, "name": item.Name, "scope": item.Scope,
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
