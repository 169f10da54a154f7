package providertest

import (
	"context"
	"maps"
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var readKeyChecks = []check{
	{"says of a key what a list says", reads(readSays)},
	{"says that there is no such key", reads(readNothing)},
	{"refuses the secret of another key", reads(readAnother)},
	{"refuses an admin key, without a call", reads(readAdmin)},
	{"is sent again after a failure", reads(readRepeated)},
	{"is not sent for a caller who has gone", reads(readCanceled)},
	{"trusts no answer that makes no sense", reads(readSpoiled)},
	{"key is not gone because a gateway says so", reads(readBlip)},
	{"key is not gone because another account does not know it", reads(readStranger)},
	{"hides a key that the provider echoes", reads(readEchoed)},
}

func reads(run func(*bench)) func(*bench) {
	return func(b *bench) {
		if _, ok := b.client.(provider.KeyReader); !ok {
			b.Skip("no provider.KeyReader")
		}
		run(b)
	}
}

// readKey reads a key with a secret, its own or not. Only a provider.KeyReader can.
func (b *bench) readKey(key provider.Key, secret provider.Secret) (provider.Found, error) {
	got, err := b.client.(provider.KeyReader).ReadKey(b.Context(), b.ref(key), secret)
	if err != nil && got != (provider.Found{}) {
		b.Errorf("got key %+v beside an error", got)
	}
	return got, b.note(err)
}

// wantRead reads a key, and checks what is said of it against the world.
func (b *bench) wantRead(key provider.Key) provider.Found {
	b.Helper()
	got, err := b.readKey(key, key.Secret)
	if err != nil {
		b.Errorf("read %s: %v", key.ID, err)
		return got
	}
	for _, want := range b.Keys() {
		if want.ID == key.ID {
			b.wantFound(got, want)
		}
	}
	return got
}

func readSays(b *bench) {
	keys := []provider.Key{b.mint("vault-test-one"), b.Plant(foreign), b.Plant(foreign + "-old")}
	year := time.Now().AddDate(-1, 0, 0).Truncate(time.Second)
	b.Age(keys[2].ID, year, year.AddDate(0, 1, 0))
	listed := map[string]provider.Found{}
	for _, found := range b.find() {
		listed[found.ID] = found
	}
	for _, key := range keys {
		if got := b.wantRead(key); got.ID != key.ID || got != listed[key.ID] {
			b.Errorf("got key %+v, the list says %+v", got, listed[key.ID])
		}
	}
	b.wantCount(ReadKey, len(keys))
	if data := b.client.(provider.KeyReader).KeyData(b.ref(keys[0]).Scope); !maps.Equal(data, keys[0].Data) {
		b.Errorf("the holder of a key is told %v, and of one that is read %v", keys[0].Data, data)
	}
}

func readNothing(b *bench) {
	key := b.mint("vault-test-one")
	for _, id := range []string{"never-made", "../x?y=z#%2e"} {
		_, err := b.readKey(provider.Key{ID: id}, key.Secret)
		b.wantKind(err, provider.NotFound)
	}
	if err := b.delete(key); err != nil {
		b.Fatal(err)
	}
	_, err := b.readKey(key, key.Secret)
	b.wantKind(err, provider.NotFound)

	if w, ok := b.World.(ScopeWorld); ok {
		key := b.mint("vault-test-two")
		w.CloseScope(b.scope())
		_, err := b.readKey(key, key.Secret)
		b.wantKind(err, provider.NotFound)
	}
}

func readAnother(b *bench) {
	key, other := b.mint("vault-test-one"), b.Plant(foreign)
	for _, wrong := range []provider.Secret{other.Secret, key.Secret + "-not", "not-" + key.Secret, ""} {
		_, err := b.readKey(key, wrong)
		b.wantField(err, "key_id")
	}
	b.wantRead(key)
	b.wantRead(other)
}

func readAdmin(b *bench) {
	key := b.mint("vault-test-one")
	_, err := b.readKey(key, b.Settings().AdminKey)
	b.wantField(err, "api_key")
	b.wantCount(ReadKey, 0)
}

func readRepeated(b *bench) {
	key := b.mint("vault-test-one")
	b.wantRepeated(ReadKey, func() error { _, err := b.readKey(key, key.Secret); return err })
}

func readCanceled(b *bench) {
	key := b.mint("vault-test-one")
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_, err := b.client.(provider.KeyReader).ReadKey(ctx, b.ref(key), key.Secret)
	b.wantKind(b.note(err), provider.Unavailable)
	b.wantCount(ReadKey, 0)
}

func readSpoiled(b *bench) {
	key := b.mint("vault-test-one")
	for _, how := range b.Spoils() {
		b.Mend()
		if !b.Break(ReadKey, Fault{Spoil: how}) {
			continue
		}
		if _, err := b.readKey(key, key.Secret); err != nil {
			b.wantKind(err, provider.Unavailable)
		} else {
			b.wantRead(key)
		}
	}
	for _, body := range []string{"{}", "null", "[]", `"ok"`, `{"id":null}`, `{"id":"another"}`, `{"error":null}`, "<html>sign in</html>"} {
		for _, html := range []bool{false, true} {
			b.Mend()
			if b.Break(ReadKey, Fault{Status: http.StatusOK, Body: body, HTML: html}) {
				_, err := b.readKey(key, key.Secret)
				b.wantKind(err, provider.Unavailable)
			}
		}
	}
}

// What proves that a key is gone is taken away, in part or as a whole.
func readBlip(b *bench) {
	key := b.mint("vault-test-one")
	blips := []Fault{
		{Status: http.StatusNotFound, Body: "<html>no route</html>", HTML: true},
		{Status: http.StatusGone},
	}
	for _, blip := range blips {
		once := blip
		once.Times = 1
		for _, faults := range []map[Move]Fault{{ReadKey: once}, {ReadKey: once, CheckRole: blip}, {ReadKey: blip, CheckRole: blip}} {
			b.Mend()
			for move, f := range faults {
				b.breaks(move, f)
			}
			_, err := b.readKey(key, key.Secret)
			b.wantKind(err, provider.Unproven, provider.Unavailable)
		}
	}
	for status, kind := range map[int]provider.Kind{
		http.StatusForbidden: provider.Forbidden, http.StatusInternalServerError: provider.Unavailable,
	} {
		b.Mend()
		b.breaks(CheckRole, Fault{Status: status})
		_, err := b.readKey(provider.Key{ID: "never-made"}, key.Secret)
		b.wantKind(err, kind)
	}
	b.Mend()
	b.wantRead(key)
}

func readStranger(b *bench) {
	world, ok := b.World.(AdminWorld)
	if !ok {
		b.Skip("no AdminWorld, which knows another account")
	}
	if b.harness.EveryAccount {
		b.Skip("another account has the scope, too")
	}
	key := b.mint("vault-test-one")
	settings, base := world.Stranger()
	stranger, err := b.provider.Connect(settings, b.newTransport(base))
	if err != nil {
		b.Fatal(err)
	}
	_, err = stranger.(provider.KeyReader).ReadKey(b.Context(), b.ref(key), key.Secret)
	b.wantKind(b.note(err), provider.Unproven, provider.Unavailable)
}

func readEchoed(b *bench) {
	key := b.mint("vault-test-one")
	for _, m := range []Move{ReadKey, CheckRole} {
		b.wantUnechoed(m, key.Secret, func() error {
			_, err := b.readKey(provider.Key{ID: "never-made"}, key.Secret)
			return err
		})
	}
}
