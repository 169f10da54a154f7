package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file holds requests to what is stored and read back. The framework turns
// numbers into strings, trims lists and ignores what it does not know; here that
// is refused, so that a read returns what was written.
//
//   - An unknown field is refused by name, and so is one that belongs in the path.
//   - A string must be a string, an entry of a list has no blanks around it, a
//     duration is in whole seconds.
//   - Null clears a string and counts as absent everywhere else.

// secretFields are read from files that editors end with a newline. They are never read
// back, so to leave that out changes nothing that anybody could see.
var secretFields = []string{"admin_key", "api_key"}

// trimSecrets takes one newline off the end of each secret.
func trimSecrets(data map[string]any) {
	for _, name := range secretFields {
		if text, ok := data[name].(string); ok {
			data[name] = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		}
	}
}

// checkInput refuses data that does not fit the fields of a path.
func checkInput(path *framework.Path, data map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(data)) {
		schema := path.Fields[name]
		if schema == nil {
			return unknownField(name, path.Fields)
		}
		if strings.Contains(path.Pattern, "(?P<"+name+">") {
			return badField(name, "is a part of the path; leave it out of the data")
		}
		if data[name] == nil {
			continue
		}
		if err := checkValue(name, schema.Type, data[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkValue(name string, kind framework.FieldType, value any) error {
	switch kind {
	case framework.TypeString, framework.TypeNameString:
		if _, ok := value.(string); !ok {
			return badField(name, "is %s; give a string", describe(value))
		}
	case framework.TypeBool:
		if value == "" { // Vault's policies let it through, whatever values they allow
			return badField(name, "is empty; give true or false")
		}
		if _, err := parseutil.ParseBool(value); err != nil {
			return badField(name, "is %s; give true or false", describe(value))
		}
	case framework.TypeInt:
		if !isWhole(value) {
			return badField(name, "is %s; give a whole number", describe(value))
		}
	case framework.TypeFloat:
		if f, err := strconv.ParseFloat(fmt.Sprint(value), 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return badField(name, "is %s; give a number", describe(value))
		}
	case framework.TypeDurationSecond:
		return checkDuration(name, value)
	case framework.TypeCommaStringSlice:
		return checkList(name, value)
	case framework.TypeKVPairs:
		return checkPairs(name, value)
	}
	return nil
}

// isWhole reports whether a value is a whole number, as JSON, the command line or
// the plugin protocol, which makes floats of numbers, may write it.
func isWhole(value any) bool {
	if f, ok := value.(float64); ok {
		return f == math.Trunc(f)
	}
	_, err := strconv.Atoi(fmt.Sprint(value))
	return err == nil
}

func checkDuration(name string, value any) error {
	d, err := parseutil.ParseDurationSecond(value)
	switch {
	case err != nil:
		return badField(name, "is %s; give seconds, or a duration such as 90s, 15m or 1h", describe(value))
	case d < 0:
		return badField(name, "is negative; give zero or more seconds")
	case d%time.Second != 0:
		return badField(name, "is %s; give whole seconds", describe(value))
	}
	return nil
}

func checkList(name string, value any) error {
	var items []string
	switch v := value.(type) {
	case string:
		if v != "" {
			items = strings.Split(v, ",")
		}
	case []string:
		items = v
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return badField(name, "has an entry that is %s; give strings", describe(item))
			}
			items = append(items, s)
		}
	default:
		return badField(name, "is %s; give a list of strings", describe(value))
	}
	for _, item := range items {
		if item == "" || item != strings.TrimSpace(item) {
			return badField(name, "has the entry %q; give entries that are not empty and have no blanks around them", item)
		}
	}
	return nil
}

func checkPairs(name string, value any) error {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if _, ok := v[key].(string); !ok {
				return badField(name, "has %s under %q; give strings", describe(v[key]), key)
			}
		}
	case map[string]string:
	case string: // one pair on the command line
		return checkPair(name, v)
	case []any: // several
		for _, item := range v {
			pair, ok := item.(string)
			if !ok {
				return badField(name, "has an entry that is %s; give key=value", describe(item))
			}
			if err := checkPair(name, pair); err != nil {
				return err
			}
		}
	default:
		return badField(name, "is %s; give a map of strings", describe(value))
	}
	return nil
}

