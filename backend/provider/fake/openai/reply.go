package fakeopenai

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const jsonType = "application/json"

// A reply is what goes over the wire.
type reply struct {
	status      int
	header      http.Header
	contentType string // left out if empty
	body        []byte
	cut         bool // half the body, then the connection drops
}

// A refusal is a 4xx or 5xx. It is answered in OpenAI's envelope, in which all
// four members are always present.
type refusal struct {
	status        int
	message, kind string
	param, code   string // null if empty
	retryAfter    time.Duration
}

func (r *refusal) object() object {
	return object{{"error", object{
		{"message", r.message},
		{"type", r.kind},
		{"param", orNull(r.param)},
		{"code", orNull(r.code)},
	}}}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (c *call) refusalReply(r *refusal) *reply {
	out := &reply{status: r.status, contentType: jsonType, body: c.encode(r.object())}
	out.retryAfter(r.retryAfter)
	return out
}

// successReply answers 200, spoiled as the call's fault wants it.
func (c *call) successReply(answer object) *reply {
	f := c.fault
	out := &reply{status: http.StatusOK, contentType: jsonType}
	out.body = c.encode(spoilObject(answer, f.Corrupt))
	out.spoil(f.Corrupt)
	out.override(f)
	return out
}

// faultReply answers the status of the call's fault.
func (c *call) faultReply() *reply {
	f := c.fault
	out := &reply{status: f.Status, contentType: jsonType, body: []byte("{}")}
	switch {
	case f.Status == http.StatusNoContent:
		out.contentType, out.body = "", nil
	case f.Status >= 400:
		out.body = c.encode(refusalOf(f.Status, bearer(c.request)).object())
	}
	out.spoil(f.Corrupt)
	out.override(f)
	return out
}

// redirectReply sends the client to where the same request works.
func (c *call) redirectReply() *reply {
	location := movedPrefix + c.request.URL.RequestURI()
	return &reply{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {location}}}
}

// override applies what a fault says of the raw answer.
func (r *reply) override(f Fault) {
	if f.Body != "" {
		r.body = []byte(f.Body)
	}
	if f.ContentType != nil {
		r.contentType = *f.ContentType
	}
	r.cut = r.cut || f.Hang == HangMidBody
	r.retryAfter(f.RetryAfter)
}

func (r *reply) retryAfter(d time.Duration) {
	if d <= 0 {
		return
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
}

// spoil applies a corruption that concerns the bytes of an answer.
func (r *reply) spoil(how Corruption) {
	switch how {
	case EmptyObject:
		r.body = []byte("{}")
	case Null:
		r.body = []byte("null")
	case EmptyBody:
		r.body = nil
	case CutOff:
		r.cut = true
	case NotJSON:
		r.body = []byte("upstream connect error or disconnect/reset before headers")
	case NoContentType:
		r.contentType = ""
	case ErrorString:
		r.body = []byte(`{"error":"internal error, please try again"}`)
	case HTMLBody:
		r.contentType = "text/html; charset=utf-8"
		r.body = []byte("<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n")
	case Oversized:
		r.body = append(bytes.Repeat([]byte(" "), 2<<20), r.body...)
	default: // the rest concern members
	}
}

// encode renders an answer, with grease.
func (c *call) encode(o object) []byte {
	if !c.knobs.NoGrease {
		o = newGrease(c.seq).object(o)
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic("bug: an answer cannot be encoded: " + err.Error())
	}
	return body
}
