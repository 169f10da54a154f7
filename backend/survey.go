package backend

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file compares what a provider lists with the ledger, for the audit and for
// tidy. It changes nothing.
//
//   - Keys are looked at as their pages come; what is kept of each is its id, and
//     only if the ledger knows it. The ledger is read once before.
//   - While it goes on, keys are issued and revoked. So what looks wrong is looked
//     at again, here and at the provider, before it is reported.
//   - A scope that cannot be listed to its end is a problem that is reported, and
//     nothing is concluded from what was not seen in it.

// surveyBudget bounds a survey and what follows from it: the command line gives up
// after 60 s.
const surveyBudget = 50 * time.Second

// A survey is one look at the account of a connection.
type survey struct {
	*backend
	storage logical.Storage
	conn    *connection
	mount   *mountEntry
	began   time.Time

	known      map[string]knownKey // by key id: what the ledger held at the beginning
	seen       map[string]bool     // key ids of known that the provider has listed
	scopes     map[string]bool     // of the account; true once listed to the end
	admins     bool                // the admin keys are listed to the end
	principals map[string]bool     // ids of principals on record
	owners     map[string]bool     // ids of principals that own a key
	ofRoles    map[string]bool     // names of principals of stored roles
	listed     int                 // keys at the provider
	last       string              // scope that was done last, here or in the survey before
	problems   []string
	blind      bool // not all roles could be read: nothing is said of principals

	// unknownAdmin is a connection of whose admin key the id is not known; empty if
	// there is none.
	unknownAdmin string
}

// A knownKey is what is kept of a record.
type knownKey struct {
	pointer
	scope string
}

// A listedKey is a key, or a principal, as a provider lists it.
type listedKey struct {
	provider.Found
	kind  kind
	scope string
}

func (b *backend) newSurvey(ctx context.Context, s logical.Storage, config string) (*survey, error) {
	conn, err := b.connection(ctx, s, config)
	if errors.Is(err, errNoConnection) {
		return nil, errNoSuchConnection(config)
	}
	if err != nil {
		return nil, err
	}
	mount, err := b.mount(ctx, s)
	if err != nil {
		return nil, err
	}
	return &survey{
		backend: b, storage: s, conn: conn, mount: mount, began: b.now(),
		known: map[string]knownKey{}, seen: map[string]bool{}, scopes: map[string]bool{},
		principals: map[string]bool{}, owners: map[string]bool{}, ofRoles: map[string]bool{},
	}, nil
}

// problem notes what could not be looked at. Of many, the first are told.
func (v *survey) problem(format string, args ...any) {
	if len(v.problems) < findingsShown {
		v.problems = append(v.problems, provider.HideKeys(fmt.Sprintf(format, args...)))
	}
}

// readLedger calls visit with each record of the connection, and keeps what finds
// it in a listing.
func (v *survey) readLedger(ctx context.Context, visit func(record)) error {
	names := map[string]string{} // one string of each scope, however many records
	err := v.ledger(v.storage).readRecords(ctx, v.conn.name, func(rec record) {
		if rec.Kind != admin && names[rec.Scope] == "" {
			names[rec.Scope], v.scopes[rec.Scope] = rec.Scope, false
		}
		if rec.KeyID != "" && !rec.Token { // no listing shows a token
			v.known[rec.KeyID] = knownKey{rec.pointer(), names[rec.Scope]}
		}
		visit(rec)
	}, nil)
	if err != nil {
		return err
	}
	return firstErrorOf(
		func() error { return v.readPrincipals(ctx) },
		func() error {
			if err := v.readRoles(ctx); err != nil {
				v.blind = true
				v.problem("the roles could not all be read, so no service account is looked at: %s", err)
			}
			return ctx.Err()
		},
		func() error { return v.readAdminIDs(ctx) },
	)
}

func (v *survey) readAdminIDs(ctx context.Context) error {
	configs, err := list(ctx, v.storage, configPrefix)
	for _, config := range configs {
		var entry *configEntry
		if entry, err = loadConfig(ctx, v.storage, config); err != nil {
			return err
		}
		if entry != nil && entry.AdminKeyID == "" {
			v.unknownAdmin = config
		}
	}
	return err
}

