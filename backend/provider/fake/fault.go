package fake

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// An Op is one operation of a simulated API.
type Op string

// OpAny stands for all operations in a Fault or a count.
const OpAny Op = ""

// A Fault spoils requests. Its zero value does nothing but count.
//
// A fault meets only requests that were admitted: known method and path, live
// credential, within the rate. Of all faults injected, a request meets the first
// that matches it, is past its Skip and not used up; each such meeting counts as
// one of Times.
//
// In order, a fault may: refuse the connection; call Before; wait Latency; hang;
// redirect; drop or answer Status instead of the effect; let the effect happen;
// call After; wait LatencyAfter; hang; drop or answer Status after the effect;
// spoil a success by Corrupt or Body. If the request's context ends on the way,
// the connection drops there.
type Fault struct {
	// Op is what it matches; OpAny matches all.
	Op Op
	// Skip lets so many matching requests pass first.
	Skip int
	// Times is how many requests it spoils; 0 means until ClearFaults.
	Times int

	// Before and After are called before and after the effect: to cancel the
	// caller's context there, or to change the world. They may call the Server.
	Before, After func()
	// Latency passes before the effect, LatencyAfter between the effect and the
	// answer.
	Latency, LatencyAfter time.Duration
	// Hang waits until the request's context ends.
	Hang HangKind
	// Drop drops the connection: before the effect, or after it with AfterEffect.
	Drop bool
	// Refuse fails before there is a connection. Only RoundTripper can do it; the
	// request is not in Requests, for it never arrived.
	Refuse bool
	// Status is answered instead: without any effect, or after it with
	// AfterEffect.
	Status      int
	AfterEffect bool
	// RetryAfter adds the header, in whole seconds, rounded up.
	RetryAfter time.Duration
	// Body replaces the body: that of Status, or of a success if Status is 0.
	Body string
	// ContentType replaces the content type; new("") leaves it out.
	ContentType *string
	// Corrupt spoils a success. What spoils the whole body, as HTMLBody does, also
	// spoils that of Status.
	Corrupt Corruption
	// Redirect answers 307 to another path on the same origin, which works.
	Redirect bool
}

// A HangKind says where a request hangs until its context ends.
type HangKind string

// Where a request hangs.
const (
	// NoHang hangs nowhere.
	NoHang HangKind = ""
	// HangBefore hangs before the effect, which never comes.
	HangBefore HangKind = "hang before"
	// HangAfter hangs after the effect; nothing is answered.
	HangAfter HangKind = "hang after"
	// HangMidBody hangs after the effect, the answer's header and half its body.
	HangMidBody HangKind = "hang mid-body"
)

// A Corruption is a way to spoil an answer.
type Corruption string

// How an answer is spoiled.
const (
	NotCorrupt    Corruption = ""           // as it should be
	NoID          Corruption = "no id"      // every id is missing
	NoSecret      Corruption = "no secret"  // every secret is missing
	NullFields    Corruption = "null"       // ids, secrets and times are null
	EmptyObject   Corruption = "{}"         // the body is {}
	Null          Corruption = "null body"  // the body is null
	EmptyBody     Corruption = "empty body" // no body at all
	CutOff        Corruption = "cut off"    // half the body, then the connection drops
	NotJSON       Corruption = "not json"   // text that claims to be JSON
	NoContentType Corruption = "no content type"
	ErrorString   Corruption = "error string" // {"error":"text"}
	HTMLBody      Corruption = "html"         // a proxy's page
	WrongTypes    Corruption = "wrong types"  // texts are objects, numbers are texts
	Oversized     Corruption = "oversized"    // 2 MiB of blanks before the body
)

// Corruptions lists every way to spoil an answer.
func Corruptions() []Corruption {
	return []Corruption{
		NoID, NoSecret, NullFields, EmptyObject, Null, EmptyBody, CutOff, NotJSON,
		NoContentType, ErrorString, HTMLBody, WrongTypes, Oversized,
	}
}

// DropBefore drops connections before the effect.
func DropBefore(op Op, times int) Fault { return Fault{Op: op, Times: times, Drop: true} }

// DropAfter drops connections after the effect: the caller cannot know of it.
func DropAfter(op Op, times int) Fault {
	return Fault{Op: op, Times: times, Drop: true, AfterEffect: true}
}

// Answer answers a status without any effect.
func Answer(op Op, status, times int) Fault { return Fault{Op: op, Times: times, Status: status} }

// AnswerAfter answers a status after the effect.
func AnswerAfter(op Op, status, times int) Fault {
	return Fault{Op: op, Times: times, Status: status, AfterEffect: true}
}

// Limited answers 429 with Retry-After; without, if retryAfter is zero.
func Limited(op Op, retryAfter time.Duration, times int) Fault {
	return Fault{Op: op, Times: times, Status: http.StatusTooManyRequests, RetryAfter: retryAfter}
}

// Spoiled spoils successful answers.
func Spoiled(op Op, how Corruption, times int) Fault {
	return Fault{Op: op, Times: times, Corrupt: how}
}

// String says what the fault does, for Request.Fault.
func (f Fault) String() string {
	var parts []string
	add := func(is bool, part string) {
		if is {
			parts = append(parts, part)
		}
	}
	add(f.Before != nil || f.After != nil, "call")
	add(f.Latency > 0, "latency "+f.Latency.String())
	add(f.LatencyAfter > 0, "latency after "+f.LatencyAfter.String())
	add(f.Hang != NoHang, string(f.Hang))
	add(f.Drop, "drop")
	add(f.Redirect, "redirect")
	add(f.Status != 0, fmt.Sprintf("status %d", f.Status))
	add(f.AfterEffect, "after effect")
	add(f.Body != "" || f.ContentType != nil, "body")
	add(f.Corrupt != NotCorrupt, string(f.Corrupt))
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Faults are those that were injected into a server. The zero value has none. It
// is not safe for concurrent use: the server's lock guards it.
type Faults struct{ all []*injected }

// Inject adds a fault behind those that are there.
func (s *Faults) Inject(f Fault) { s.all = append(s.all, &injected{Fault: f}) }

// Clear removes all faults. Requests that hang go on hanging.
func (s *Faults) Clear() { s.all = nil }

// Take returns the fault that a request meets; the zero Fault if none. Faults that
// refuse connections and all others never take each other's place.
func (s *Faults) Take(op Op, refuse bool) (Fault, bool) {
	for _, f := range s.all {
		if f.Refuse == refuse && f.take(op) {
			return f.Fault, true
		}
	}
	return Fault{}, false
}

// injected is a Fault and how often it matched.
type injected struct {
	Fault
	skipped, used int
}

// take counts a match, and reports whether the fault meets this request.
func (f *injected) take(op Op) bool {
	if f.Op != OpAny && f.Op != op || f.Times > 0 && f.used >= f.Times {
		return false
	}
	if f.skipped < f.Skip {
		f.skipped++
		return false
	}
	f.used++
	return true
}