func checkPair(name, pair string) error {
	if key, _, ok := strings.Cut(pair, "="); !ok || key == "" {
		return badField(name, "has the entry %q; give key=value", pair)
	}
	return nil
}

// describe names a value without showing it: it may be a secret in the wrong
// field.
func describe(value any) string {
	switch value.(type) {
	case string:
		return "a string that does not fit"
	case bool:
		return "a boolean"
	case json.Number, int, int64, float64:
		return "a number that does not fit"
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return "of an unknown type"
}

func unknownField(name string, fields map[string]*framework.FieldSchema) error {
	for _, known := range slices.Sorted(maps.Keys(fields)) {
		if distance(name, known) <= 2 {
			return badRequest(fmt.Sprintf("unknown field %q; did you mean %q?", name, known))
		}
	}
	if len(fields) == 0 {
		return badRequest(fmt.Sprintf("unknown field %q; this path takes none", name))
	}
	return badRequest(fmt.Sprintf("unknown field %q; known are %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", ")))
}

// distance is the number of letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// seconds is a duration as it is stored and read: whole seconds.
type seconds int64

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }

// given reports whether a request has a value for the field.
func given(d *framework.FieldData, name string) bool {
	value, ok := d.Raw[name]
	return ok && (value != nil || d.Schema[name].Type == framework.TypeString)
}

// set copies a field of the request, if it is given, to where it is stored.
func set[T any](d *framework.FieldData, name string, into *T) {
	if !given(d, name) {
		return
	}
	if d.Raw[name] == nil {
		*into = *new(T)
		return
	}
	if value, ok := d.Get(name).(T); ok {
		*into = value
	}
}

// setSeconds is set for durations, within bounds.
func setSeconds(d *framework.FieldData, name string, into *seconds, least, most time.Duration) error {
	if !given(d, name) {
		return nil
	}
	value := seconds(d.Get(name).(int))
	switch {
	case value.duration() < least:
		return badField(name, "%s is below the minimum of %s", value.duration(), least)
	case value.duration() > most:
		return badField(name, "%s is above the maximum of %s", value.duration(), most)
	}
	*into = value
	return nil
}

// setInt is set for numbers, within bounds.
func setInt(d *framework.FieldData, name string, into *int, least, most int) error {
	if !given(d, name) {
		return nil
	}
	value := d.Get(name).(int)
	if value < least || value > most {
		return badField(name, "%d is out of range; give %d to %d", value, least, most)
	}
	*into = value
	return nil
}

// setProviderFields copies the fields that p declares, and refuses those of
// other providers.
func setProviderFields(d *framework.FieldData, all, own map[string]*framework.FieldSchema, p provider.Provider, into provider.Values) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !given(d, name) {
			continue
		}
		if own[name] == nil {
			return badField(name, "is not a field of provider %q; leave it out", p.Name())
		}
		if d.Raw[name] == nil {
			delete(into, name)
			continue
		}
		into[name] = d.Get(name)
	}
	return nil
}

// providerFields shows every field that a provider declares, with its default, or its
// zero value, if it was never written.
func providerFields(own map[string]*framework.FieldSchema, values provider.Values, into map[string]any) {
	for name, schema := range own {
		if _, written := values[name]; !written && schema.Default != nil {
			into[name] = schema.Default
			continue
		}
		switch schema.Type {
		case framework.TypeBool:
			into[name] = values.Bool(name)
		case framework.TypeInt:
			into[name] = values.Int(name)
		case framework.TypeFloat:
			into[name] = values.Float(name)
		case framework.TypeCommaStringSlice:
			into[name] = nonNil(values.Strings(name))
		default:
			into[name] = values.String(name)
		}
	}
}

// nonNilMap makes an empty map read as {} and not as null.
func nonNilMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// nonNil makes an empty list read as [] and not as null.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
