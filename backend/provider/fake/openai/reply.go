package fakeopenai

import (
	"encoding/json"
	"net/http"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

const jsonType = fake.JSONType

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

func (c *call) refusalReply(r *refusal) *fake.Reply {
	out := &fake.Reply{Status: r.status, ContentType: jsonType, Body: c.encode(r.object())}
	out.RetryAfter(r.retryAfter)
	return out
}

// successReply answers 200, spoiled as the call's fault wants it.
func (c *call) successReply(answer object) *fake.Reply {
	out := &fake.Reply{Status: http.StatusOK, ContentType: jsonType}
	out.Body = c.encode(spoilObject(answer, c.fault.Corrupt))
	out.Spoil(c.fault)
	return out
}

// faultReply answers the status of the call's fault.
func (c *call) faultReply() *fake.Reply {
	f := c.fault
	out := &fake.Reply{Status: f.Status, ContentType: jsonType, Body: []byte("{}")}
	switch {
	case f.Status == http.StatusNoContent:
		out.ContentType, out.Body = "", nil
	case f.Status >= 400:
		out.Body = c.encode(refusalOf(f.Status, bearer(c.request)).object())
	}
	out.Spoil(f)
	return out
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
