// Package fakeopenrouter simulates what the engine uses of OpenRouter: the
// management API for keys, workspaces and guardrails, and a data plane that takes
// the keys and charges them.
//
// A [Server] is one account and an [http.Handler]. Its paths are below /api/v1:
//
//	s := fakeopenrouter.New()
//	srv := httptest.NewServer(s)          // base URL: srv.URL + "/api/v1"
//
// Without sockets, and inside a synctest bubble:
//
//	client := &http.Client{Transport: s.RoundTripper()}
//
// It is strict. Methods and paths are exact; bodies are JSON and say so; unknown
// fields and wrong types are 400; management paths take management keys only. Its
// answers hold members and headers that nobody documented.
//
// Tests ask what is so, not what was called:
//
//	s.Alive(secret)       // would the data plane accept this key now?
//	s.LiveKeys()          // the keys that exist and are not expired
//	s.Secrets()           // all secrets ever, to look for in logs
//	s.Complete(secret, m) // a completion by a model, charged
//
// A [fake.Fault] spoils some requests, [Knobs] choose what OpenRouter does not
// document. Of two behaviours that are both possible, the default is the one that
// hurts.
package fakeopenrouter
