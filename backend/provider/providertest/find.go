package providertest

import (
	"context"
	"fmt"
	"net/http"
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
		want := world[got.ID]
		if got.PrincipalID != want.PrincipalID || !got.ExpiresAt.Equal(want.ExpiresAt) ||
			got.CreatedAt.Sub(want.CreatedAt).Abs() > time.Second || !got.LastUsedAt.Equal(want.LastUsedAt) {
			b.Errorf("got key %+v, want %+v", got, want)
		}
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
