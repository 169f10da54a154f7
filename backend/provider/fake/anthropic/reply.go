package fakeanthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// This file reads what a request asks for, strictly, and writes answers.

// An object is a JSON object.
type object = map[string]any

// A refusal is a 4xx or 5xx.
type refusal struct {
	status        int
	kind, message string
}

// Error is for what is done in the Console.
func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.status, r.kind, r.message) }

func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_request_error", fmt.Sprintf(format, args...)}
}

func unauthorized(message string) *refusal {
	return &refusal{http.StatusUnauthorized, "authentication_error", message}
}

func notFound() *refusal { return &refusal{http.StatusNotFound, "not_found_error", "Not found"} }

func conflict(message string) *refusal {
	return &refusal{http.StatusConflict, "invalid_request_error", message}
}

func (c *call) refusalReply(r *refusal) *fake.Reply {
	answer := object{
		"type": "error", "error": object{"type": r.kind, "message": r.message}, "request_id": c.requestID(),
	}
	return &fake.Reply{Status: r.status, ContentType: fake.JSONType, Body: c.encode(answer)}
}

// successReply is spoiled as the call's fault wants it.
func (c *call) successReply(answer any) *fake.Reply {
	out := &fake.Reply{Status: http.StatusOK, ContentType: fake.JSONType}
	out.Body = c.encodeSpoiled(answer, c.fault.Corrupt)
	out.Spoil(c.fault)
	return out
}

// faultReply answers the status of the call's fault.
func (c *call) faultReply() *fake.Reply {
	f := c.fault
	if f.Status >= 400 {
		out := c.refusalReply(&refusal{f.Status, "api_error", http.StatusText(f.Status)})
		out.Spoil(f)
		return out
	}
	out := &fake.Reply{Status: f.Status, ContentType: fake.JSONType, Body: []byte("{}")}
	if f.Status == http.StatusNoContent {
		out.ContentType, out.Body = "", nil
	}
	out.Spoil(f)
	return out
}

func (c *call) encode(answer any) []byte { return c.encodeSpoiled(answer, fake.NotCorrupt) }

func (c *call) encodeSpoiled(answer any, how fake.Corruption) []byte {
	seq := c.seq
	if c.knobs.NoGrease {
		seq = -1
	}
	return members.Encode(answer, how, seq)
}

var members = fake.Members{IDs: []string{"id"}, Secrets: []string{"access_token"}, Times: []string{"created_at", "expires_at", "expires_in"}, ID: "id", Other: "data"}

// fields are the members of a request's body. The first fault that a reader finds
// is kept in refused.
type fields struct {
	raw     map[string]json.RawMessage
	known   map[string]bool
	refused *refusal
}

// fields decodes the body, which must be a JSON object.
func (c *call) fields() *fields {
	f := &fields{known: map[string]bool{}}
	if !c.console {
		media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
		if err != nil || media != fake.JSONType {
			f.refused = badRequest("Content-Type must be application/json")
			return f
		}
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	if dec.Decode(&f.raw) != nil || f.raw == nil {
		f.refused = badRequest("Invalid JSON body")
		return f
	}
	if _, err := dec.Token(); err != io.EOF {
		f.refused = badRequest("Invalid JSON body")
	}
	return f
}

func (f *fields) refuse(format string, args ...any) {
	if f.refused == nil {
		f.refused = badRequest(format, args...)
	}
}

// read decodes a field. It reports whether the field was given and is not wrong.
// Null is wrong.
func (f *fields) read(name string, value any) bool {
	f.known[name] = true
	raw, ok := f.raw[name]
	switch {
	case !ok:
		return false
	case string(raw) == "null" || json.Unmarshal(raw, value) != nil:
		f.refuse("%s: Input should be valid", name)
		return false
	}
	return true
}

// need is read for a field that must be there.
func (f *fields) need(name string, value any) {
	if !f.read(name, value) {
		f.refuse("%s: Field required", name)
	}
}

// within descends into an object.
func (f *fields) within(name string) *fields {
	inner := &fields{known: map[string]bool{}}
	f.need(name, &inner.raw)
	inner.refused = f.refused
	return inner
}

// end returns the fault that was found, or refuses what no reader asked for.
func (f *fields) end() *refusal {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !f.known[name] {
			f.refuse("%s: Extra inputs are not permitted", name)
		}
	}
	return f.refused
}

// query returns the query, in which only the given parameters may be, once each.
// There is no body beside it.
func (c *call) query(allowed ...string) (url.Values, *refusal) {
	if len(c.body) > 0 {
		return nil, badRequest("This request takes no body")
	}
	query, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return nil, badRequest("Invalid query")
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) || len(values) != 1 {
			return nil, badRequest("Invalid query parameter: %s", name)
		}
	}
	return query, nil
}

// page is one page of objects, after the one that after_id names.
func (c *call) page(query url.Values, items []object) (any, *refusal) {
	size := 20
	if query.Has("limit") {
		var err error
		if size, err = strconv.Atoi(query.Get("limit")); err != nil || size < 1 || size > 1000 {
			return nil, badRequest("limit: Input should be between 1 and 1000")
		}
	}
	if c.knobs.PageSize > 0 {
		size = min(size, c.knobs.PageSize)
	}
	start := 0
	if after := query.Get("after_id"); after != "" && !c.knobs.IgnoreCursor {
		i := slices.IndexFunc(items, func(item object) bool { return item["id"] == after })
		if i < 0 {
			return nil, badRequest("after_id: no such object")
		}
		start = i + 1
	}
	end := min(start+size, len(items))
	data := []any{}
	for _, item := range items[start:end] {
		data = append(data, item)
	}
	out := object{"data": data, "has_more": end < len(items), "first_id": nil, "last_id": nil}
	if len(data) > 0 {
		out["first_id"], out["last_id"] = items[start]["id"], items[end-1]["id"]
	}
	return out, nil
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