// readRoles notes the names of the principals that roles have, or would get: after a
// restore of Vault, one that is not on record is found again by its name.
func (v *survey) readRoles(ctx context.Context) error {
	return walkKeyRoles(ctx, v.storage, func(role *keyRole) {
		v.ofRoles[principalName(v.mount, role.Config, role.name, v.conn.provider.Limits().NameLength)] = true
	})
}

// readPrincipals reads those of all connections: two may be of one account.
func (v *survey) readPrincipals(ctx context.Context) error {
	return walk(ctx, v.storage, principalPrefix, func(key string) error {
		entry, err := load[principalEntry](ctx, v.storage, key)
		if entry != nil {
			v.principals[entry.ID] = true
		}
		return err
	})
}

// readScopes adds the scopes that nothing in the ledger is in. It comes before any is
// listed.
func (v *survey) readScopes(ctx context.Context) {
	lister, ok := v.conn.client.(provider.ScopeLister)
	if !ok {
		v.problem("provider %q does not tell which scopes its account has: only those of the ledger are looked at", v.conn.provider.Name())
		return
	}
	for scope, err := range lister.Scopes(ctx) {
		if v.noted(v.conn, err) != nil {
			v.problem("the scopes of the account could not all be listed: %s", err)
			return
		}
		v.scopes[scope] = false
	}
}

// eachKey calls visit with every key of the account, and suspect with those that
// bear a name of this mount and that the ledger does not know.
func (v *survey) eachKey(ctx context.Context, visit, suspect func(listedKey)) {
	for _, scope := range v.inOrder() {
		if ctx.Err() != nil {
			v.problem("there was no time for %q and what comes after it", scope)
			return
		}
		list := func() iter.Seq2[provider.Found, error] { return v.conn.client.Find(ctx, scope) }
		v.scopes[scope] = v.eachOf(ctx, lease, scope, list, visit, suspect)
		v.eachPrincipal(ctx, scope, suspect)
		v.last = scope
	}
	v.last = ""
	if rotator, ok := v.conn.client.(provider.AdminRotator); ok {
		list := func() iter.Seq2[provider.Found, error] { return rotator.FindAdmins(ctx) }
		v.admins = v.eachOf(ctx, admin, "", list, visit, suspect)
	}
}

// inOrder is the scopes, those that the survey before did not come to first.
func (v *survey) inOrder() []string {
	scopes := slices.Sorted(maps.Keys(v.scopes))
	i, _ := slices.BinarySearch(scopes, v.last+"\x00")
	if v.last == "" {
		i = 0
	}
	return slices.Concat(scopes[i:], scopes[:i])
}

// eachOf is eachKey for one listing. It reports whether that went to its end.
func (v *survey) eachOf(ctx context.Context, k kind, scope string, list func() iter.Seq2[provider.Found, error], visit, suspect func(listedKey)) bool {
	var suspects []listedKey
	for found, err := range list() {
		if v.noted(v.conn, err) != nil {
			v.problem("%s: %s", whereListed(k, scope), err)
			return false
		}
		key := listedKey{Found: found, kind: k, scope: scope}
		v.listed++
		v.owners[found.PrincipalID] = true
		if _, known := v.known[found.ID]; known {
			v.seen[found.ID] = true
		} else if ourKey(v.mount.Tag, found.Name) {
			suspects = append(suspects, key)
			continue
		} else if k == admin && v.usedElsewhere(ctx, key) {
			continue
		}
		visit(key)
	}
	return v.confirm(ctx, k, scope, suspects, list, suspect)
}

func whereListed(k kind, scope string) string {
	if k == admin {
		return "the admin keys could not be listed to the end"
	}
	return fmt.Sprintf("the keys of %q could not be listed to the end", scope)
}

