// Package fakeanthropic simulates what the engine uses of Anthropic: the Admin API
// for keys, workspaces, service accounts, issuers and rules, the exchange of signed
// assertions for tokens, and a data plane that takes keys and tokens.
//
// A [Server] is one organization and an [http.Handler]. Its paths are below /v1:
//
//	s := fakeanthropic.New()
//	srv := httptest.NewServer(s)          // base URL: srv.URL
//
// Without sockets, and inside a synctest bubble:
//
//	client := &http.Client{Transport: s.RoundTripper()}
//
// It is strict. Methods and paths are exact; bodies are JSON and say so; unknown
// fields and wrong types are 400, except at the exchange, which drops what it does
// not know; the Admin API key is refused where Anthropic wants an OAuth token of
// the scope org:admin. Assertions are verified as Anthropic documents it, and every
// denial is the same 401: [Request.Denied] says why.
//
// What a person does in the Console is a method, not a request:
//
//	account := s.CreateServiceAccount("vault-bot")
//	s.AddMember(s.Workspace(), account)
//	issuer, err := s.CreateIssuer(body)   // the body that the API would take
//	rule, err := s.CreateRule(body)
//	key := s.PlantPoolKey("pool-1")       // inactive, with its secret
//
// Tests ask what is so, not what was called:
//
//	s.Alive(secret)       // would the data plane accept this key or token now?
//	s.LiveKeys()          // the keys that are active
//	s.LiveTokens()        // the tokens that have not expired
//	s.Secrets()           // all secrets ever, to look for in logs
//
// A [fake.Fault] spoils some requests, [Knobs] choose what Anthropic does not
// document. Of two behaviours that are both possible, the default is the one that
// hurts.
package fakeanthropic
