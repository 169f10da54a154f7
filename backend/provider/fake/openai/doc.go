// Package fakeopenai simulates what the engine uses of OpenAI: the admin API for
// projects, service accounts, project keys and admin keys, and a data plane that
// takes the keys and meters their use.
//
// A [Server] is one organization and an [http.Handler]. Its paths are below /v1:
//
//	s := fakeopenai.New()
//	srv := httptest.NewServer(s)          // base URL: srv.URL + "/v1"
//
// Without sockets, and inside a synctest bubble:
//
//	client := &http.Client{Transport: s.RoundTripper()}
//
// It is strict. Methods and paths are exact; bodies are JSON and say so; unknown
// fields, wrong types and null are 400; admin paths take admin keys only, the data
// plane takes project keys only. Its answers are not: they hold members and
// headers that nobody documented, in an order that changes with each request.
//
// # The world
//
// Tests ask what is so, not what was called:
//
//	s.Alive(secret)    // would the data plane accept this key now?
//	s.LiveKeys()       // the project keys that exist and are not expired
//	s.Secrets()        // all secrets ever, to look for in logs
//	s.Requests()       // and, where the promise is about calls, the calls
//
// and change it as people would, in OpenAI's console:
//
//	s.DeleteKey(id)
//	s.PlantKey("proj_demo", "ada's laptop")
//	s.RevokeAdminKey(s.AdminKeys()[0].ID)
//	s.PlantAdminKey("ada's script", "sk-admin-…xyz")
//
// What was planted is new, and was never used, until [Server.Age] gives it a past.
// That works for whatever has an id: keys of people and of service accounts, admin
// keys, and the accounts themselves.
//
//	key := s.PlantKey("proj_demo", "forgotten")
//	s.Age(key.ID, time.Now().AddDate(-1, 0, 0), time.Time{})
//
// # Faults
//
// A [Fault] spoils some requests:
//
//	s.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 1))          // lost, but created
//	s.Inject(fakeopenai.Limited(fakeopenai.OpAny, 40*time.Second, 3))  // 429, Retry-After: 40
//	s.Inject(fakeopenai.Spoiled(fakeopenai.OpCreateKey, fakeopenai.NoSecret, 1))
//	s.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Skip: 2, Status: 500, AfterEffect: true})
//	s.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Hang: fakeopenai.HangAfter})
//	s.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, After: cancel})
//
// [Ops] and [Corruptions] list what there is, for tests that go through it all.
//
// # Knobs
//
// [Knobs] choose what OpenAI does not document, and how slowly news spread:
//
//	s.SetKnobs(fakeopenai.Knobs{HideFor: 2 * time.Minute, YoungNotFoundFor: 10 * time.Second})
//	s.SetRate(20, 5) // all admin calls together: 20 a second, 5 at once
//
// Of two behaviours that are both possible, the default is the one that hurts.
package fakeopenai
