package fakeopenrouter

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// DefaultWorkspace exists from the start.
const DefaultWorkspace = "0df9e665-d932-4740-82c7-b52af166bc11"

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// The operations. Completion is the data plane; the calling key is read by keys of
// both kinds.
const (
	OpCreateKey       fake.Op = "create_key"
	OpGetKey          fake.Op = "get_key"
	OpUpdateKey       fake.Op = "update_key"
	OpListKeys        fake.Op = "list_keys"
	OpDeleteKey       fake.Op = "delete_key"
	OpListWorkspaces  fake.Op = "list_workspaces"
	OpGetWorkspace    fake.Op = "get_workspace"
	OpListGuardrails  fake.Op = "list_guardrails"
	OpCreateGuardrail fake.Op = "create_guardrail"
	OpAssignKeys      fake.Op = "assign_keys"
	OpReadOwnKey      fake.Op = "read_own_key"
	OpCompletion      fake.Op = "completion"
)

// A plane says which credential a path wants.
type plane int

const (
	management plane = iota
	either
	dataPlane
)

// A route is one operation: where it is and what does it.
type route struct {
	op     fake.Op
	plane  plane
	method string
	path   string // below /api/v1; a segment in braces stands for any
	do     func(*Server, *call) (any, *refusal)
}

func routes() []route {
	return []route{
		{OpCreateKey, management, "POST", "/keys", (*Server).createKey},
		{OpGetKey, management, "GET", "/keys/{id}", (*Server).getKey},
		{OpUpdateKey, management, "PATCH", "/keys/{id}", (*Server).updateKey},
		{OpListKeys, management, "GET", "/keys", (*Server).listKeys},
		{OpDeleteKey, management, "DELETE", "/keys/{id}", (*Server).deleteKey},
		{OpListWorkspaces, management, "GET", "/workspaces", (*Server).listWorkspaces},
		{OpGetWorkspace, management, "GET", "/workspaces/{id}", (*Server).getWorkspace},
		{OpListGuardrails, management, "GET", "/guardrails", (*Server).listGuardrails},
		{OpCreateGuardrail, management, "POST", "/guardrails", (*Server).createGuardrail},
		{OpAssignKeys, management, "POST", "/guardrails/{id}/assignments/keys", (*Server).assignKeys},
		{OpReadOwnKey, either, "GET", "/key", (*Server).readOwnKey},
		{OpCompletion, dataPlane, "POST", "/chat/completions", (*Server).completeChat},
	}
}

// Ops returns all operations.
func Ops() []fake.Op {
	var ops []fake.Op
	for _, rt := range routes() {
		ops = append(ops, rt.op)
	}
	return ops
}

