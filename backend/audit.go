package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is the audit: which keys of an account need somebody's attention, whose
// they are, and what to do about them.

// A class is one reason to look at a key.
type class string

const (
	unmanaged class = "unmanaged" // at the provider, and not made by this mount
	missing   class = "missing"   // in the ledger, and gone at the provider
	orphaned  class = "orphaned"  // made by this mount, and not in the ledger
	ownerless class = "ownerless" // nobody is known who answers for it
	stale     class = "stale"     // older than max_age
	idle      class = "idle"      // not used for max_idle
	overdue   class = "overdue"   // its rotation is late, or fails
)

var classes = []class{unmanaged, missing, orphaned, ownerless, stale, idle, overdue}

// overdueAfter is how late a rotation is that calls for attention: the sweep comes
// once a minute, and many rotations at once take turns.
const overdueAfter = 10 * time.Minute

// findingsShown is how many findings of a class are told; all are counted.
const findingsShown = 100

// A finding is one key of a class.
type finding struct {
	kind                      kind
	keyID, name, scope, owner string
	id, role                  string // of its record
	createdAt, lastUsedAt     time.Time
	why, remedy               string
}

// findings are those of one class.
type findings struct {
	count int
	first []finding
}

// An audit is one comparison of a provider with the ledger.
type audit struct {
	*survey
	path            string // of the mount, with its slash
	maxAge, maxIdle time.Duration
	found           map[class]*findings
	records         int
	entities        map[string]string // by id: why nobody answers for it; empty if somebody does
}

func (b *backend) newAudit(ctx context.Context, req *logical.Request, config string) (*audit, error) {
	v, err := b.newSurvey(ctx, req.Storage, config)
	if err != nil {
		return nil, err
	}
	a := &audit{survey: v, path: req.MountPoint, found: map[class]*findings{}, entities: map[string]string{}}
	for _, c := range classes {
		a.found[c] = &findings{}
	}
	return a, nil
}

func (a *audit) run(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, surveyBudget)
	defer cancel()
	if err := a.readLedger(asking, a.checkRecord); err != nil {
		return err
	}
	if err := a.checkRotations(asking); err != nil {
		return err
	}
	a.readScopes(asking)
	a.eachKey(asking, func(key listedKey) { a.checkKey(ctx, key) }, a.orphan)
	return a.checkMissing(ctx)
}

// add counts a finding, and describes it if it is one of the first.
func (a *audit) add(c class, describe func() finding) {
	found := a.found[c]
	found.count++
	if len(found.first) < findingsShown {
		found.first = append(found.first, describe())
	}
}

// checkRecord looks at who answers for a key that somebody has.
func (a *audit) checkRecord(rec record) {
	a.records++
	if rec.Kind != lease || rec.State != active { // see checkStatic
		return
	}
	if why := a.withoutOwner(rec); why != "" {
		a.add(ownerless, func() finding { return a.ofRecord(rec).because(why) })
	}
}

// withoutOwner says why nobody answers for a key; empty if somebody does. An
// entity that was deleted in Vault answers for nothing.
func (a *audit) withoutOwner(rec record) string {
	if rec.EntityID == "" {
		if rec.Metadata[ownerMetadata] != "" {
			return ""
		}
		return fmt.Sprintf("issued to a token without an entity, under a role without metadata %q", ownerMetadata)
	}
	why, asked := a.entities[rec.EntityID]
	if !asked {
		why = a.whatOfEntity(rec.EntityID)
		a.entities[rec.EntityID] = why
	}
	return why
}

// checkRotations looks at the rotations of the connection and of its static roles. It
// asks the provider nothing.
func (a *audit) checkRotations(ctx context.Context) error {
	config := a.conn.entry
	if why := config.Rotation.trouble(config.rotateDue(), a.began); why != "" {
		a.add(overdue, func() finding {
			return finding{
				kind: admin, keyID: config.AdminKeyID, id: config.AdminRecord, createdAt: config.Rotation.Last,
				why: why, remedy: fmt.Sprintf("vault write -f %srotate-root/%s", a.path, a.conn.name),
			}
		})
	}
	return walkStatics(ctx, a.storage, func(e *staticEntry, err error) error {
		if err != nil {
			a.problem("a static role cannot be read: %s", err)
			return nil
		}
		if e.Config != a.conn.name {
			return nil
		}
		a.checkStaticOwner(e)
		return a.checkStatic(ctx, e)
	})
}

