package backend

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
	"vault-plugin-secrets-llm/backend/provider/litellm"
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
	issuer   string // at Anthropic, of the connection; empty until there is one
}

// A simKey is a key that lives at a provider. Its name is that which the engine gave
// it, or, for a token, the id of its record.
type simKey struct{ id, name, secret string }

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
	role   func(s *sim) pairs
	// ready does what is to be done at the provider, and in the mount, once connection
	// and role are written.
	ready func(m *testMount, s *sim, role string)
	// secret is the field of an answer that holds the key.
	secret string
	// fixed says that an expiry cannot be moved: a renew is Vault's alone.
	fixed bool
	// deletion is how many calls end a key; 0 for one.
	deletion int
	// tokens says that keys cannot be revoked.
	tokens bool
	// rotates is how admin keys are replaced; nil if that is done by hand.
	rotates *adminShape
	// static is what static roles need; nil if there are none.
	static *staticShape
}

// An adminShape is how a provider replaces admin keys.
type adminShape struct {
	// ready gives the connection what a rotation needs; nil for nothing.
	ready func(m *testMount)
	// creates is the call that makes an admin key.
	creates fake.Op
	// delay makes the next admin key work nowhere, for so long or until faults and
	// knobs are cleared.
	delay func(s *sim, d time.Duration)
	// ours are the admin keys that rotations made and that exist.
	ours func(s *sim) []simKey
	// alive reports whether an admin key works, given as it is stored.
	alive func(s *sim, stored string) bool
}

// A staticShape is what static roles need of a provider.
type staticShape struct {
	// ready does what is to be done before the role is written; nil for nothing.
	ready func(m *testMount, s *sim)
	// delay makes new keys work nowhere, until faults and knobs are cleared or 90 s are
	// over.
	delay func(s *sim)
	// plant makes a key that an operator can give to a role; nil if keys cannot be
	// imported.
	plant func(s *sim, name string) simKey
	// moved are the fields of a role that change its scope; nil for none.
	moved func(s *sim) pairs
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
	role:   func(*sim) pairs { return pairs{"project_id", "proj_demo"} },
	rotates: &adminShape{
		creates: fakeopenai.OpCreateAdminKey,
		delay: func(s *sim, d time.Duration) {
			s.simulator.(*fakeopenai.Server).SetKnobs(fakeopenai.Knobs{AdminKeyDelay: d})
		},
		ours: func(s *sim) []simKey {
			var ours []simKey
			for _, a := range s.simulator.(*fakeopenai.Server).AdminKeys() {
				if !a.Deleted && strings.HasPrefix(a.Name, namePrefix) {
					ours = append(ours, simKey{a.ID, a.Name, a.Secret})
				}
			}
			return ours
		},
		alive: func(s *sim, stored string) bool { return s.simulator.(*fakeopenai.Server).AdminAlive(stored) },
	},
	static: &staticShape{
		ready: func(_ *testMount, s *sim) { s.simulator.(*fakeopenai.Server).AddProject("proj_other") },
		delay: func(s *sim) {
			s.simulator.(*fakeopenai.Server).SetKnobs(fakeopenai.Knobs{DataPlaneDelay: 90 * time.Second})
		},
		plant: func(s *sim, name string) simKey {
			k := s.simulator.(*fakeopenai.Server).PlantKey("proj_demo", name)
			return simKey{k.ID, k.Name, k.Secret}
		},
		moved: func(*sim) pairs { return pairs{"project_id", "proj_other"} },
	},
}

// openRouterShape has keys whose expiry is set when they are made.
var openRouterShape = shape{
	name: "openrouter", host: "openrouter.ai", secret: "api_key", fixed: true,
	start: func(clock func() time.Time) *sim {
		s := fakeopenrouter.NewAt(clock, fakeopenrouter.DefaultWorkspace)
		return &sim{
			simulator: s,
			live: func() []simKey {
				return mapped(s.LiveKeys(), func(k fakeopenrouter.Key) simKey { return simKey{k.Hash, k.Name, k.Secret} })
			},
			requests: func() []simRequest {
				return mapped(s.Requests(), func(r fakeopenrouter.Request) simRequest { return simRequest{r.Op, r.Path + "?" + r.RawQuery} })
			},
		}
	},
	config: func(s *sim) pairs { return pairs{"admin_key", s.simulator.(*fakeopenrouter.Server).AdminKey()} },
	role: func(*sim) pairs {
		return pairs{
			"workspace_id", fakeopenrouter.DefaultWorkspace, "models", []string{"openai/gpt-4.1-mini"}, "budget", 12.5, "budget_period", "day",
		}
	},
	static: &staticShape{
		delay: func(s *sim) { s.Inject(fake.Answer(fakeopenrouter.OpReadOwnKey, http.StatusUnauthorized, 0)) },
		moved: func(s *sim) pairs {
			return pairs{"workspace_id", s.simulator.(*fakeopenrouter.Server).AddWorkspace(fakeopenrouter.NewID())}
		},
	},
}

