// Package providertest holds what every provider must do, as a suite that runs
// against the provider's simulator. Run it from the provider package's own test:
//
//	func TestProvider(t *testing.T) {
//		providertest.Run(t, providertest.Harness{
//			Provider: openai.New(),
//			New:      func(t *testing.T) providertest.World { return newWorld() },
//		})
//	}
//
// The suite knows no wire format. It acts through [provider.Client], breaks
// requests by the [Move] they belong to, and asks the [World] what came of it:
// which keys live, and whether the data plane takes a secret. What a client
// cannot do, because it does not implement the optional interface, is not tested.
//
// Every test runs in a synctest bubble of its own: a World must not use sockets,
// and its waits must end with the request's context.
package providertest

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// A Harness is a provider and a way to simulate accounts at it.
type Harness struct {
	Provider provider.Provider
	// New makes an account in which there are no keys. It is called once for
	// every test, in the test's bubble.
	New func(t *testing.T) World

	// UnscopedKeys says that every key may make the call of VerifyKey: a provider
	// that refuses it as Forbidden does not say that the key works.
	UnscopedKeys bool
	// KeptSecrets says that the secret of a key whose creation had no answer is not
	// lost: Mint itself may find out that the key exists, and return it.
	KeptSecrets bool
	// AdminsAreKeys says that admin keys are keys like any other, each shown as itself
	// and deleted by the same request: there are no twins, one that is listed is
	// certain, and no deletion of admin keys alone could be down.
	AdminsAreKeys bool
	// EveryAccount says that the role's scope exists in every account: nothing tells
	// one that does not know a key from the one that it was deleted from.
	EveryAccount bool
	// ScopesVanish says that nothing tells a scope that was closed from one that
	// never was.
	ScopesVanish bool
	// SigningKeys says that an admin key is one that signs, of which the provider
	// knows the public half alone: it does not expire, has no rights of its own, works
	// at once, and is an entry of one object that is read and written as a whole.
	SigningKeys bool
}

// Holder is for whom all keys are minted here.
func Holder() provider.Holder {
	return provider.Holder{
		Mount: "m7k2", Role: "team-a/bot", EntityID: "7d2e3179-f69b-450c-7179-ac8ee8bd8ca9", EntityName: "ada",
	}
}

// A World is one simulated account. It is safe for concurrent use.
type World interface {
	// Settings and Role are valid and work.
	Settings() provider.Settings
	Role() provider.Values
	// RoundTripper reaches the simulator in memory, and calls GotConn of the
	// request's httptrace when a request has a connection.
	RoundTripper() http.RoundTripper

	// Alive reports whether the data plane takes a secret now.
	Alive(secret string) bool
	// Keys are the keys that exist in the role's scope and are not expired, with
	// all that a list says of them.
	Keys() []provider.Found
	// Secrets are all secrets that ever were, the admin key included.
	Secrets() []string
	// URLs are path and query of every request that arrived.
	URLs() []string
	// Count is how many requests of a move arrived.
	Count(Move) int

	// Plant makes a key in the role's scope that somebody else owns. It may do all.
	Plant(name string) provider.Key
	// Age gives a key, an admin key or a principal another past: when it was made,
	// and when it was last used, zero for never. It reports false if there is none
	// of that id, or lists do not say such things.
	Age(id string, created, lastUsed time.Time) bool
	// Break makes requests of a move meet a fault. It reports false if the
	// provider has no such request, or the simulator no such fault.
	Break(Move, Fault) bool
	// Mend takes all faults away.
	Mend()
	// Spoils names the ways in which the simulator can spoil a successful answer.
	Spoils() []string
}

// A KeyWorld is what a World must be as well if the provider's clients are
// provider.KeyVerifiers.
type KeyWorld interface {
	// DelayKeys makes the data plane refuse keys that are younger than that.
	DelayKeys(time.Duration)
}

// A PoolWorld is what a World must be as well if the provider's clients are
// provider.PoolKeepers. Their keys expire when the provider says so, whatever is
// asked; those that are planted can be taken in.
type PoolWorld interface {
	// Pool returns a key of the role's scope that nobody can use until it is minted,
	// another one each time.
	Pool() provider.PooledKey
}

