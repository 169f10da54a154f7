package fakelitellm

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// The operations. A key that is made for an admin is an admin key: the request is
// the same, and tests tell them apart.
const (
	OpCreateKey      fake.Op = "create_key"
	OpCreateAdminKey fake.Op = "create_admin_key"
	OpUpdateKey      fake.Op = "update_key"
	OpDeleteKey      fake.Op = "delete_key"
	OpReadKey        fake.Op = "read_key"
	OpReadOwnKey     fake.Op = "read_own_key" // the calling key
	OpListKeys       fake.Op = "list_keys"
	OpGetTeam        fake.Op = "get_team"
	OpGetUser        fake.Op = "get_user"
	OpListModels     fake.Op = "list_models"
	OpCompletion     fake.Op = "completion"
)

// A plane says which credential a path wants.
type plane int

const (
	management plane = iota // an admin
	self                    // any key, about itself
	dataPlane
)

// A route is one operation: where it is and what does it.
type route struct {
	op     fake.Op
	plane  plane
	method string
	path   string
	do     func(*Server, *call) (any, *refusal)
}

func routes() []route {
	return []route{
		{OpCreateKey, management, "POST", "/key/generate", (*Server).createKey},
		{OpUpdateKey, management, "POST", "/key/update", (*Server).updateKey},
		{OpDeleteKey, management, "POST", "/key/delete", (*Server).deleteKeys},
		{OpReadKey, management, "GET", "/key/info", (*Server).readKey},
		{OpListKeys, management, "GET", "/key/list", (*Server).listKeys},
		{OpGetTeam, management, "GET", "/team/info", (*Server).getTeam},
		{OpGetUser, management, "GET", "/user/info", (*Server).getUser},
		{OpListModels, dataPlane, "GET", "/v1/models", (*Server).listModels},
		{OpListModels, dataPlane, "GET", "/models", (*Server).listModels},
		{OpCompletion, dataPlane, "POST", "/v1/chat/completions", (*Server).completeChat},
		{OpCompletion, dataPlane, "POST", "/chat/completions", (*Server).completeChat},
	}
}

// Knobs choose how the simulator behaves where versions and deployments differ or
// no source says, and what it is slow at. The zero value of each is the default.
type Knobs struct {
	// HideFor keeps new keys out of lists for a while, AdminHideFor new admin keys.
	HideFor, AdminHideFor time.Duration
	// DataPlaneDelay is how long new keys are refused, AdminKeyDelay new admin keys.
	DataPlaneDelay, AdminKeyDelay time.Duration
	// DeletedAcceptedFor is how long deleted keys are accepted, out of a cache.
	DeletedAcceptedFor time.Duration
	// YoungNotFoundFor makes info, update and deletion of a key younger than this
	// answer that there is none, as a replica of the database may.
	YoungNotFoundFor time.Duration

	// DefaultTeam and DefaultUser are given to keys that ask for none, as a proxy's
	// default_key_generate_params may.
	DefaultTeam, DefaultUser string
	// DefaultBudget is the budget of keys that ask for none, as a proxy's
	// upperbound_key_generate_params may give; 0 does not.
	DefaultBudget float64
	// IgnoreExpiry, IgnoreModels, IgnoreBudget, IgnorePeriod, IgnoreRates and
	// IgnoreRoutes make keys without.
	IgnoreExpiry, IgnoreModels, IgnoreBudget, IgnorePeriod, IgnoreRates, IgnoreRoutes bool
	// AdminMaxLife bounds the life of new admin keys; 0 does not.
	AdminMaxLife time.Duration
	// WeakAdminKeys makes admin keys that may only read, which nothing shows.
	WeakAdminKeys bool

	// ExpiredStatus is what an expired key is answered; 0 means 400, as older
	// versions do. Newer ones answer 401.
	ExpiredStatus int
	// UnknownUpdateStatus is what an update of a key is answered that does not exist; 0
	// means 401.
	UnknownUpdateStatus int
	// UnknownUserRefused answers 404 for a user that does not exist, instead of one
	// without user_info.
	UnknownUserRefused bool
	// UnknownTeamRefused refuses keys of a team that does not exist.
	UnknownTeamRefused bool
	// NoUpdatedExpiry leaves the expiry out of the answer to an update.
	NoUpdatedExpiry bool
	// BudgetStatus is what a key is answered that has spent its budget; 0 means 400.
	BudgetStatus int

	// IgnorePage answers the first page, whichever is asked for; IgnoreSort lists
	// what is new first, IgnoreFilter the keys of all teams and users.
	IgnorePage, IgnoreSort, IgnoreFilter bool
	// MaxPage is the longest page, whatever is asked for; 0 means 100.
	MaxPage int

	// NoGrease leaves out the unknown members and headers, for demonstrations.
	NoGrease bool
}

// A Request is one that arrived.
type Request struct {
	Op                     fake.Op
	Method, Path, RawQuery string
	Body                   string
	Status                 int // what was answered; 0 while it is under way, and if the connection was dropped
	At                     time.Time
	Fault                  string // which one it met; empty for none
}

// A Server is one LiteLLM deployment. It is an http.Handler and safe for concurrent
// use. No lock is held while a request waits.
type Server struct {
	clock  func() time.Time
	master string
	admin  string // the first admin key
	user   string // who it belongs to

	mu       sync.Mutex // guards what follows, and all that it leads to
	users    map[string]string
	teams    map[string]bool
	keys     []*key // all that ever were, in the order of creation
	requests []*Request
	faults   fake.Faults
	knobs    Knobs
}

// New returns a deployment with a master key, and one admin with one key.
func New() *Server { return NewAt(time.Now) }

