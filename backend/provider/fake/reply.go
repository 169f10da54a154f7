package fake

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// JSONType is the content type of JSON.
const JSONType = "application/json"

// MovedPrefix is where a redirect leads. What is under it must work as without it,
// so that a client that follows redirects is found out by what it did.
const MovedPrefix = "/moved"

// A Reply is what goes over the wire.
type Reply struct {
	Status      int
	Header      http.Header
	ContentType string // left out if empty
	Body        []byte
	cut         bool // half the body, then the connection drops
}

// Run takes a request through a fault and its effect, in the order that Fault
// states. It stops when the request's context ends. instead makes the answer of
// the fault's Status, effect does what was asked.
func (f Fault) Run(r *http.Request, instead, effect func() *Reply) *Reply {
	ctx := r.Context()
	act(f.Before)
	wait(ctx, f.Latency)
	if f.Hang == HangBefore {
		hang(ctx)
	}
	if f.Redirect && !strings.HasPrefix(r.URL.Path, MovedPrefix) {
		location := MovedPrefix + r.URL.RequestURI()
		return &Reply{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}}
	}
	if !f.AfterEffect {
		if other := f.instead(instead); other != nil {
			return other
		}
	}

	answer := effect()

	act(f.After)
	wait(ctx, f.LatencyAfter)
	if f.Hang == HangAfter {
		hang(ctx)
	}
	if f.AfterEffect {
		if other := f.instead(instead); other != nil {
			return other
		}
	}
	return answer
}

// instead drops the connection or returns what a fault answers in place of the
// real answer; nil if it leaves that alone.
func (f Fault) instead(answer func() *Reply) *Reply {
	if f.Drop {
		drop()
	}
	if f.Status != 0 {
		return answer()
	}
	return nil
}

// drop drops the connection.
func drop() { panic(http.ErrAbortHandler) }

// hang waits until the client has gone.
func hang(ctx context.Context) {
	<-ctx.Done()
	drop()
}

// wait lets d pass; it drops the connection if the client has gone by then.
func wait(ctx context.Context, d time.Duration) {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		drop()
	}
}

// act does what a test wants done at this moment.
func act(do func()) {
	if do != nil {
		do()
	}
}

// Send writes a reply. It is what the client sees, whole or in part.
func (r *Reply) Send(ctx context.Context, w http.ResponseWriter, f Fault) {
	header := w.Header()
	maps.Copy(header, r.Header)
	header["Content-Type"] = nil // no sniffing
	if r.ContentType != "" {
		header.Set("Content-Type", r.ContentType)
	}
	if r.Status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(r.Body)))
	}
	w.WriteHeader(r.Status)
	if !r.cut {
		_, _ = w.Write(r.Body) // the client may have gone
		return
	}
	_, _ = w.Write(r.Body[:len(r.Body)/2])
	_ = http.NewResponseController(w).Flush()
	if f.Hang == HangMidBody {
		hang(ctx)
	}
	drop()
}

// Spoil applies what a fault says of the raw answer.
func (r *Reply) Spoil(f Fault) {
	r.corrupt(f.Corrupt)
	if f.Body != "" {
		r.Body = []byte(f.Body)
	}
	if f.ContentType != nil {
		r.ContentType = *f.ContentType
	}
	r.cut = r.cut || f.Hang == HangMidBody
	r.RetryAfter(f.RetryAfter)
}

// RetryAfter adds the header, in whole seconds; none for zero.
func (r *Reply) RetryAfter(d time.Duration) {
	if d <= 0 {
		return
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
}

// corrupt applies a corruption that concerns the bytes of an answer.
func (r *Reply) corrupt(how Corruption) {
	switch how {
	case EmptyObject:
		r.Body = []byte("{}")
	case Null:
		r.Body = []byte("null")
	case EmptyBody:
		r.Body = nil
	case CutOff:
		r.cut = true
	case NotJSON:
		r.Body = []byte("upstream connect error or disconnect/reset before headers")
	case NoContentType:
		r.ContentType = ""
	case ErrorString:
		r.Body = []byte(`{"error":"internal error, please try again"}`)
	case HTMLBody:
		r.ContentType = "text/html; charset=utf-8"
		r.Body = []byte("<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n")
	case Oversized:
		r.Body = append(bytes.Repeat([]byte(" "), 2<<20), r.Body...)
	default: // the rest concern members
	}
}