// An AdminWorld is what a World must be as well if the provider's clients are
// provider.AdminRotators. There is one admin key at first, that of the Settings.
type AdminWorld interface {
	// AdminKeys are the admin keys that exist and are not expired.
	AdminKeys() []provider.Found
	// AdminAlive reports whether the provider takes an admin key now.
	AdminAlive(secret string) bool
	// Principals is how many principals exist in the role's scope.
	Principals() int
	// PlantAdmin makes an admin key that somebody else uses. What the provider
	// shows of a twin is what it shows of the admin key in the Settings.
	PlantAdmin(name string, twin bool)
	// TreatAdmins says how admin keys are treated that are minted from now on.
	TreatAdmins(Treatment)
	// Stranger reaches another account, which knows nothing of this one.
	Stranger() (provider.Settings, http.RoundTripper)
}

// A ScopeWorld is what a World must be as well if the provider's clients are
// provider.ScopeListers. The role's scope is the only one at first.
type ScopeWorld interface {
	// AddScope makes another scope.
	AddScope() (id string)
	// CloseScope makes an end to a scope: no key works there any more.
	CloseScope(id string)
}

// A Treatment is what may happen to new admin keys.
type Treatment struct {
	Weaker   bool          // they may only read
	Delay    time.Duration // they are refused for so long
	HideFor  time.Duration // they are not listed for so long
	Lifetime time.Duration // they live no longer, whatever was asked; 0 for as asked
}

// A Move is a kind of request that a provider makes.
type Move string

// The moves. A provider that needs several requests for one counts them all.
const (
	Mint            Move = "mint"
	Delete          Move = "delete"
	Find            Move = "find"
	Extend          Move = "extend"
	VerifyKey       Move = "verify key"
	ReadKey         Move = "read key"       // to prove that one is gone, too
	FindPrincipal   Move = "find principal" // by its name, or all of them
	CreatePrincipal Move = "create principal"
	EnablePrincipal Move = "enable principal" // gives it what it needs to own keys
	DeletePrincipal Move = "delete principal"
	VerifyAdmin     Move = "verify admin"
	CheckRole       Move = "check role"
	MintAdmin       Move = "mint admin"
	FindAdmins      Move = "find admins" // to identify one, too
	ReadAdmin       Move = "read admin"
	DeleteAdmin     Move = "delete admin"
	FindScopes      Move = "find scopes"
	TakeIn          Move = "take in"
	CloseRole       Move = "close role"
)

// A Fault is what requests of a move meet.
type Fault struct {
	// Skip lets so many requests pass first; Times is how many are hit, 0 all.
	Skip, Times int
	// Latency passes before the effect.
	Latency time.Duration
	// AfterEffect says that what follows happens after the effect, not instead.
	AfterEffect bool

	Refuse     bool          // there is no connection
	Drop       bool          // the connection breaks
	Hang       bool          // nothing is answered until the client goes
	Redirect   bool          // 307 to where the same request works
	Status     int           // is answered
	RetryAfter time.Duration // with Status
	Body       string        // with Status; the simulator's own if empty
	HTML       bool          // Body is not JSON
	Spoil      string        // one of Spoils: a success that makes no sense
	// Then is called before the effect, or after it, and before all of these.
	Then func()
}

// A check is one promise.
type check struct {
	name string
	run  func(*bench)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	deleteChecks, findChecks := deleteChecks, findChecks
	if h.Provider.Limits().Irrevocable {
		deleteChecks, findChecks = tokenDeleteChecks, tokenFindChecks
	}
	groups := []struct {
		name   string
		checks []check
	}{
		{"describe", describeChecks},
		{"mint", mintChecks},
		{"delete", deleteChecks},
		{"find", findChecks},
		{"extend", extendChecks},
		{"verify key", verifyKeyChecks},
		{"read key", readKeyChecks},
		{"principal", principalChecks},
		{"principal find", principalFindChecks},
		{"scopes", scopeChecks},
		{"pool", poolChecks},
		{"close role", closeChecks},
		{"account", accountChecks},
		{"admin", adminChecks},
		{"admin find", adminFindChecks},
		{"admin try", adminTryChecks},
		{"every", everyChecks},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t, h)
						c.run(b)
						b.wantNoLeak()
					})
				})
			}
		})
	}
}