// NewAt returns a deployment with another clock. Waits always pass on the real
// clock, or that of the synctest bubble.
func NewAt(clock func() time.Time) *Server {
	s := &Server{
		clock: clock, master: newSecret(), user: "admin-" + strings.ToLower(rand.Text()),
		users: map[string]string{}, teams: map[string]bool{},
	}
	s.users[s.user] = RoleAdmin
	s.admin = s.PlantAdminKey("vault-admin").Secret
	return s
}

// A call is one request that arrived.
type call struct {
	*route
	request *http.Request
	log     *Request // guarded by Server.mu
	seq     int
	now     time.Time // of the effect
	refused *refusal  // not admitted, and why
	fault   fake.Fault
	knobs   Knobs
	body    []byte
	key     *key // who calls; nil for the master key
}

// ServeHTTP answers one request. It stops when the request's context ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c := s.admit(r, body)
	if c.refused == nil && err != nil {
		c.refused = badRequest("", "The request body could not be read")
	}
	var out *fake.Reply
	if c.refused != nil {
		out = c.refusalReply(c.refused)
	} else {
		out = c.fault.Run(r, c.faultReply, func() *fake.Reply {
			answer, refused := s.perform(c)
			if refused != nil {
				return c.refusalReply(refused)
			}
			return c.successReply(answer)
		})
	}
	s.mu.Lock()
	c.log.Status = out.Status
	s.mu.Unlock()
	if !c.knobs.NoGrease {
		w.Header().Set(fmt.Sprintf("X-Grease-%04x", c.seq), "grease")
	}
	out.Send(r.Context(), w, c.fault)
}

// admit authorises and logs a request, and chooses the fault that it meets.
func (s *Server) admit(r *http.Request, body []byte) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{request: r, seq: len(s.requests), now: s.clock(), knobs: s.knobs, body: body}
	c.log = &Request{Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, Body: string(body), At: c.now}
	s.requests = append(s.requests, c.log)
	if c.route, c.refused = s.matchLocked(r, body); c.refused != nil {
		return c
	}
	c.log.Op = c.op
	if c.refused = s.authoriseLocked(c); c.refused != nil {
		return c
	}
	if fault, met := s.faults.Take(c.op, false); met {
		c.fault, c.log.Fault = fault, fault.String()
	}
	return c
}

// perform is the effect of a request: all of it at one moment, or none.
func (s *Server) perform(c *call) (any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now, c.knobs = s.clock(), s.knobs
	return c.do(s, c)
}

// matchLocked finds the route of a request. It is strict: no path is cleaned, no
// trailing slash forgiven, HEAD is not GET.
func (s *Server) matchLocked(r *http.Request, body []byte) (*route, *refusal) {
	path, known := strings.TrimPrefix(r.URL.EscapedPath(), fake.MovedPrefix), false
	for _, rt := range routes() {
		if rt.path != path {
			continue
		}
		if known = true; rt.method != r.Method {
			continue
		}
		switch {
		case rt.op == OpReadKey && !r.URL.Query().Has("key"):
			rt.op, rt.plane = OpReadOwnKey, self
		case rt.op == OpCreateKey && s.forAdminLocked(body):
			rt.op = OpCreateAdminKey
		}
		return &rt, nil
	}
	if known {
		return nil, &refusal{status: http.StatusMethodNotAllowed, message: "Method Not Allowed"}
	}
	return nil, &refusal{status: http.StatusNotFound, message: "Not Found"}
}

// forAdminLocked reports whether a key is asked for that an admin owns.
func (s *Server) forAdminLocked(body []byte) bool {
	var asked struct {
		UserID string `json:"user_id"`
	}
	return json.Unmarshal(body, &asked) == nil && s.users[asked.UserID] == RoleAdmin
}

// RoundTripper returns a transport that reaches the server in memory, see
// [fake.RoundTripper].
func (s *Server) RoundTripper() http.RoundTripper {
	return fake.RoundTripper(s, func(r *http.Request) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		rt, refused := s.matchLocked(r, peek(r))
		if refused != nil {
			return false
		}
		_, refuse := s.faults.Take(rt.op, true)
		return refuse
	})
}

// peek returns the body of a client's request, which it leaves unread.
func peek(r *http.Request) []byte {
	if r.GetBody == nil {
		return nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	text, _ := io.ReadAll(body) // what cannot be read is no admin's
	return text
}

// Inject adds a fault behind those that are there.
func (s *Server) Inject(f fake.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Inject(f)
}

// ClearFaults removes all faults. Requests that hang go on hanging.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Clear()
}

// SetKnobs replaces all knobs.
func (s *Server) SetKnobs(k Knobs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knobs = k
}

// AdminKey returns the secret of the first admin key, MasterKey that of the master
// key.
func (s *Server) AdminKey() string { return s.admin }

// MasterKey is described at AdminKey.
func (s *Server) MasterKey() string { return s.master }

// AdminUser returns the id of the admin who owns the admin keys.
func (s *Server) AdminUser() string { return s.user }

// Requests returns all requests that arrived.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
	}
	return all
}

// Count returns how many requests of an operation arrived, answered or not.
func (s *Server) Count(op fake.Op) int {
	n := 0
	for _, r := range s.Requests() {
		if op == fake.OpAny || r.Op == op {
			n++
		}
	}
	return n
}

// Secrets returns every secret that ever was, those of admins included.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := []string{s.master}
	for _, k := range s.keys {
		secrets = append(secrets, k.Secret)
	}
	return secrets
}

func newSecret() string { return "sk-" + rand.Text() }

// Hash is the id of a key: what LiteLLM stores in its place.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