// checkStaticOwner looks at who answers for a static role: its key belongs to nobody
// else.
func (a *audit) checkStaticOwner(e *staticEntry) {
	if e.Key == nil || e.Metadata[ownerMetadata] != "" {
		return
	}
	a.add(ownerless, func() finding {
		f := a.ofStatic(e).because(fmt.Sprintf("the static role has no metadata %q", ownerMetadata))
		f.remedy = fmt.Sprintf("vault write %sstatic-roles/%s metadata=%s=…", a.path, e.name, ownerMetadata)
		return f
	})
}

// ofStatic describes a static role.
func (a *audit) ofStatic(e *staticEntry) finding {
	f := finding{kind: static, role: e.name, scope: a.conn.provider.Scope(e.Fields), owner: e.Metadata[ownerMetadata], createdAt: e.Rotation.Last}
	if e.Key != nil {
		f.keyID, f.name, f.id = e.Key.KeyID, e.Key.Name, e.Key.Record
	}
	return f
}

func (a *audit) checkStatic(ctx context.Context, e *staticEntry) error {
	why := e.Rotation.trouble(e.rotateDue(), a.began)
	if why == "" {
		return nil
	}
	suspended, err := suspensionOf(ctx, a.storage, e.name)
	if err != nil {
		return err
	}
	remedy := fmt.Sprintf("vault write -f %srotate-role/%s", a.path, e.name)
	if suspended != nil {
		why, remedy = "the role is suspended; "+why, suspended.resumeCommand(a.path)
	}
	a.add(overdue, func() finding {
		f := a.ofStatic(e).because(why)
		f.remedy = remedy
		return f
	})
	return nil
}

func (a *audit) whatOfEntity(id string) string {
	entity, err := a.System().EntityInfo(id)
	switch {
	case err != nil:
		a.problem("entity %s could not be looked up: %s", id, err)
		return ""
	case entity == nil:
		return "its entity was deleted in Vault"
	case entity.Disabled:
		return "its entity is disabled in Vault"
	}
	return ""
}

// checkKey looks at a key that the provider lists and that is no orphan.
func (a *audit) checkKey(ctx context.Context, key listedKey) {
	if k, known := a.known[key.ID]; known {
		a.checkAge(key, func() finding { return a.ofPointer(ctx, k.pointer, key) })
		return
	}
	a.add(unmanaged, func() finding { return a.foreign(key) })
	a.checkAge(key, func() finding { return a.foreign(key) })
}

// foreign describes a key that this mount did not make.
func (a *audit) foreign(key listedKey) finding {
	f := a.ofListed(key).because("this mount did not make it")
	f.remedy = fmt.Sprintf("delete it at the provider once its user reads %screds/<role> instead", a.path)
	switch tag := mountOf(key.Name); {
	case tag != "":
		f.why = fmt.Sprintf("it bears the name of another mount, whose tag is %s", tag)
		f.remedy = "leave it to that mount, and ask its owners for their audit"
	case key.kind == admin && a.unknownAdmin != "":
		f.why = fmt.Sprintf("this mount did not make it, but it may be the one that connection %q uses, whose id is not known", a.unknownAdmin)
		f.remedy = fmt.Sprintf("vault write %sconfig/%s admin_key=… admin_key_id=%s, if it is that key", a.path, a.unknownAdmin, key.ID)
	case key.kind == admin:
		f.remedy = "delete it at the provider if nobody needs it"
	}
	return f
}

// checkAge looks at how old a key is and when it was used.
func (a *audit) checkAge(key listedKey, describe func() finding) {
	if old := a.began.Sub(key.CreatedAt); !key.CreatedAt.IsZero() && old > a.maxAge {
		a.add(stale, func() finding { return describe().because(fmt.Sprintf("made %d days ago", days(old))) })
	}
	if !key.UseKnown {
		return
	}
	last, why := key.LastUsedAt, "last used %d days ago"
	if last.IsZero() {
		last, why = key.CreatedAt, "never used since it was made, %d days ago"
	}
	if rest := a.began.Sub(last); !last.IsZero() && rest > a.maxIdle {
		a.add(idle, func() finding { return describe().because(fmt.Sprintf(why, days(rest))) })
	}
}

