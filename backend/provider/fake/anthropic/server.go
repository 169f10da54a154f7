package fakeanthropic

import (
	"crypto/rand"
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

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// A Server is one organization. It is an http.Handler and safe for concurrent use.
// No lock is held while a request waits.
type Server struct {
	clock func() time.Time
	admin string // the Admin API key
	org   string // the organization's id

	mu         sync.Mutex // guards what follows, and all that it leads to
	revoked    bool       // the Admin API key
	workspaces []*workspace
	accounts   []*account
	issuers    []*issuer
	rules      []*rule
	keys       []*key   // all that ever were, in the order of creation
	tokens     []*Token // the same
	assertions []string // all that were ever sent
	jtis       map[string]bool
	requests   []*Request
	faults     fake.Faults
	knobs      Knobs
}

// New returns an organization with one Admin API key and one workspace beside the
// default one.
func New() *Server { return NewAt(time.Now) }

// NewAt returns an organization with another clock. Waits always pass on the real
// clock, or that of the synctest bubble.
func NewAt(clock func() time.Time) *Server {
	s := &Server{clock: clock, admin: "sk-ant-admin01-" + text(64), org: newUUID(), jtis: map[string]bool{}}
	s.AddWorkspace("")
	return s
}

// A call is one request that arrived.
type call struct {
	*route
	op      fake.Op // that of the route, or what the body makes of it
	ids     []string
	request *http.Request
	log     *Request // guarded by Server.mu
	seq     int
	now     time.Time // of the effect
	refused *refusal  // not admitted, and why
	fault   fake.Fault
	knobs   Knobs
	body    []byte
	console bool // a person does it, who may do more
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
	w.Header().Set("Request-Id", c.requestID())
	if !c.knobs.NoGrease {
		w.Header().Set(fmt.Sprintf("X-Grease-%04x", c.seq), "grease")
	}
	out.Send(r.Context(), w, c.fault)
}

func (c *call) requestID() string { return fmt.Sprintf("req_%08d", c.seq) }

// admit authorises and logs a request, and chooses the fault that it meets.
func (s *Server) admit(r *http.Request, body []byte) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{request: r, seq: len(s.requests), now: s.clock(), knobs: s.knobs, body: body}
	c.log = &Request{Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, Body: string(body), At: c.now}
	s.requests = append(s.requests, c.log)
	if c.route, c.ids, c.refused = match(r); c.refused != nil {
		return c
	}
	c.op = s.meaningLocked(c.route, c.ids, body)
	c.log.Op = c.op
	if c.refused = s.authoriseLocked(c); c.refused != nil {
		return c
	}
	if fault, met := s.faults.Take(c.op, false); met {
		c.fault, c.log.Fault = fault, fault.String()
	}
	return c
}

// The beta that every call with a token wants, and the one that the exchange does.
const (
	betaOAuth      = "oauth-2025-04-20"
	betaFederation = "oidc-federation-2026-04-01"
)

// beta reports whether a request asks for a beta.
func (c *call) beta(name string) bool {
	for _, line := range c.request.Header.Values("Anthropic-Beta") {
		for part := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(part) == name {
				return true
			}
		}
	}
	return false
}

func (s *Server) authoriseLocked(c *call) *refusal {
	if c.plane == open {
		return nil
	}
	// The data plane takes what @anthropic-ai/sdk sends, too (1.12.0).
	version := c.request.Header.Get("Anthropic-Version")
	if version != "2023-06-01" && (c.plane != dataPlane || version != "2026-10-21") {
		return badRequest("anthropic-version: header is required")
	}
	apiKey := c.request.Header.Get("X-Api-Key")
	bearer, isBearer := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	switch {
	case apiKey == "" && (!isBearer || bearer == ""):
		return unauthorized("x-api-key header is required")
	case apiKey != "" && isBearer:
		return badRequest("give one credential")
	case isBearer && !s.isKeyLocked(bearer):
		return s.authoriseTokenLocked(c, bearer)
	case isBearer: // as that SDK sends keys
		apiKey = bearer
	case apiKey == s.admin && !s.revoked:
		return c.wants(admin, "OAuth authentication with the scope org:admin is required")
	}
	for _, k := range s.keys {
		if k.Secret == apiKey && s.acceptedLocked(k, c.now) {
			return c.wants(dataPlane, "an Admin API key is required")
		}
	}
	return unauthorized("invalid x-api-key")
}

// isKeyLocked reports whether a secret is that of an API key that ever was.
func (s *Server) isKeyLocked(secret string) bool {
	return slices.ContainsFunc(s.keys, func(k *key) bool { return k.Secret == secret })
}

func (s *Server) authoriseTokenLocked(c *call, bearer string) *refusal {
	t := s.tokenLocked(bearer, c.now)
	switch {
	case t == nil:
		return unauthorized("Invalid bearer token")
	case !c.beta(betaOAuth):
		return unauthorized("OAuth authentication is currently not supported")
	case t.Scope == scopeAdmin:
		return c.wants(oauthAdmin, "the scope workspace:inference is required")
	}
	return c.wants(dataPlane, "the scope org:admin is required")
}

// wants refuses a credential that is good, but not for this path.
func (c *call) wants(have plane, problem string) *refusal {
	switch {
	case c.plane == have, c.plane == admin && have == oauthAdmin:
		return nil
	case c.plane == dataPlane:
		return unauthorized("invalid x-api-key")
	}
	return &refusal{http.StatusForbidden, "permission_error", problem}
}

// perform is the effect of a request: all of it at one moment, or none.
func (s *Server) perform(c *call) (any, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now, c.knobs = s.clock(), s.knobs
	return c.do(s, c)
}

// match finds the route of a request and the ids in its path. It is strict: no path
// is cleaned, no trailing slash forgiven, HEAD is not GET.
func match(r *http.Request) (*route, []string, *refusal) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), fake.MovedPrefix)
	known := false
	for _, rt := range routes() {
		ids, fits := rt.fits(path)
		if !fits {
			continue
		}
		if rt.method == r.Method {
			return &rt, ids, nil
		}
		known = true
	}
	if known {
		return nil, nil, &refusal{http.StatusMethodNotAllowed, "invalid_request_error", "Method not allowed"}
	}
	return nil, nil, notFound()
}

func (rt route) fits(path string) (ids []string, ok bool) {
	have, want := strings.Split(path, "/"), strings.Split(rt.path, "/")
	if len(have) != len(want) {
		return nil, false
	}
	for i, segment := range want {
		if !strings.HasPrefix(segment, "{") {
			if have[i] != segment {
				return nil, false
			}
			continue
		}
		id, err := url.PathUnescape(have[i])
		if err != nil || id == "" {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// RoundTripper returns a transport that reaches the server in memory, see
// [fake.RoundTripper].
func (s *Server) RoundTripper() http.RoundTripper {
	return fake.RoundTripper(s, func(r *http.Request) bool {
		rt, ids, refused := match(r)
		if refused != nil {
			return false
		}
		var body []byte
		if r.GetBody != nil {
			if again, err := r.GetBody(); err == nil {
				body, _ = io.ReadAll(again)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, refuse := s.faults.Take(s.meaningLocked(rt, ids, body), true)
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

// text is so many random characters.
func text(n int) string {
	out := ""
	for len(out) < n {
		out += rand.Text()
	}
	return out[:n]
}

// newID is an id as Anthropic makes them.
func newID(kind string) string { return kind + "_01" + text(22) }

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}
