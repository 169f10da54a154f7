package fakelitellm

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
	status               int
	kind, param, message string
}

// object is LiteLLM's envelope, in which the status is a text.
func (r *refusal) object() object {
	kind, param := r.kind, r.param
	if kind == "" {
		kind = "None"
	}
	if param == "" {
		param = "None"
	}
	return object{"error": object{"message": r.message, "type": kind, "param": param, "code": strconv.Itoa(r.status)}}
}

func badRequest(param, message string) *refusal {
	return &refusal{http.StatusBadRequest, "bad_request_error", param, message}
}

func (c *call) refusalReply(r *refusal) *fake.Reply {
	return &fake.Reply{Status: r.status, ContentType: fake.JSONType, Body: c.encode(r.object())}
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
	out := &fake.Reply{Status: f.Status, ContentType: fake.JSONType, Body: []byte("{}")}
	switch {
	case f.Status == http.StatusNoContent:
		out.ContentType, out.Body = "", nil
	case f.Status >= 400:
		out.Body = c.encode((&refusal{status: f.Status, message: http.StatusText(f.Status)}).object())
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

var members = fake.Members{IDs: []string{"token", "token_id", "id"}, Secrets: []string{"key"}, Times: []string{"created_at", "expires"}, ID: "token", Other: "info"}

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
		f.refused = badRequest("", "Content-Type must be application/json")
		return f
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	if dec.Decode(&f.raw) != nil || f.raw == nil {
		f.refused = badRequest("", "Invalid JSON payload")
		return f
	}
	if _, err := dec.Token(); err != io.EOF {
		f.refused = badRequest("", "Invalid JSON payload")
	}
	return f
}

func (f *fields) refuse(param, format string, args ...any) {
	if f.refused == nil {
		f.refused = badRequest(param, fmt.Sprintf(format, args...))
	}
}

// read decodes a field. It reports whether the field was given and is neither null
// nor wrong: null is as good as nothing.
func (f *fields) read(name string, value any) bool {
	f.known[name] = true
	raw, ok := f.raw[name]
	switch {
	case !ok, string(raw) == "null":
		return false
	case json.Unmarshal(raw, value) != nil:
		f.refuse(name, "Input should be of another type: %s", name)
		return false
	}
	return true
}

// end returns the fault that was found, or refuses what no reader asked for.
func (f *fields) end() *refusal {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !f.known[name] {
			f.refuse(name, "Extra inputs are not permitted: %s", name)
		}
	}
	return f.refused
}

// query returns the query, in which only the given parameters may be, once each.
// There is no body beside it.
func (c *call) query(allowed ...string) (url.Values, *refusal) {
	if len(c.body) > 0 {
		return nil, badRequest("", "This request takes no body")
	}
	query, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return nil, badRequest("", "Invalid query")
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) || len(values) != 1 {
			return nil, badRequest(name, "Invalid query parameter: "+name)
		}
	}
	return query, nil
}

// page returns one page of items, by the page and the size of a query.
func (c *call) page(query url.Values, items []any) (any, *refusal) {
	page, size := 1, 10
	for name, into := range map[string]*int{"page": &page, "size": &size} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 1 || name == "size" && n > 100 {
			return nil, badRequest(name, "Invalid query parameter: "+name)
		}
		*into = n
	}
	if c.knobs.MaxPage > 0 {
		size = min(size, c.knobs.MaxPage)
	}
	if c.knobs.IgnorePage {
		page = 1
	}
	start := min((page-1)*size, len(items))
	return object{
		"keys":        append([]any{}, items[start:min(start+size, len(items))]...),
		"total_count": len(items), "current_page": page, "total_pages": (len(items) + size - 1) / size,
	}, nil
}
