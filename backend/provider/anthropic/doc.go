// Package anthropic keeps credentials of Anthropic, by its Admin API
// (https://platform.claude.com/docs). That API creates no API keys, so there are two
// providers, each with what Anthropic does offer.
//
// "anthropic", see [New], exchanges assertions that the engine signs itself for
// short-lived tokens. A token leaves no object behind: it cannot be revoked, listed
// or found, and ends at its expiry. The admin key is a [keyring], which the engine
// makes; an operator registers its public half. What may be minted is a federation
// rule that an operator makes for each role.
//
// "anthropic-pool", see [NewPool], switches keys on and off that a person has made
// in the Console. One holder has a key at a time.
//
// What is said here of Anthropic's behaviour is what anthropic-sdk-go v1.84.0 and
// the documentation of autumn 2026 state, unless a comment says otherwise.
package anthropic
