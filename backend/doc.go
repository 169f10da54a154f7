// Package backend is the secrets engine as Vault sees it: paths, leases, the
// ledger and the sweep.
//
// A key that exists at a provider is money that anyone can spend, so the engine
// turns on one rule: every key that may exist at a provider because of this
// mount has a ledger record, which is written before the call that creates the
// key and removed only after the provider has confirmed that the key is gone.
//
// A record is pending (the create is under way, or its outcome is unknown), then
// active (a lease holds the key), then revoking (to be deleted), then gone. A
// lease only points to its record. Issue, renew, revoke and the sweep are moves
// on the ledger; no other code creates or deletes a key at a provider.
//
//   - A pending record that is older than the longest create is looked up at the
//     provider by the name that the engine chose; what is found is deleted.
//   - An active record whose key's own expiry has passed has lost its holder and
//     becomes revoking.
//   - A revoking record is retried until the provider says that the key is gone.
//
// What holds whatever crashes in between: every live key is reachable from the
// ledger; no key lives past its lease's end plus the connection's expiry_grace
// plus one sweep, once the provider answers; a lease that Vault holds works
// until its end; no secret is logged or appears in an error.
//
// Where to look: ledger.go stores records and index.go finds them; issue.go,
// renew.go and revoke.go are the moves of a lease, kill.go ends keys on command,
// suspend.go stops roles; sweep.go finishes what was left; survey.go compares a
// provider with the ledger, for audit.go and tidy.go; metrics.go and events.go tell
// what has happened, census.go counts the ledger for them; path_*.go are the paths,
// names.go names everything that is stored or sent.
package backend

// docs/reference.md and docs/openapi.json are what this package says of its paths, with
// examples that a test records. Tests fail when they are stale.
//
//go:generate go test -count=1 -run=^TestReference$ . -update