// confirm calls suspect with those keys that the provider still lists and the ledger
// still does not know: others were issued or revoked in the meantime.
func (v *survey) confirm(ctx context.Context, k kind, scope string, suspects []listedKey, list func() iter.Seq2[provider.Found, error], suspect func(listedKey)) bool {
	if len(suspects) == 0 {
		return true
	}
	still := map[string]bool{}
	for found, err := range list() {
		if v.noted(v.conn, err) != nil {
			v.problem("%s: %s", whereListed(k, scope), err)
			return false
		}
		still[found.ID] = true
	}
	for _, key := range suspects {
		known, err := v.inLedger(ctx, key)
		switch {
		case err != nil:
			v.problem("key %s could not be looked up in the ledger: %s", key.ID, err)
			return false
		case still[key.ID] && !known:
			suspect(key)
		}
	}
	return true
}

// inLedger reports whether a record leads to a key that bears a name of this mount,
// by its id at the provider or, while that is not known, by its name.
func (v *survey) inLedger(ctx context.Context, key listedKey) (bool, error) {
	for _, f := range []fact{byKeyID(key.ID), byID(idOf(key.Name))} {
		recs, err := v.recordsWith(ctx, v.storage, f)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(recs, func(rec record) bool {
			return rec.KeyID == key.ID || rec.KeyID == "" && rec.Name == key.Name
		}) {
			return true, nil
		}
	}
	return false, nil
}

// usedElsewhere reports whether another connection has an admin key that an operator
// made.
func (v *survey) usedElsewhere(ctx context.Context, key listedKey) bool {
	known, err := v.inLedger(ctx, key)
	if err != nil {
		v.problem("admin key %s could not be looked up in the ledger: %s", key.ID, err)
	}
	return known
}

// eachPrincipal calls suspect with each principal of a scope that bears a name of
// this mount, owns no key, is not on record and is not that of a role.
func (v *survey) eachPrincipal(ctx context.Context, scope string, suspect func(listedKey)) {
	keeper, ok := v.conn.client.(provider.PrincipalKeeper)
	if !ok || !v.scopes[scope] || v.blind {
		return
	}
	var suspects []provider.FoundPrincipal
	for found, err := range keeper.FindPrincipals(ctx, scope) {
		if v.noted(v.conn, err) != nil {
			v.problem("the service accounts of %q could not be listed to the end: %s", scope, err)
			return
		}
		if ourPrincipal(v.mount.Tag, found.Name) && !v.principals[found.ID] && !v.owners[found.ID] && !v.ofRoles[found.Name] {
			suspects = append(suspects, found)
		}
	}
	if len(suspects) == 0 {
		return
	}
	if err := v.readPrincipals(ctx); err != nil { // one may have been made meanwhile
		v.problem("the service accounts on record could not be read: %s", err)
		return
	}
	for _, found := range suspects {
		if !v.principals[found.ID] {
			suspect(listedKey{kind: principalKind, scope: scope, Found: provider.Found{ID: found.ID, Name: found.Name, CreatedAt: found.CreatedAt}})
		}
	}
}

// principalKind is what a finding calls a principal. No record is of this kind.
const principalKind kind = "service_account"

var (
	endsInID   = regexp.MustCompile(`-[0-9a-v]{26}$`)
	endsInHash = regexp.MustCompile(`-[0-9a-f]{16}$`)
	mountsName = regexp.MustCompile(`^` + namePrefix + `([0-9a-v]{8})-`)
)

// ourKey reports whether the mount of a tag gave a key its name: the tag is where
// it puts it, and an id ends it.
func ourKey(tag, name string) bool { return mountOf(name) == tag }

// mountOf is the tag of the mount that gave a key its name; empty if none did.
func mountOf(name string) string {
	if tag := mountsName.FindStringSubmatch(name); tag != nil && endsInID.MatchString(name) {
		return tag[1]
	}
	return ""
}

// ourPrincipal is ourKey for the name of a principal.
func ourPrincipal(tag, name string) bool {
	return strings.HasPrefix(name, namePrefix+tag+"-") && endsInHash.MatchString(name)
}

// sawAll reports whether the listing in which a key must be went to its end.
func (v *survey) sawAll(p pointer, scope string) bool {
	if p.admin() {
		return v.admins
	}
	return v.scopes[scope]
}

// idOf is the id at the end of a name of ours.
func idOf(name string) string { return strings.TrimPrefix(endsInID.FindString(name), "-") }