// liteLLMShape has keys that the engine chooses.
var liteLLMShape = shape{
	name: "litellm", host: "litellm.test", secret: "api_key",
	start: func(clock func() time.Time) *sim {
		s := fakelitellm.NewAt(clock)
		s.AddTeam("team-blue")
		return &sim{
			simulator: s,
			live: func() []simKey {
				return mapped(s.LiveKeys(), func(k fakelitellm.Key) simKey { return simKey{k.Hash, k.Alias, k.Secret} })
			},
			requests: func() []simRequest {
				return mapped(s.Requests(), func(r fakelitellm.Request) simRequest { return simRequest{r.Op, r.Path + "?" + r.RawQuery} })
			},
		}
	},
	config: func(s *sim) pairs {
		return pairs{"admin_key", s.simulator.(*fakelitellm.Server).AdminKey(), "base_url", "https://litellm.test"}
	},
	role: func(*sim) pairs {
		return pairs{"team_id", "team-blue", "models", []string{"gpt-4.1-mini"}, "budget", 12.5, "budget_period", "day", "requests_per_minute", 60, "tokens_per_minute", 100_000}
	},
	rotates: &adminShape{
		creates: fakelitellm.OpCreateAdminKey,
		delay:   func(s *sim, _ time.Duration) { s.refuseAfter(fakelitellm.OpCreateAdminKey, 0) },
		ours: func(s *sim) []simKey {
			var ours []simKey
			for _, k := range s.simulator.(*fakelitellm.Server).AdminKeys() {
				if k.Secret != s.simulator.(*fakelitellm.Server).AdminKey() { // that of the operator
					ours = append(ours, simKey{k.Hash, k.Alias, k.Secret})
				}
			}
			return ours
		},
		alive: func(s *sim, stored string) bool { return s.Alive(stored) },
	},
	static: &staticShape{
		delay: func(s *sim) { s.Inject(fake.Answer(fakelitellm.OpListModels, http.StatusUnauthorized, 0)) },
		plant: func(s *sim, name string) simKey {
			k := s.simulator.(*fakelitellm.Server).PlantKey("team-blue", "", name)
			return simKey{k.Hash, k.Alias, k.Secret}
		},
		moved: func(s *sim) pairs {
			s.simulator.(*fakelitellm.Server).AddTeam("team-red")
			return pairs{"team_id", "team-red"}
		},
	},
}

const anthropicHost = "api.anthropic.com"

// anthropicShape has tokens that nothing can revoke.
var anthropicShape = shape{
	name: "anthropic", host: anthropicHost, secret: "auth_token", tokens: true,
	start: func(clock func() time.Time) *sim {
		s := fakeanthropic.NewAt(clock)
		return anthropicSim(s, func() []simKey {
			return mapped(s.LiveTokens(), func(t fakeanthropic.Token) simKey {
				id, _, _ := strings.Cut(t.Claims["jti"].(string), ".")
				return simKey{id: id, name: id}
			})
		})
	},
	config: func(s *sim) pairs {
		return pairs{"organization_id", s.simulator.(*fakeanthropic.Server).OrganizationID()}
	},
	role: func(s *sim) pairs {
		org := s.simulator.(*fakeanthropic.Server)
		account := org.CreateServiceAccount("vault-" + strings.ToLower(rand.Text()))
		org.AddMember(org.Workspace(), account)
		return pairs{"service_account_id", account, "workspace_id", org.Workspace()}
	},
	ready: federate,
	rotates: &adminShape{
		ready: func(m *testMount) {
			m.federatedAdmin().SetKnobs(fakeanthropic.Knobs{JWKSCache: 3 * time.Minute})
		},
		creates: fakeanthropic.OpAddIssuerKeys,
		// What was added is read again before it is tried.
		delay: func(s *sim, _ time.Duration) { s.refuseAfter(fakeanthropic.OpAddIssuerKeys, 1) },
		ours: func(s *sim) []simKey {
			var ours []simKey
			for _, kid := range s.kids() {
				if strings.HasPrefix(kid, namePrefix) { // the first one is a thumbprint
					ours = append(ours, simKey{id: kid, name: kid})
				}
			}
			return ours
		},
		alive: func(s *sim, stored string) bool { return slices.Contains(s.kids(), workloadKid(stored)) },
	},
}

