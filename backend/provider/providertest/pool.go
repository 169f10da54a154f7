package providertest

import (
	"errors"
	"net/http"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what holds for keys of a pool: see provider.PoolKeeper.

var poolChecks = []check{
	{"takes in a key, which nobody can use then", keepsPool(poolTakesIn)},
	{"takes in no other key than the one given", keepsPool(poolTakesNoOther)},
	{"has taken in only what the answer says", keepsPool(poolBroken)},
	{"mints no key that it was not given", keepsPool(poolMintsNoOther)},
	{"mints a key again that was deleted", keepsPool(poolAgain)},
}

// A pooler is a bench whose client keeps a pool.
type pooler struct {
	*bench
	PoolWorld
	provider.PoolKeeper
}

func keepsPool(run func(pooler)) func(*bench) {
	return func(b *bench) {
		w, ok := b.pool()
		if !ok {
			b.Skip("no provider.PoolKeeper")
		}
		run(pooler{b, w, b.client.(provider.PoolKeeper)})
	}
}

func (p pooler) takeIn(ref provider.Ref, key provider.Secret) (provider.Found, error) {
	found, err := p.TakeIn(p.Context(), ref, key)
	return found, p.note(err)
}

func poolTakesIn(p pooler) {
	if p.Rest() < 0 {
		p.Errorf("got a rest of %s", p.Rest())
	}
	key := p.Plant(foreign)
	for range 2 { // the second time it is there already
		found, err := p.takeIn(p.ref(key), key.Secret)
		if err != nil || found.ID != key.ID || found.Name != foreign {
			p.Fatalf("got %+v, error %v, want the key", found, err)
		}
		if p.Alive(key.Secret.Reveal()) {
			p.Error("the key can still be used")
		}
	}
	anywhere := p.Plant(foreign)
	if _, err := p.takeIn(provider.Ref{ID: anywhere.ID}, anywhere.Secret); err != nil {
		p.Error(err)
	}
}

func poolTakesNoOther(p pooler) {
	key, other := p.Plant(foreign), p.Plant(foreign)
	for _, c := range []struct {
		ref provider.Ref
		key provider.Secret
	}{
		{provider.Ref{ID: key.ID, Scope: p.scope()}, other.Secret},
		{provider.Ref{ID: key.ID, Scope: p.scope()}, key.Secret[:len(key.Secret)-1]},
		{provider.Ref{ID: key.ID, Scope: p.scope()}, ""},
		{provider.Ref{ID: key.ID, Scope: "elsewhere"}, key.Secret},
		{provider.Ref{ID: "never-made", Scope: p.scope()}, key.Secret},
		{provider.Ref{ID: "../x?y=z#%2e", Scope: p.scope()}, key.Secret},
	} {
		if _, err := p.takeIn(c.ref, c.key); err == nil {
			p.Errorf("%+v: got no error", c.ref)
		} else if _, ok := errors.AsType[*provider.FieldError](err); !ok {
			p.Errorf("%+v: got %v, want a FieldError", c.ref, err)
		}
	}
	if !p.Alive(key.Secret.Reveal()) || !p.Alive(other.Secret.Reveal()) {
		p.Error("a key that was not taken in cannot be used")
	}
}

func poolBroken(p pooler) {
	key := p.Plant(foreign)
	for status, kind := range kinds() {
		if p.Break(TakeIn, Fault{Status: status, Times: 1}) {
			_, err := p.takeIn(p.ref(key), key.Secret)
			p.wantKind(err, kind)
		}
	}
	for _, body := range []string{"{}", "null", "[]", `"ok"`, "<html>sign in</html>"} {
		if p.Break(TakeIn, Fault{Status: http.StatusOK, Body: body, Times: 1}) {
			_, err := p.takeIn(p.ref(key), key.Secret)
			p.wantKind(err, provider.Unavailable)
		}
	}
	if !p.Alive(key.Secret.Reveal()) {
		p.Error("the key cannot be used")
	}
	for how, f := range lost() {
		again := p.Plant(foreign)
		f.Times, f.AfterEffect = 1, true
		if !p.Break(TakeIn, f) {
			continue
		}
		if _, err := p.takeIn(p.ref(again), again.Secret); err != nil || p.Alive(again.Secret.Reveal()) {
			p.Errorf("%s: got %v, and the key can be used: %t", how, err, p.Alive(again.Secret.Reveal()))
		}
	}
}

func poolMintsNoOther(p pooler) {
	spec := p.spec("vault-test-one")
	spec.Pooled = nil
	_, err := p.client.Mint(p.Context(), spec)
	p.wantKind(p.note(err), provider.Invalid)
	spec.Pooled = &provider.PooledKey{ID: "never-made", Secret: "nothing"}
	_, err = p.client.Mint(p.Context(), spec)
	p.wantKind(p.note(err), provider.NotFound, provider.Invalid)
	p.wantKeys(0)
}

func poolAgain(p pooler) {
	pooled := p.Pool()
	for _, name := range []string{"vault-test-one", "vault-test-two"} {
		spec := p.spec(name)
		spec.Pooled = &pooled
		key, err := p.client.Mint(p.Context(), spec)
		if p.note(err) != nil || key.ID != pooled.ID || key.Secret != pooled.Secret {
			p.Fatalf("got key %s, error %v, want %s", key.ID, err, pooled.ID)
		}
		if keys := p.find(); len(keys) != 1 || keys[0].Name != name {
			p.Errorf("got keys %v, want %s", keys, name)
		}
		if err := p.delete(key); err != nil {
			p.Error(err)
		}
		p.wantKeys(0)
	}
}
