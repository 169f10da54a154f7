// Package fakelitellm simulates what the engine uses of a LiteLLM proxy: the
// management of virtual keys, what tells teams and users, and a data plane that
// takes the keys, bounds and charges them.
//
// A [Server] is one deployment with its database, and an [http.Handler]:
//
//	s := fakelitellm.New()
//	srv := httptest.NewServer(s)          // base URL: srv.URL
//
// Without sockets, and inside a synctest bubble:
//
//	client := &http.Client{Transport: s.RoundTripper()}
//
// It is stricter than the proxy. Methods and paths are exact; bodies are JSON and
// say so; unknown fields, parameters and wrong types are 400, where the proxy takes
// some of them without a word. Management takes the master key and the keys of
// users who are proxy_admin. Its answers hold members and headers that nobody
// documented.
//
// Tests ask what is so, not what was called:
//
//	s.Alive(secret)       // would the data plane accept this key now?
//	s.LiveKeys()          // the keys that exist and are not expired
//	s.Secrets()           // all secrets ever, to look for in logs
//	s.Complete(secret, m) // a completion by a model, bounded and charged
//
// A [fake.Fault] spoils some requests, [Knobs] choose what differs between versions
// and deployments, or is not known. Of two behaviours that are both possible, the
// default is the one that hurts.
package fakelitellm
