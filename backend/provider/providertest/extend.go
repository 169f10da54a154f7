package providertest

import (
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var extendChecks = []check{
	{"moves the expiry, and says where to", extends(extendMoves)},
	{"is sent again after a failure", extends(extendRepeated)},
	{"says that there is no such key", extends(extendNothing)},
	{"leaves an expired key dead", extends(extendExpired)},
	{"trusts no answer without an expiry", extends(extendSpoiled)},
}

// An extender is a bench whose client can extend.
type extender struct {
	*bench
	provider.Extender
}

func extends(run func(extender)) func(*bench) {
	return func(b *bench) {
		e, ok := b.client.(provider.Extender)
		if !ok {
			b.Skip("no provider.Extender")
		}
		run(extender{b, e})
	}
}

func (e extender) try(key provider.Key, until time.Time) (time.Time, error) {
	got, err := e.Extend(e.Context(), e.ref(key), until)
	return got, e.note(err)
}

// expiry is what the provider has.
func (e extender) expiry(id string) time.Time {
	for _, key := range e.Keys() {
		if key.ID == id {
			return key.ExpiresAt
		}
	}
	e.Errorf("the provider has no key %s", id)
	return time.Time{}
}

// wantExpiry checks an answer against what was asked and what the provider has.
func (e extender) wantExpiry(key provider.Key, got, asked time.Time) {
	e.Helper()
	if late := got.Sub(asked); late < 0 || late > time.Minute {
		e.Errorf("got expiry %s, want %s", got, asked)
	}
	if have := e.expiry(key.ID); !have.Equal(got) {
		e.Errorf("got expiry %s, the provider has %s", got, have)
	}
}

func extendMoves(e extender) {
	key := e.mint("vault-test-one")
	for _, d := range []time.Duration{90 * time.Minute, 24 * time.Hour, 30 * time.Minute, 2500 * time.Millisecond} {
		asked := time.Now().Add(d)
		got, err := e.try(key, asked)
		if err != nil {
			e.Fatal(err)
		}
		e.wantExpiry(key, got, asked)
		if got.Sub(asked) > 2*time.Second {
			e.Errorf("got expiry %s, want %s", got, asked)
		}
		time.Sleep(1300 * time.Millisecond)
	}
	e.wantCount(Extend, 4)
}

func extendRepeated(e extender) {
	key := e.mint("vault-test-one")
	for how, f := range lost() {
		for _, f.AfterEffect = range []bool{false, true} {
			f.Times = 2
			if !e.Break(Extend, f) {
				continue
			}
			asked := time.Now().Add(2 * time.Hour)
			got, err := e.try(key, asked)
			if err != nil {
				e.Errorf("%s: %v", how, err)
				continue
			}
			// Each attempt may move it further, by as long as it takes.
			if late := got.Sub(asked); late < 0 || late > 3*timeout {
				e.Errorf("%s: got expiry %s, want %s", how, got, asked)
			}
		}
	}
}

func extendNothing(e extender) {
	_, err := e.try(provider.Key{ID: "never-made"}, time.Now().Add(time.Hour))
	e.wantKind(err, provider.NotFound)
}

func extendExpired(e extender) {
	key := e.mint("vault-test-one")
	time.Sleep(2 * time.Hour)
	if _, err := e.try(key, time.Now().Add(time.Hour)); err == nil {
		e.Error("got no error")
	}
	if e.Alive(key.Secret.Reveal()) {
		e.Error("the key lives again")
	}
}

func extendSpoiled(e extender) {
	key := e.mint("vault-test-one")
	for _, how := range e.Spoils() {
		e.Mend()
		if !e.Break(Extend, Fault{Spoil: how}) {
			continue
		}
		asked := time.Now().Add(2 * time.Hour)
		got, err := e.try(key, asked)
		if err != nil {
			e.wantKind(err, provider.Unavailable)
		} else {
			e.wantExpiry(key, got, asked)
		}
	}
	e.Mend()
	for _, body := range []string{"{}", "null", `{"expires_at":null}`, "[]"} {
		if e.Break(Extend, Fault{Status: http.StatusOK, Body: body, Times: 1}) {
			_, err := e.try(key, time.Now().Add(time.Hour))
			e.wantKind(err, provider.Unavailable)
		}
	}
}
