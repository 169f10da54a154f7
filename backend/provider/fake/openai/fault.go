package fakeopenai

import (
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// What spoils requests is the same for every provider.
type (
	// A Fault spoils requests, see [fake.Fault].
	Fault = fake.Fault
	// A HangKind says where a request hangs until its context ends.
	HangKind = fake.HangKind
	// A Corruption is a way to spoil an answer.
	Corruption = fake.Corruption
)

// Where a request hangs, see [fake.HangKind].
const (
	NoHang      = fake.NoHang
	HangBefore  = fake.HangBefore
	HangAfter   = fake.HangAfter
	HangMidBody = fake.HangMidBody
)

// How an answer is spoiled, see [fake.Corruption]. An id is "id", a secret "value".
const (
	NotCorrupt    = fake.NotCorrupt
	NoID          = fake.NoID
	NoSecret      = fake.NoSecret
	NullFields    = fake.NullFields
	EmptyObject   = fake.EmptyObject
	Null          = fake.Null
	EmptyBody     = fake.EmptyBody
	CutOff        = fake.CutOff
	NotJSON       = fake.NotJSON
	NoContentType = fake.NoContentType
	ErrorString   = fake.ErrorString
	HTMLBody      = fake.HTMLBody
	WrongTypes    = fake.WrongTypes
	Oversized     = fake.Oversized
)

// Corruptions lists every way to spoil an answer.
func Corruptions() []Corruption { return fake.Corruptions() }

// DropBefore drops connections before the effect.
func DropBefore(op Op, times int) Fault { return fake.DropBefore(op, times) }

// DropAfter drops connections after the effect: the caller cannot know of it.
func DropAfter(op Op, times int) Fault { return fake.DropAfter(op, times) }

// Answer answers a status without any effect.
func Answer(op Op, status, times int) Fault { return fake.Answer(op, status, times) }

// AnswerAfter answers a status after the effect.
func AnswerAfter(op Op, status, times int) Fault { return fake.AnswerAfter(op, status, times) }

// Limited answers 429 with Retry-After; without, if retryAfter is zero.
func Limited(op Op, retryAfter time.Duration, times int) Fault {
	return fake.Limited(op, retryAfter, times)
}

// Spoiled spoils successful answers.
func Spoiled(op Op, how Corruption, times int) Fault { return fake.Spoiled(op, how, times) }

// Inject adds a fault behind those that are there.
func (s *Server) Inject(f Fault) {
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

// RoundTripper returns a transport that reaches the server in memory, see
// [fake.RoundTripper].
func (s *Server) RoundTripper() http.RoundTripper { return fake.RoundTripper(s, s.refuses) }

// refuses reports whether a fault refuses the connection.
func (s *Server) refuses(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	route, _, refused := s.match(r)
	if refused != nil {
		return false
	}
	_, refuse := s.faults.Take(route.op, true)
	return refuse
}
