package providertest

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what holds for every call.

var everyChecks = []check{
	{"failure has its kind, whatever its body", everyKind},
	{"failure hides secrets that the provider echoes", everyEcho},
	{"redirect is refused", everyRedirect},
}

// kinds maps what a provider answers without doing anything to what it means.
func kinds() map[int]provider.Kind {
	return map[int]provider.Kind{
		http.StatusBadRequest:          provider.Invalid,
		http.StatusUnauthorized:        provider.Unauthorized,
		http.StatusForbidden:           provider.Forbidden,
		http.StatusNotFound:            provider.NotFound,
		http.StatusConflict:            provider.Invalid,
		http.StatusGone:                provider.NotFound,
		http.StatusUnprocessableEntity: provider.Invalid,
	}
}

// A call is one that every client has, or that this one has.
type call struct {
	move Move
	do   func() error
}

// calls are the calls of a client about one key, which exists.
func (b *bench) calls(key provider.Key) []call {
	all := []call{{Mint, func() error { _, err := b.tryMint(b.Context(), "vault-test-never"); return err }}}
	if !b.irrevocable() {
		all = append(all, call{Delete, func() error { return b.delete(key) }},
			call{Find, func() error { _, err := b.tryFind(); return err }})
	}
	if e, ok := b.client.(provider.Extender); ok {
		all = append(all, call{Extend, func() error {
			_, err := e.Extend(b.Context(), b.ref(key), time.Now().Add(2*time.Hour))
			return b.note(err)
		}})
	}
	if _, ok := b.client.(provider.KeyVerifier); ok {
		all = append(all, call{VerifyKey, func() error { return b.verify(key.Secret) }})
	}
	if _, ok := b.client.(provider.KeyReader); ok {
		all = append(all, call{ReadKey, func() error { _, err := b.readKey(key, key.Secret); return err }})
	}
	if k, ok := b.client.(provider.PrincipalKeeper); ok {
		ensure := func() error {
			_, err := k.EnsurePrincipal(b.Context(), "vault-test-never", b.Role())
			return b.note(err)
		}
		all = append(all, call{FindPrincipal, ensure}, call{CreatePrincipal, ensure},
			call{DeletePrincipal, func() error { return b.note(k.DeletePrincipal(b.Context(), b.principal)) }},
			call{FindPrincipal, func() error { _, err := principalsOf(b).try(b.Context()); return err }})
	}
	if _, ok := b.client.(provider.ScopeLister); ok {
		all = append(all, call{FindScopes, func() error { _, err := scopeListing(b).try(b.Context()); return err }})
	}
	if r, ok := b.rotator(); ok {
		all = append(all, adminCalls(r)...)
	}
	return all
}

// means is the kind of a call about a key that exists. That it is gone is no
// answer to believe: the engine would forget the key, or its holder drop it.
func (c call) means(kind provider.Kind) provider.Kind {
	if kind == provider.NotFound && slices.Contains([]Move{Delete, DeletePrincipal, DeleteAdmin, Extend, ReadKey}, c.move) {
		return provider.Unavailable
	}
	return kind
}

// passes reports whether a failure is none: the provider knows a key, by its own
// words, that may not make the call which was to tell whether it works.
func (b *bench) passes(c call, kind provider.Kind, f Fault) bool {
	return !b.harness.UnscopedKeys && c.move == VerifyKey && kind == provider.Forbidden && f.Body == ""
}

// most is how often a call may be sent: what reads a key may read it again before
// it says that it is gone.
func (c call) most(kind provider.Kind) int {
	if c.move == ReadKey && kind == provider.NotFound {
		return 2
	}
	return 1
}