func days(d time.Duration) int { return int(d / (24 * time.Hour)) }

func (a *audit) orphan(key listedKey) {
	a.add(orphaned, func() finding {
		f := a.ofListed(key).because("it bears a name of this mount, and the ledger does not know it: Vault was restored from a backup, or a copy of it made this")
		f.remedy = fmt.Sprintf("vault write %stidy/%s dry_run=false", a.path, a.conn.name)
		if key.kind == admin {
			f.remedy = "delete it at the provider if no copy of this Vault uses it"
		}
		return f
	})
}

// checkMissing looks for records whose keys were not listed where they should be.
func (a *audit) checkMissing(ctx context.Context) error {
	for keyID, k := range a.known {
		if a.seen[keyID] || !a.sawAll(k.pointer, k.scope) {
			continue
		}
		rec, err := a.ledger(a.storage).get(ctx, k.pointer)
		if err != nil {
			return err
		}
		if rec == nil || rec.KeyID != keyID || !a.shouldBeListed(*rec) {
			continue
		}
		a.add(missing, func() finding {
			return a.ofRecord(*rec).because("the provider does not list it: somebody deleted it there")
		})
	}
	return nil
}

// shouldBeListed reports whether a key must have been in a listing that went to its
// end, had it existed: neither is it too young, nor has it expired, nor is it being
// deleted.
func (a *audit) shouldBeListed(rec record) bool {
	expired := !rec.ExpiresAt.IsZero() && !rec.ExpiresAt.After(a.now())
	return rec.State == active && !expired && rec.knownFrom(a.conn).Before(a.began)
}

// ofRecord describes a key of the ledger.
func (a *audit) ofRecord(rec record) finding {
	f := finding{
		kind: rec.Kind, keyID: rec.KeyID, name: rec.Name, scope: rec.Scope, owner: rec.owner.String(),
		id: rec.ID, role: rec.Role, createdAt: rec.CreatedAt,
		remedy: fmt.Sprintf("vault write %srevoke id=%s", a.path, rec.ID),
	}
	switch {
	case rec.Kind == admin:
		f.remedy = fmt.Sprintf("vault write -f %srotate-root/%s", a.path, a.conn.name)
	case rec.Kind == static && rec.State == active:
		f.remedy = fmt.Sprintf("vault write -f %srotate-role/%s", a.path, rec.Role)
	}
	return f
}

// ofPointer describes a key that both sides know.
func (a *audit) ofPointer(ctx context.Context, p pointer, key listedKey) finding {
	rec, err := a.ledger(a.storage).get(ctx, p)
	if err != nil || rec == nil {
		return a.ofListed(key)
	}
	f := a.ofRecord(*rec)
	f.createdAt, f.lastUsedAt = key.CreatedAt, key.LastUsedAt
	return f
}

// ofListed describes a key of the provider.
func (a *audit) ofListed(key listedKey) finding {
	return finding{
		kind: key.kind, keyID: key.ID, name: key.Name, scope: key.scope, owner: key.Owner,
		createdAt: key.CreatedAt, lastUsedAt: key.LastUsedAt,
	}
}

func (f finding) because(why string) finding {
	f.why = why
	return f
}

// ofListed is what a key without a record is called: nothing says that it is a lease.
func (k kind) ofListed() string {
	if k == lease {
		return "key"
	}
	return string(k)
}

func (f finding) data() map[string]any {
	kind := string(f.kind)
	if f.id == "" {
		kind = f.kind.ofListed()
	}
	return map[string]any{
		"kind": kind, "key_id": f.keyID, "name": provider.HideKeys(f.name), "scope": f.scope, "owner": provider.HideKeys(f.owner),
		"id": f.id, "role": f.role, "created_at": rfc3339(f.createdAt), "last_used_at": rfc3339(f.lastUsedAt),
		"why": f.why, "remedy": f.remedy,
	}
}

func (f *findings) data() map[string]any {
	items := make([]map[string]any, 0, len(f.first))
	for _, one := range f.first {
		items = append(items, one.data())
	}
	return map[string]any{"count": f.count, "items": items}
}
