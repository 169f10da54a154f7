package providertest

import (
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what holds for keys that are tokens, of which their provider keeps no
// list: see provider.Limits.

var tokenDeleteChecks = []check{
	{"is refused, and changes nothing", tokenNotDeleted},
}

var tokenFindChecks = []check{
	{"yields nothing", tokenNotFound},
}

func tokenNotDeleted(b *bench) {
	key := b.mint("vault-test-one")
	sent := len(b.URLs())
	b.wantKind(b.delete(key), provider.Invalid)
	if len(b.URLs()) != sent || !b.Alive(key.Secret.Reveal()) {
		b.Errorf("%d requests were sent, and the token lives: %t", len(b.URLs())-sent, b.Alive(key.Secret.Reveal()))
	}
	time.Sleep(time.Hour + b.latest())
	b.wantKeys(0)
}

func tokenNotFound(b *bench) {
	b.mint("vault-test-one")
	sent := len(b.URLs())
	if keys := b.find(); len(keys) != 0 || len(b.URLs()) != sent {
		b.Errorf("got keys %v by %d requests, want none", keys, len(b.URLs())-sent)
	}
}

var closeChecks = []check{
	{"stops what mints, and says so", closes(closeStops)},
	{"is safe to repeat", closes(closeTwice)},
	{"is done only if the answer says so", closes(closeBroken)},
}

// A closer is a bench whose client can close roles.
type closer struct {
	*bench
	provider.RoleCloser
}

func closes(run func(closer)) func(*bench) {
	return func(b *bench) {
		c, ok := b.client.(provider.RoleCloser)
		if !ok {
			b.Skip("no provider.RoleCloser")
		}
		run(closer{b, c})
	}
}

func (c closer) close() error {
	c.Helper()
	done, err := c.CloseRole(c.Context(), Holder(), c.Role())
	if (done == "") == (err == nil) {
		c.Errorf("got %q, error %v, want one of them", done, err)
	}
	return c.note(err)
}

// wantOpen checks whether keys are minted for the role.
func (c closer) wantOpen(want bool) {
	c.Helper()
	if _, err := c.tryMint(c.Context(), "vault-test-after"); (err == nil) != want {
		c.Errorf("got error %v, want a key: %t", err, want)
	}
}

func closeStops(c closer) {
	c.wantOpen(true)
	if err := c.close(); err != nil {
		c.Fatal(err)
	}
	c.wantOpen(false)
}

func closeTwice(c closer) {
	for range 2 {
		if err := c.close(); err != nil {
			c.Fatal(err)
		}
	}
	c.wantOpen(false)
}

func closeBroken(c closer) {
	for status, kind := range kinds() {
		if c.Break(CloseRole, Fault{Status: status, Times: 1}) {
			c.wantKind(c.close(), kind)
		}
	}
	for _, body := range []string{"{}", "null", "[]", `"ok"`, `{"archived_at":null}`, "<html>sign in</html>"} {
		if c.Break(CloseRole, Fault{Status: 200, Body: body, Times: 1}) {
			c.wantKind(c.close(), provider.Unavailable)
		}
	}
	c.wantOpen(true)
}
