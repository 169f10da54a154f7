package fakeopenai

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// DefaultProject exists if New was given no other.
const DefaultProject = "proj_demo"

// A Server is one OpenAI organization. It is an http.Handler and safe for
// concurrent use. No lock is held while a request waits.
type Server struct {
	clock  func() time.Time
	routes []route // does not change

	mu       sync.Mutex // guards what follows, and all that it leads to
	projects []*project
	admins   []*adminKey
	accounts map[string]*account // by id
	keys     []*key              // of all projects, in the order of creation
	byID     map[string]*key
	bySecret map[string]*key
	requests []*Request
	arrived  int // requests ever
	faults   fake.Faults
	knobs    Knobs
	bucket   bucket
}

// An Option configures a new Server.
type Option func(*settings)

type settings struct {
	clock    func() time.Time
	admins   []string
	projects []string
	knobs    Knobs
	faults   []Fault
}

// WithClock replaces time.Now. Waits always pass on the real clock, or that of
// the synctest bubble.
func WithClock(now func() time.Time) Option { return func(s *settings) { s.clock = now } }

// WithAdminKey makes an admin key of a given secret instead of a random one. It
// may be given repeatedly.
func WithAdminKey(secret string) Option {
	return func(s *settings) { s.admins = append(s.admins, secret) }
}

// WithProject makes a project of a given id instead of DefaultProject. It may be
// given repeatedly.
func WithProject(id string) Option {
	return func(s *settings) { s.projects = append(s.projects, id) }
}

// WithKnobs sets the knobs from the start.
func WithKnobs(k Knobs) Option { return func(s *settings) { s.knobs = k } }

// WithFault injects a fault from the start. It may be given repeatedly.
func WithFault(f Fault) Option { return func(s *settings) { s.faults = append(s.faults, f) } }

// New returns an organization with one admin key and one project, unless the
// options say otherwise.
func New(opts ...Option) *Server {
	set := settings{clock: time.Now}
	for _, opt := range opts {
		opt(&set)
	}
	s := &Server{
		clock:    set.clock,
		routes:   routes(),
		accounts: map[string]*account{},
		byID:     map[string]*key{},
		bySecret: map[string]*key{},
		knobs:    set.knobs,
	}
	if len(set.admins) == 0 {
		set.admins = []string{newSecret("sk-admin-")}
	}
	if len(set.projects) == 0 {
		set.projects = []string{DefaultProject}
	}
	for _, secret := range set.admins {
		s.addAdminLocked("first", secret, time.Time{}, time.Time{}).born = time.Time{}
	}
	for _, id := range set.projects {
		s.addProjectLocked(id)
	}
	for _, f := range set.faults {
		s.Inject(f)
	}
	return s
}

// AdminKey returns the secret of the first admin key.
func (s *Server) AdminKey() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admins[0].Secret
}

// A call is one request that arrived.
type call struct {
	*route
	ids     map[string]string // of the path, by the names in routes
	request *http.Request
	log     *Request // guarded by Server.mu
	seq     int
	now     time.Time // of the effect
	refused *refusal  // not admitted, and why
	fault   Fault
	knobs   Knobs
	body    []byte
	admin   *adminKey // who calls an admin path
	key     *key      // who calls the data plane
}

// admit authorises and logs a request, and chooses the fault that it meets.
// Every request passes here, once and first.
func (s *Server) admit(r *http.Request) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	s.arrived++
	c := &call{request: r, seq: s.arrived, now: now, knobs: s.knobs}
	c.log = &Request{
		Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, At: now,
		ID: fmt.Sprintf("req_%016x", c.seq),
	}
	s.requests = append(s.requests, c.log)

	if c.route, c.ids, c.refused = s.match(r); c.refused != nil {
		return c
	}
	c.log.Op = c.op
	if c.refused = s.authoriseLocked(c, now); c.refused != nil {
		return c
	}
	if c.plane == adminPlane && !s.bucket.take(now) {
		c.refused = rateLimited()
		return c
	}
	if fault, met := s.faults.Take(c.op, false); met {
		c.fault, c.log.Fault = fault, fault.String()
	}
	return c
}

// authoriseLocked finds who calls. An admin key is not good on the data plane
// (OpenAI guide "Admin APIs"), nor is a project key on admin paths.
func (s *Server) authoriseLocked(c *call, now time.Time) *refusal {
	header := c.request.Header.Get("Authorization")
	secret, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || secret == "" {
		return noCredential()
	}
	if c.plane == dataPlane {
		if c.key = s.bySecret[secret]; c.key == nil || !s.acceptedLocked(c.key, now) {
			return wrongCredential(secret)
		}
		return nil
	}
	if c.admin = s.adminLocked(secret); c.admin == nil || !s.adminAcceptedLocked(c.admin, now) {
		return wrongCredential(secret)
	}
	return c.permit()
}

// permit refuses what the admin key may not do. It comes before anything is
// looked up: a key that may not delete learns nothing of what there is.
func (c *call) permit() *refusal {
	if c.admin.ReadOnly && c.method != http.MethodGet {
		return missingScopes("api.management.write")
	}
	switch c.op {
	case OpCreateAdminKey, OpGetAdminKey, OpListAdminKeys, OpDeleteAdminKey:
		if c.knobs.AdminKeysForbidden {
			return missingScopes("api.management.write")
		}
	}
	return nil
}

// answered notes what a request was answered.
func (s *Server) answered(c *call, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.log.Status = cmp.Or(status, http.StatusOK)
}

// perform is the effect of a request: all of it at one moment, or none.
func (s *Server) perform(c *call) (object, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now, c.knobs = s.clock(), s.knobs
	if c.admin != nil {
		c.admin.LastUsedAt = c.now.Truncate(time.Second)
	}
	return c.do(s, c)
}