// Knobs choose how the simulator behaves where no source says how OpenRouter does,
// and what it is slow at. The zero value of each is the default.
type Knobs struct {
	// HideFor keeps new keys and guardrails out of lists for a while.
	HideFor time.Duration
	// YoungNotFoundFor makes get, update, delete and assignment of a key younger than
	// this answer 404. Nothing happens to the key.
	YoungNotFoundFor time.Duration
	// DataPlaneDelay is how long the data plane refuses new keys.
	DataPlaneDelay time.Duration
	// DeletedAcceptedFor is how long the data plane accepts deleted keys.
	DeletedAcceptedFor time.Duration

	// UnknownWorkspaceRefused answers 404 to a list of a workspace that does not
	// exist, instead of an empty list.
	UnknownWorkspaceRefused bool
	// IgnoreWorkspace lists the keys of all workspaces, whichever is asked for.
	IgnoreWorkspace bool
	// IgnoreOffset answers the first page, whichever is asked for.
	IgnoreOffset bool
	// NewestFirst lists what is new first.
	NewestFirst bool
	// PageSize is the longest page; 0 means 100.
	PageSize int

	// IgnoreExpiry, IgnoreLimit and IgnoreReset make keys without.
	IgnoreExpiry, IgnoreLimit, IgnoreReset bool
	// ExpiryMovable takes expires_at in an update, which is 400 otherwise.
	ExpiryMovable bool
	// IgnoreAssignment answers that no key was assigned, and assigns none.
	IgnoreAssignment bool
	// CanonicalModels shows the models of guardrails by other names than given.
	CanonicalModels bool
	// LimitStatus is what a key is answered that has spent its limit; 0 means 402.
	LimitStatus int

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

// A Server is one OpenRouter account. It is an http.Handler and safe for concurrent
// use. No lock is held while a request waits.
type Server struct {
	clock func() time.Time
	admin string // the management key

	mu         sync.Mutex // guards what follows, and all that it leads to
	revoked    bool       // the management key
	workspaces []*workspace
	guardrails []*guardrail
	keys       []*key // all that ever were, in the order of creation
	requests   []*Request
	faults     fake.Faults
	knobs      Knobs
}

// New returns an account with one management key and one workspace.
func New() *Server { return NewAt(time.Now, DefaultWorkspace) }

// NewAt returns an account with another clock, whose default workspace has an id.
// Waits always pass on the real clock, or that of the synctest bubble.
func NewAt(clock func() time.Time, workspaceID string) *Server {
	s := &Server{clock: clock, admin: newSecret()}
	s.AddWorkspace(workspaceID)
	return s
}

// A call is one request that arrived.
type call struct {
	*route
	id      string // in the path
	request *http.Request
	log     *Request // guarded by Server.mu
	seq     int
	now     time.Time // of the effect
	refused *refusal  // not admitted, and why
	fault   fake.Fault
	knobs   Knobs
	body    []byte
	key     *key // who calls; nil for the management key
}

// ServeHTTP answers one request. It stops when the request's context ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c := s.admit(r, body)
	if c.refused == nil && err != nil {
		c.refused = badRequest("The request body could not be read")
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
	if c.route, c.id, c.refused = match(r); c.refused != nil {
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

func (s *Server) authoriseLocked(c *call) *refusal {
	secret, ok := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || secret == "":
		return &refusal{http.StatusUnauthorized, "Missing Authentication header"}
	case secret == s.admin && !s.revoked:
		if c.plane == dataPlane {
			return &refusal{http.StatusForbidden, "Management keys cannot call models"}
		}
		return nil
	}
	i := slices.IndexFunc(s.keys, func(k *key) bool { return k.Secret == secret })
	if i < 0 || !s.acceptedLocked(s.keys[i], c.now) {
		return &refusal{http.StatusUnauthorized, "User not found."}
	}
	if c.plane == management {
		return &refusal{http.StatusForbidden, "Only management keys can perform this operation"}
	}
	c.key = s.keys[i]
	return nil
}

// perform is the effect of a request: all of it at one moment, or none.
func (s *Server) perform(c *call) (any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now, c.knobs = s.clock(), s.knobs
	return c.do(s, c)
}

// match finds the route of a request and the id in its path. It is strict: no path
// is cleaned, no trailing slash forgiven, HEAD is not GET.
func match(r *http.Request) (*route, string, *refusal) {
	path, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.EscapedPath(), fake.MovedPrefix), "/api/v1")
	known := false
	for _, rt := range routes() {
		id, fits := rt.fits(path)
		if !ok || !fits {
			continue
		}
		if rt.method == r.Method {
			return &rt, id, nil
		}
		known = true
	}
	if known {
		return nil, "", &refusal{http.StatusMethodNotAllowed, "Method not allowed"}
	}
	return nil, "", notFound()
}

func (rt route) fits(path string) (id string, ok bool) {
	have, want := strings.Split(path, "/"), strings.Split(rt.path, "/")
	if len(have) != len(want) {
		return "", false
	}
	for i, segment := range want {
		if segment != "{id}" {
			if have[i] != segment {
				return "", false
			}
			continue
		}
		var err error
		if id, err = url.PathUnescape(have[i]); err != nil || id == "" {
			return "", false
		}
	}
	return id, true
}

// RoundTripper returns a transport that reaches the server in memory, see
// [fake.RoundTripper].
func (s *Server) RoundTripper() http.RoundTripper {
	return fake.RoundTripper(s, func(r *http.Request) bool {
		rt, _, refused := match(r)
		if refused != nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, refuse := s.faults.Take(rt.op, true)
		return refuse
	})
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

// AdminKey returns the secret of the management key.
func (s *Server) AdminKey() string { return s.admin }

// RevokeAdminKey deletes the management key, as a person would.
func (s *Server) RevokeAdminKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
}

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

// Secrets returns every secret that ever was, the management key included.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := []string{s.admin}
	for _, k := range s.keys {
		secrets = append(secrets, k.Secret)
	}
	return secrets
}

func newSecret() string { return "sk-or-v1-" + hash(rand.Text()) }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// NewID returns a random id of a workspace or a guardrail.
func NewID() string {
	h := hash(rand.Text())
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}

func statusOf(limit int) int { return cmp.Or(limit, http.StatusPaymentRequired) }
