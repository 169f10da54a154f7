package backend

import (
	"net/http"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
	"vault-plugin-secrets-llm/backend/provider/openai"
	"vault-plugin-secrets-llm/backend/provider/openrouter"
)

// A simulator is an account at a provider, as far as all are alike.
type simulator interface {
	RoundTripper() http.RoundTripper
	Inject(fake.Fault)
	ClearFaults()
	Alive(secret string) bool
	Secrets() []string
}

// A sim is a simulator, and what the tests ask of it.
type sim struct {
	simulator
	live     func() []simKey
	requests func() []simRequest
}

// A simKey is a key that lives at a provider. Its name is that which the engine gave
// it, or, for a token, the id of its record.
type simKey struct{ id, name string }

// A simRequest is a request that arrived at a provider.
type simRequest struct {
	op  fake.Op
	url string
}

// A shape is a provider in the ways in which it differs from others: what its keys
// are, and what can be done with them.
type shape struct {
	name  string // of the provider, its connection and its role
	host  string // where the engine finds it
	start func(clock func() time.Time) *sim
	// config and role are the fields of a connection and of a role.
	config func(s *sim) pairs
	role   pairs
	// ready does what is to be done at the provider, and in the mount, once connection
	// and role are written.
	ready func(m *testMount, s *sim)
	// secret is the field of an answer that holds the key.
	secret string
	// fixed says that an expiry cannot be moved: a renew is Vault's alone.
	fixed bool
	// tokens says that keys cannot be revoked.
	tokens bool
}

// pairs are names of fields, each followed by its value.
type pairs = []any

// silent reports whether a move makes no call of the provider.
func (sh shape) silent(move matrixMove) bool {
	return sh.fixed && move.name == "renew" || sh.tokens && move.name == "revoke"
}

var openAIShape = shape{
	name: "openai", host: "api.openai.com", secret: "api_key",
	start: func(clock func() time.Time) *sim {
		return openAISim(fakeopenai.New(fakeopenai.WithClock(clock)))
	},
	config: func(s *sim) pairs { return pairs{"admin_key", s.simulator.(*fakeopenai.Server).AdminKey()} },
	role:   pairs{"project_id", "proj_demo"},
}

// openRouterShape has keys whose expiry is set when they are made.
var openRouterShape = shape{
	name: "openrouter", host: "openrouter.ai", secret: "api_key", fixed: true,
	start: func(clock func() time.Time) *sim {
		s := fakeopenrouter.NewAt(clock, fakeopenrouter.DefaultWorkspace)
		return &sim{
			simulator: s,
			live: func() []simKey {
				return mapped(s.LiveKeys(), func(k fakeopenrouter.Key) simKey { return simKey{k.Hash, k.Name} })
			},
			requests: func() []simRequest {
				return mapped(s.Requests(), func(r fakeopenrouter.Request) simRequest { return simRequest{r.Op, r.Path + "?" + r.RawQuery} })
			},
		}
	},
	config: func(s *sim) pairs { return pairs{"admin_key", s.simulator.(*fakeopenrouter.Server).AdminKey()} },
	role: pairs{
		"workspace_id", fakeopenrouter.DefaultWorkspace, "models", []string{"openai/gpt-4.1-mini"}, "budget", 12.5, "budget_period", "day",
	},
}

// shapes are all providers.
var shapes = []shape{openAIShape, openRouterShape}

func testRegistry() (*provider.Registry, error) {
	return provider.NewRegistry(openai.New(), openrouter.New())
}

func openAISim(s *fakeopenai.Server) *sim {
	return &sim{
		simulator: s,
		live: func() []simKey {
			return mapped(s.LiveKeys(), func(k fakeopenai.Key) simKey { return simKey{k.ID, k.Name} })
		},
		requests: func() []simRequest {
			return mapped(s.Requests(), func(r fakeopenai.Request) simRequest { return simRequest{r.Op, r.Path + "?" + r.RawQuery} })
		},
	}
}

func mapped[From, To any](from []From, f func(From) To) []To {
	var to []To
	for _, x := range from {
		to = append(to, f(x))
	}
	return to
}

// sim returns the simulator of a shape, and starts it if need be.
func (m *testMount) sim(sh shape) *sim {
	if m.sims[sh.host] == nil {
		m.sims[sh.host] = sh.start(m.clock.now)
	}
	return m.sims[sh.host]
}

// transport reaches all simulators that were started. What has another address is
// OpenAI's.
func (m *testMount) transport() http.RoundTripper { return byHost{m} }

type byHost struct{ m *testMount }

func (b byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	if s := b.m.sims[req.URL.Hostname()]; s != nil {
		return s.RoundTripper().RoundTrip(req)
	}
	return b.m.fake.RoundTripper().RoundTrip(req)
}

// connect writes the connection of a shape, and a role of the same name.
func (m *testMount) connect(sh shape, role ...any) *sim {
	m.t.Helper()
	s := m.sim(sh)
	m.do("create", "config/"+sh.name, append(pairs{"provider", sh.name}, sh.config(s)...)...)
	m.do("create", "roles/"+sh.name, append(append(pairs{"config_name", sh.name}, sh.role...), role...)...)
	if sh.ready != nil {
		sh.ready(m, s)
	}
	return s
}

// eachShape runs a test for every provider, in process and through gRPC.
func eachShape(t *testing.T, test func(m *testMount, sh shape)) {
	for _, sh := range shapes {
		t.Run(sh.name, func(t *testing.T) {
			both(t, func(m *testMount) { test(m, sh) })
		})
	}
}
