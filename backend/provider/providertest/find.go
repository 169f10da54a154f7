package providertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var findChecks = []check{
	{"yields every key once, over all pages", findAll},
	{"yields nothing where there is nothing", findNone},
	{"fetches pages as the loop goes on", findLazily},
	{"yields an error once and last", findError},
	{"is sent again after a failure", findRepeated},
	{"never takes nonsense for an empty list", findSpoiled},
	{"ends with its context", findCanceled},
	{"says that there is no such scope", findNowhere},
	{"says whose each key is, how old, and when it was used", findAttributes},
}

func findAll(b *bench) {
	want := map[string]string{} // id to name
	for i := range 205 {
		b.Plant(fmt.Sprintf("%s-%d", foreign, i))
		if i%70 == 0 {
			b.mint(fmt.Sprintf("vault-test-%d", i))
		}
	}
	for _, key := range b.Keys() {
		want[key.ID] = key.Name
	}
	got := map[string]bool{}
	for _, key := range b.find() {
		if got[key.ID] {
			b.Errorf("key %s is yielded twice", key.ID)
		}
		got[key.ID] = true
		if name, ok := want[key.ID]; !ok || name != key.Name {
			b.Errorf("got key %s named %q, want name %q", key.ID, key.Name, name)
		}
	}
	if len(got) != len(want) || len(want) != 208 {
		b.Errorf("got %d keys, want %d", len(got), len(want))
	}
	b.wantAttributes()
}

// wantAttributes checks what find says of keys against the world.
func (b *bench) wantAttributes() {
	b.Helper()
	world := map[string]provider.Found{}
	for _, key := range b.Keys() {
		world[key.ID] = key
	}
	for _, got := range b.find() {
		b.wantFound(got, world[got.ID])
	}
}

// wantFound checks what a list says of a key. Providers count in whole seconds.
func (b *bench) wantFound(got, want provider.Found) {
	b.Helper()
	same := func(a, b time.Time) bool { return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < time.Second }
	if got.ID != want.ID || got.Name != want.Name || got.PrincipalID != want.PrincipalID || got.Owner != want.Owner ||
		!got.ExpiresAt.Equal(want.ExpiresAt) || !same(got.CreatedAt, want.CreatedAt) || !same(got.LastUsedAt, want.LastUsedAt) || got.UseKnown != want.UseKnown {
		b.Errorf("got key %+v, want %+v", got, want)
	}
	for _, secret := range b.Secrets() {
		if strings.Contains(fmt.Sprint(got), secret) {
			b.Errorf("a secret is in %+v", got)
		}
	}
}

// wantAged skips the test if lists do not say how old things are.
func (b *bench) wantAged(id string, created, lastUsed time.Time) {
	b.Helper()
	if !b.Age(id, created, lastUsed) {
		b.Skipf("lists do not say how old %s is", id)
	}
}

func findAttributes(b *bench) {
	b.Plant(foreign)
	b.Plant(foreign + "-old")
	b.Plant(foreign + "-idle")
	b.mint("vault-test-one")
	old := b.mint("vault-test-old")
	b.wantAttributes()

	year := time.Now().AddDate(-1, 0, 0).Truncate(time.Second)
	used := map[string]time.Time{old.ID: year.AddDate(0, 1, 0)}
	for _, key := range b.Keys() {
		switch key.Name {
		case foreign + "-old":
			used[key.ID] = year.AddDate(0, 2, 0)
		case foreign + "-idle":
			used[key.ID] = time.Time{}
		}
	}
	for id, at := range used {
		b.wantAged(id, year, at)
	}
	b.wantAttributes()
	owners := map[bool]string{} // by whether a principal owns the key
	for _, key := range b.find() {
		if at, aged := used[key.ID]; aged && (!key.CreatedAt.Equal(year) || !key.LastUsedAt.Equal(at)) {
			b.Errorf("got key %+v, want made on %s and used on %s", key, year, at)
		}
		if key.Owner != "" {
			owners[key.PrincipalID != ""] = key.Owner
		}
	}
	if len(owners) == 2 && owners[true] == owners[false] {
		b.Errorf("a person and a principal are both %q", owners[true])
	}
}

func findNone(b *bench) {
	if keys := b.find(); len(keys) != 0 {
		b.Errorf("got keys %v, want none", keys)
	}
}

func findLazily(b *bench) {
	for i := range 250 {
		b.Plant(fmt.Sprintf("%s-%d", foreign, i))
	}
	keys := b.client.Find(b.Context(), b.scope())
	b.wantCount(Find, 0)
	for _, err := range keys {
		if err != nil {
			b.Fatal(err)
		}
		break
	}
	b.wantCount(Find, 1)
}

func findError(b *bench) {
	for i := range 150 {
		b.Plant(fmt.Sprintf("%s-%d", foreign, i))
	}
	b.find()
	if b.Count(Find) < 2 {
		b.Skip("there is one page only")
	}
	b.breaks(Find, Fault{Skip: 1, Status: http.StatusForbidden})
	keys, err := b.tryFind()
	b.wantKind(err, provider.Forbidden)
	if len(keys) == 0 {
		b.Error("got no keys of the first page")
	}
}

func findRepeated(b *bench) {
	b.mint("vault-test-one")
	for how, f := range lost() {
		f.Times = 2
		if !b.Break(Find, f) {
			continue
		}
		keys, err := b.tryFind()
		if err != nil || len(keys) != 1 {
			b.Errorf("%s: got %d keys, error %v, want 1", how, len(keys), err)
		}
	}
}

func findSpoiled(b *bench) {
	b.mint("vault-test-one")
	for _, how := range b.Spoils() {
		b.Mend()
		if !b.Break(Find, Fault{Spoil: how}) {
			continue
		}
		keys, err := b.tryFind()
		if err != nil {
			b.wantKind(err, provider.Unavailable)
		} else if len(keys) != 1 {
			b.Errorf("%s: got %d keys and no error, want 1", how, len(keys))
		}
	}
}

func findCanceled(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for i := range 250 {
		b.Plant(fmt.Sprintf("%s-%d", foreign, i))
	}
	var last error
	n := 0
	for _, err := range b.client.Find(ctx, b.scope()) {
		cancel()
		last = b.note(err)
		n++
	}
	if n < 250 {
		b.wantKind(last, provider.Unavailable)
	}
	b.wantCount(Find, 1)
}

func findNowhere(b *bench) {
	for _, scope := range []string{"never-made", "../x?y=z#%2e"} {
		var last error
		for _, err := range b.client.Find(b.Context(), scope) {
			last = b.note(err)
		}
		b.wantKind(last, provider.NotFound, provider.Invalid)
	}
}
