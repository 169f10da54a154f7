package providertest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var scopeChecks = append(listChecks(scopeListing),
	check{"leave out what is closed", scopesClosed},
	check{"are where keys are found", scopesHoldKeys})

func (b *bench) scopes() provider.ScopeLister {
	b.Helper()
	s, ok := b.client.(provider.ScopeLister)
	if !ok {
		b.Skip("no provider.ScopeLister")
	}
	return s
}

func (b *bench) scopeWorld() ScopeWorld {
	b.Helper()
	w, ok := b.World.(ScopeWorld)
	if !ok {
		b.Fatalf("%T is no ScopeWorld, which a provider.ScopeLister needs", b.World)
	}
	return w
}

func scopeListing(b *bench) listing {
	s, w := b.scopes(), b.scopeWorld()
	return listing{
		bench: b, move: FindScopes, items: s.Scopes, first: b.scope(),
		add: func(int) string { return w.AddScope() },
	}
}

func scopesClosed(b *bench) {
	l, w := scopeListing(b), b.scopeWorld()
	one, two := w.AddScope(), w.AddScope()
	w.CloseScope(one)
	l.wantIDs("one is closed", b.scope(), two)

	b.mint("vault-test-one")
	w.CloseScope(b.scope())
	l.wantIDs("two are closed", two)
	keys, err := b.tryFind()
	if b.harness.ScopesVanish {
		b.wantKind(err, provider.NotFound, provider.Invalid)
	} else if err != nil {
		b.Fatalf("find: %v", err)
	}
	if len(keys) != 0 {
		b.Errorf("got keys %v of a closed scope, want none", keys)
	}
	if k, ok := b.client.(provider.PrincipalKeeper); ok {
		if ids, err := principalListing(keeper{b, k}, b.scope()).try(b.Context()); err != nil || len(ids) != 0 {
			b.Errorf("got principals %v of a closed scope, error %v, want neither", ids, err)
		}
	}
	w.CloseScope(two)
	l.wantIDs("all are closed")
}

// Keys of another scope are found there, and only there.
func scopesHoldKeys(b *bench) {
	b.scopes()
	b.mint("vault-test-one")
	other := b.scopeWorld().AddScope()
	for key, err := range b.client.Find(b.Context(), other) {
		b.Errorf("got key %+v of an empty scope, error %v", key, err)
	}
	if got := len(b.find()); got != 1 {
		b.Errorf("got %d keys, want 1", got)
	}
}

var principalFindChecks = append(listChecks(principalsOf),
	check{"says of each what is so", keeps(principalAttributes)},
	check{"says that there is no such scope", keeps(principalsNowhere)},
	check{"yields none that is deleted", keeps(principalsDeleted)})

func principalsOf(b *bench) (l listing) {
	keeps(func(k keeper) { l = principalListing(k, b.scope()) })(b)
	return l
}

func principalListing(k keeper, scope string) listing {
	return listing{
		bench: k.bench, move: FindPrincipal, first: k.principal.ID,
		items: func(ctx context.Context) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for p, err := range k.FindPrincipals(ctx, scope) {
					if !yield(p.ID, err) {
						return
					}
				}
			}
		},
		add: func(i int) string { return k.ensure(fmt.Sprintf("vault-test-%03d", i)).ID },
	}
}

func principalAttributes(k keeper) {
	want := map[provider.Principal]time.Time{k.principal: time.Now()}
	for _, name := range []string{"vault-test-one", "vault-test-two"} {
		time.Sleep(24 * time.Hour)
		want[k.ensure(name)] = time.Now()
	}
	old := k.ensure("vault-test-old")
	want[old] = time.Now().AddDate(-1, 0, 0)
	k.wantAged(old.ID, want[old], time.Time{})

	n := 0
	for got, err := range k.FindPrincipals(k.Context(), k.scope()) {
		if k.note(err) != nil {
			k.Fatal(err)
		}
		n++
		made, known := want[got.Principal]
		if !known || got.CreatedAt.Sub(made).Abs() > time.Second {
			k.Errorf("got principal %+v, want one of %v", got, want)
		}
	}
	if n != len(want) {
		k.Errorf("got %d principals, want %d", n, len(want))
	}
}

func principalsNowhere(k keeper) {
	for _, scope := range []string{"never-made", "../x?y=z#%2e"} {
		_, err := principalListing(k, scope).try(k.Context())
		k.wantKind(err, provider.NotFound, provider.Invalid)
	}
}

func principalsDeleted(k keeper) {
	other := k.ensure("vault-test-other")
	if err := k.remove(k.principal); err != nil {
		k.Fatal(err)
	}
	principalListing(k, k.scope()).wantIDs("one is deleted", other.ID)
}
