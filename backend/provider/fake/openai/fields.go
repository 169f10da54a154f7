package fakeopenai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strconv"
)

// This file reads what a request asks for. It is strict: unknown and repeated
// fields, wrong types and null are 400, but for the one null that is documented.

// fields are the members of a request's body. The first fault that a reader
// finds is kept in refused; later ones are dropped.
type fields struct {
	raw     map[string]json.RawMessage
	known   map[string]bool
	refused *refusal
}

// fields decodes the body, which must be a JSON object.
func (c *call) fields() *fields {
	f := &fields{known: map[string]bool{}}
	media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || media != jsonType {
		f.refused = badRequest("The request body must be JSON with the header Content-Type: application/json.", "")
		return f
	}
	if err := json.Unmarshal(c.body, &f.raw); err != nil || f.raw == nil {
		f.refused = badRequest("We could not parse the JSON body of your request. The API expects a JSON object.", "")
		return f
	}
	if twice := repeated(c.body); twice != "" {
		f.refused = badRequest(fmt.Sprintf("Duplicate parameter: '%s'.", twice), twice)
	}
	return f
}

// repeated returns a member that an object has twice, at its top level.
func repeated(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	_, _ = dec.Token() // the body is known to be an object
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return ""
		}
		if text, _ := name.(string); seen[text] {
			return text
		} else {
			seen[text] = true
		}
	}
	return ""
}

func (f *fields) refuse(r *refusal) {
	if f.refused == nil {
		f.refused = r
	}
}

// into decodes a field. It reports whether the field was given and is good.
func (f *fields) into(name, kind string, value any) bool {
	f.known[name] = true
	raw, ok := f.raw[name]
	if !ok {
		return false
	}
	if string(raw) == "null" || json.Unmarshal(raw, value) != nil {
		f.refuse(badRequestCode(fmt.Sprintf("Invalid type for '%s': expected %s.", name, kind), name, "invalid_type"))
		return false
	}
	return true
}

func (f *fields) text(name string) (value string, given bool) {
	given = f.into(name, "a string", &value)
	if given && value == "" {
		f.refuse(badRequest(fmt.Sprintf("Invalid '%s': empty string.", name), name))
	}
	return value, given
}

func (f *fields) flag(name string) (value bool) {
	f.into(name, "a boolean", &value)
	return value
}

func (f *fields) integer(name string) (value int64, given bool) {
	given = f.into(name, "an integer", &value)
	return value, given
}

// maxSeconds is the longest life that can be asked for: one year. The bounds are
// documented for admin keys (OpenAPI spec 2.3.0).
const maxSeconds = 31_536_000

const expiresIn = "expires_in_seconds"

// seconds reads expires_in_seconds.
func (f *fields) seconds() (seconds int64, given bool) {
	seconds, given = f.integer(expiresIn)
	if given && (seconds < 1 || seconds > maxSeconds) {
		f.refuse(badRequestCode(fmt.Sprintf("Invalid '%s': expected an integer from 1 to %d.", expiresIn, maxSeconds), expiresIn, "invalid_value"))
		return 0, false
	}
	return seconds, given
}

// texts reads a list of strings; an empty one is not nil.
func (f *fields) texts(name string) (value []string, given bool) {
	var items []*string
	if !f.into(name, "an array of strings", &items) {
		return nil, false
	}
	value = []string{}
	for i, item := range items {
		if item == nil || *item == "" {
			f.refuse(badRequestCode(fmt.Sprintf("Invalid '%s[%d]': expected a string.", name, i), name, "invalid_type"))
			return nil, false
		}
		value = append(value, *item)
	}
	return value, true
}

// allowNull takes a null as if the field were left out.
func (f *fields) allowNull(name string) {
	if string(f.raw[name]) == "null" {
		delete(f.raw, name)
	}
}

// require refuses a request that leaves a field out.
func (f *fields) require(name string) {
	if _, ok := f.raw[name]; !ok {
		f.refuse(badRequestCode(fmt.Sprintf("Missing required parameter: '%s'.", name), name, "missing_required_parameter"))
	}
}

// end returns the fault that was found, or refuses what no reader asked for.
func (f *fields) end() *refusal {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !f.known[name] {
			f.refuse(badRequestCode(fmt.Sprintf("Unknown parameter: '%s'.", name), name, "unknown_parameter"))
		}
	}
	return f.refused
}

// noBody refuses a body where none belongs.
func (c *call) noBody() *refusal {
	if len(c.body) > 0 {
		return badRequest("This request takes no body.", "")
	}
	return nil
}

// query returns the query, in which only the given parameters may be, once each.
func (c *call) query(allowed ...string) (url.Values, *refusal) {
	query, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The query could not be parsed.", "")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(allowed, name):
			return nil, badRequestCode(fmt.Sprintf("Unknown parameter: '%s'.", name), name, "unknown_parameter")
		case len(query[name]) > 1:
			return nil, badRequest(fmt.Sprintf("Duplicate parameter: '%s'.", name), name)
		}
	}
	return query, nil
}

// oneOf reads a parameter that has few values; the first is its default.
func oneOf(query url.Values, name string, values ...string) (string, *refusal) {
	if !query.Has(name) {
		return values[0], nil
	}
	value := query.Get(name)
	if value == "" || !slices.Contains(values, value) {
		return "", badRequestCode(fmt.Sprintf("Invalid value for '%s'.", name), name, "invalid_value")
	}
	return value, nil
}

// limit reads the size of a page: 1 to 100, 20 if it is not given.
func limit(query url.Values) (int, *refusal) {
	if !query.Has("limit") {
		return 20, nil
	}
	n, err := strconv.Atoi(query.Get("limit"))
	if err != nil || n < 1 || n > 100 {
		return 0, badRequestCode("Invalid 'limit': expected an integer from 1 to 100.", "limit", "invalid_value")
	}
	return n, nil
}
