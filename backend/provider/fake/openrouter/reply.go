package fakeopenrouter

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

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// This file reads what a request asks for, strictly, and writes answers.

// An object is a JSON object.
type object = map[string]any

// A refusal is a 4xx or 5xx.
type refusal struct {
	status  int
	message string
}

func (r *refusal) object() object {
	return object{"error": object{"code": r.status, "message": r.message}, "user_id": nil}
}

func badRequest(message string) *refusal { return &refusal{http.StatusBadRequest, message} }

func notFound() *refusal { return &refusal{http.StatusNotFound, "Resource not found"} }

func (c *call) refusalReply(r *refusal) *fake.Reply {
	return &fake.Reply{Status: r.status, ContentType: fake.JSONType, Body: c.encode(r.object())}
}

// successReply is spoiled as the call's fault wants it.
func (c *call) successReply(answer any) *fake.Reply {
	out := &fake.Reply{Status: http.StatusOK, ContentType: fake.JSONType}
	if c.op == OpCreateKey || c.op == OpCreateGuardrail {
		out.Status = http.StatusCreated
	}
	out.Body = c.encodeSpoiled(answer, c.fault.Corrupt)
	out.Spoil(c.fault)
	return out
}

// faultReply answers the status of the call's fault.
func (c *call) faultReply() *fake.Reply {
	f := c.fault
	out := &fake.Reply{Status: f.Status, ContentType: fake.JSONType, Body: []byte("{}")}
	switch {
	case f.Status == http.StatusNoContent:
		out.ContentType, out.Body = "", nil
	case f.Status >= 400:
		out.Body = c.encode((&refusal{f.Status, http.StatusText(f.Status)}).object())
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

var members = fake.Members{IDs: []string{"id", "hash"}, Secrets: []string{"key"}, Times: []string{"created_at", "expires_at"}, ID: "hash", Other: "data"}

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
	media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || media != fake.JSONType {
		f.refused = badRequest("Content-Type must be application/json")
		return f
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
		f.refused = badRequest(fmt.Sprintf(format, args...))
	}
}

// read decodes a field. It reports whether the field was given and is neither null,
// where that may be, nor wrong.
func (f *fields) read(name string, nullable bool, value any) bool {
	f.known[name] = true
	raw, ok := f.raw[name]
	switch {
	case !ok, string(raw) == "null" && nullable:
		return false
	case string(raw) == "null" || json.Unmarshal(raw, value) != nil:
		f.refuse("Invalid input: %s", name)
		return false
	}
	return true
}

// end returns the fault that was found, or refuses what no reader asked for.
func (f *fields) end() *refusal {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !f.known[name] {
			f.refuse("Unrecognized key: %s", name)
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
			return nil, badRequest("Invalid query parameter: " + name)
		}
	}
	return query, nil
}

// page is one page of items, by the offset and the limit of a query.
func (c *call) page(query url.Values, items []any) (any, *refusal) {
	size := 100
	if c.knobs.PageSize > 0 {
		size = c.knobs.PageSize
	}
	offset := 0
	for name, into := range map[string]*int{"offset": &offset, "limit": &size} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 0 || name == "limit" && (n < 1 || n > 100) {
			return nil, badRequest("Invalid query parameter: " + name)
		}
		if name == "limit" {
			n = min(n, size)
		}
		*into = n
	}
	if c.knobs.IgnoreOffset {
		offset = 0
	}
	if c.knobs.NewestFirst {
		items = slices.Clone(items)
		slices.Reverse(items)
	}
	start := min(offset, len(items))
	return object{"data": append([]any{}, items[start:min(start+size, len(items))]...), "total_count": len(items)}, nil
}