// refuseAfter refuses everything once a call has had its effect and so many more were
// answered.
func (s *sim) refuseAfter(op fake.Op, more int) {
	refuse := fake.Fault{Op: fake.OpAny, Skip: more, Status: http.StatusUnauthorized}
	s.Inject(fake.Fault{Op: op, Times: 1, After: func() { s.Inject(refuse) }})
}

// kids are those of the keys that the connection's issuer lists.
func (s *sim) kids() []string {
	return mapped(s.simulator.(*fakeanthropic.Server).IssuerKeys(s.issuer), func(raw json.RawMessage) string {
		var k struct{ Kid string }
		if json.Unmarshal(raw, &k) != nil {
			return ""
		}
		return k.Kid
	})
}

// workloadKid is the kid of the key that signs for workloads, in a stored keyring.
func workloadKid(stored string) string {
	var ring struct{ Workload struct{ Kid string } }
	if json.Unmarshal([]byte(stored), &ring) != nil {
		return ""
	}
	return ring.Workload.Kid
}

// federate does at Anthropic what the reads of connection and role say.
func federate(m *testMount, s *sim, role string) {
	m.t.Helper()
	org := s.simulator.(*fakeanthropic.Server)
	var err error
	if s.issuer == "" {
		if s.issuer, err = org.CreateIssuer(fmt.Sprint(m.do("read", "config/anthropic").Data["federation_issuer"])); err != nil {
			m.t.Fatal(err)
		}
		m.do("write", "config/anthropic", "issuer_id", s.issuer)
	}
	rule, err := org.CreateRule(fmt.Sprint(m.do("read", "roles/"+role).Data["federation_rule"]))
	if err != nil {
		m.t.Fatal(err)
	}
	m.do("write", "roles/"+role, "federation_rule_id", rule)
}

// poolShape has keys that are switched on and off, and no expiry.
var poolShape = shape{
	name: "anthropic-pool", host: "pool.anthropic.test", secret: "api_key", fixed: true, deletion: 2,
	start: func(clock func() time.Time) *sim {
		s := fakeanthropic.NewAt(clock)
		return anthropicSim(s, func() []simKey {
			return mapped(s.LiveKeys(), func(k fakeanthropic.Key) simKey { return simKey{k.ID, k.Name, k.Secret} })
		})
	},
	config: func(s *sim) pairs {
		return pairs{"admin_key", s.simulator.(*fakeanthropic.Server).AdminKey(), "base_url", "https://pool.anthropic.test"}
	},
	role: func(s *sim) pairs { return pairs{"workspace_id", s.simulator.(*fakeanthropic.Server).Workspace()} },
	ready: func(m *testMount, s *sim, _ string) {
		for range 3 {
			m.giveKey(s)
		}
	},
	static: &staticShape{
		ready: func(m *testMount, s *sim) { // as some rest while it is looked on
			for range 5 {
				m.giveKey(s)
			}
		},
		delay: func(s *sim) { // but for the first trial, which is a part of the mint
			s.Inject(fake.Fault{Op: fakeanthropic.OpListModels, Skip: 1, Status: http.StatusUnauthorized})
		},
	},
}

// giveKey gives the pool another key, and returns it.
func (m *testMount) giveKey(s *sim) fakeanthropic.Key {
	m.t.Helper()
	org := s.simulator.(*fakeanthropic.Server)
	key := org.PlantKey(org.Workspace(), "ada's")
	m.do("write", "pool/anthropic-pool/"+key.ID, "api_key", key.Secret, "scope", org.Workspace())
	return key
}

func anthropicSim(s *fakeanthropic.Server, live func() []simKey) *sim {
	return &sim{
		simulator: s, live: live,
		requests: func() []simRequest {
			return mapped(s.Requests(), func(r fakeanthropic.Request) simRequest { return simRequest{r.Op, r.Path + "?" + r.RawQuery} })
		},
	}
}

// shapes are all providers.
var shapes = []shape{openAIShape, openRouterShape, liteLLMShape, anthropicShape, poolShape}

func testRegistry() (*provider.Registry, error) {
	return provider.NewRegistry(openai.New(), openrouter.New(), litellm.New(), anthropic.New(), anthropic.NewPool())
}

func openAISim(s *fakeopenai.Server) *sim {
	return &sim{
		simulator: s,
		live: func() []simKey {
			return mapped(s.LiveKeys(), func(k fakeopenai.Key) simKey { return simKey{k.ID, k.Name, k.Secret} })
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
	m.do("create", "roles/"+sh.name, append(append(pairs{"config_name", sh.name}, sh.role(s)...), role...)...)
	if sh.ready != nil {
		sh.ready(m, s, sh.name)
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