func everyKind(b *bench) {
	key := b.mint("vault-test-one")
	bodies := []Fault{
		{},
		{Body: "<html>no</html>", HTML: true},
		{Body: `{"error":"no"}`},
		{Body: `{"error":null}`},
		{Body: `{"error":{"message":null,"code":7}}`},
		{Body: "null"},
		{Body: "[]"},
		{Body: "{"},
	}
	for _, c := range b.calls(key) {
		for status, kind := range kinds() {
			for _, f := range bodies {
				f.Status, f.Times = status, 1
				if !b.Break(c.move, f) {
					continue
				}
				before := b.Count(c.move)
				switch err := c.do(); {
				case !b.passes(c, kind, f):
					b.wantKind(err, c.means(kind))
				case err != nil:
					b.Errorf("%s, %d: got %v, want no error", c.move, status, err)
				}
				if sent := b.Count(c.move) - before; sent < 1 || sent > c.most(kind) {
					b.Errorf("%s, %d: sent %d times, want %d at most", c.move, status, sent, c.most(kind))
				}
			}
		}
	}
	b.wantUntouched(key)
}

// wantUntouched checks that the key still lives and is the only one.
func (b *bench) wantUntouched(key provider.Key) {
	b.Helper()
	if !b.Alive(key.Secret.Reveal()) {
		b.Error("the key does not live")
	}
	b.wantKeys(1)
	if w, ok := b.World.(AdminWorld); ok && len(w.AdminKeys()) != 1 {
		b.Errorf("got %d admin keys, want the first alone", len(w.AdminKeys()))
	}
}

func everyEcho(b *bench) {
	key := b.mint("vault-test-one")
	admin := b.Settings().AdminKey.Reveal()
	text := fmt.Sprintf("wrong key %s, not %s; header Bearer %s; x_%s_", admin, key.Secret.Reveal(), admin, admin)
	body := fmt.Sprintf(`{"error":{"message":%q,"type":%q,"code":%q,"param":%q}}`, text, text, text, text)
	for _, c := range b.calls(key) {
		for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusInternalServerError} {
			for _, how := range []string{body, fmt.Sprintf(`{"error":%q}`, text), text} {
				b.Mend()
				if !b.Break(c.move, Fault{Status: status, Body: how}) {
					continue
				}
				if err := c.do(); err == nil {
					b.Errorf("%s: got no error", c.move)
				}
			}
		}
	}
	b.wantUntouched(key)
}

// A simulator that redirects does what was asked at the new address, with any
// method: a client that follows is found out.
func everyRedirect(b *bench) {
	key := b.mint("vault-test-one")
	for _, c := range b.calls(key) {
		b.Mend()
		if !b.Break(c.move, Fault{Redirect: true}) {
			continue
		}
		before := b.Count(c.move)
		b.wantKind(c.do(), provider.Unavailable)
		if sent := b.Count(c.move) - before; sent != 1 {
			b.Errorf("%s: sent %d times, want once", c.move, sent)
		}
	}
	b.wantUntouched(key)
}

// wantRepeated checks that a call outlasts two failures, and fails if they do not
// end.
func (b *bench) wantRepeated(m Move, do func() error) {
	b.Helper()
	for how, f := range lost() {
		b.Mend()
		f.Times = 2
		if !b.Break(m, f) {
			continue
		}
		if err := do(); err != nil {
			b.Errorf("%s: %v", how, err)
		}
		f.Times = 0
		b.Break(m, f)
		before := b.Count(m)
		b.wantKind(do(), provider.Unavailable)
		if sent := b.Count(m) - before; sent < 2 || sent > 5 {
			b.Errorf("%s: sent %d times, want 2 to 5", how, sent)
		}
	}
	b.Mend()
	if b.Break(m, Fault{Refuse: true}) {
		b.wantKind(do(), provider.Unavailable)
	}
	b.Mend()
}

// wantUnechoed makes the provider echo a secret that looks like none. That it is in
// no error is checked at the end of every check.
func (b *bench) wantUnechoed(m Move, secret provider.Secret, do func() error) {
	b.Helper()
	text := fmt.Sprintf("x_%s_ is wrong", secret.Reveal())
	body := fmt.Sprintf(`{"error":{"message":%q,"type":%q,"code":%q,"param":%q}}`, text, text, text, text)
	for status := range kinds() {
		for _, how := range []string{body, fmt.Sprintf(`{"error":%q}`, text), text} {
			b.Mend()
			if b.Break(m, Fault{Status: status, Body: how}) && do() == nil && (b.harness.UnscopedKeys || m != VerifyKey || status != http.StatusForbidden) {
				b.Errorf("%s, %d: got no error", m, status)
			}
		}
	}
	b.Mend()
}
