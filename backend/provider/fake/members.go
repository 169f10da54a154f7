package fake

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Members names those of an API's objects that faults are about.
type Members struct {
	IDs, Secrets, Times []string
	// ID and Other are two that documented objects have: what nobody documented holds
	// objects with these, too.
	ID, Other string
}

// Encode returns an answer as JSON: spoiled, and, for a number of the request that is
// not negative, with members that nobody documented.
func (m Members) Encode(answer any, how Corruption, seq int) []byte {
	answer = m.spoil(answer, how)
	if seq >= 0 {
		answer = m.grease(answer, seq)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic("bug: an answer cannot be encoded: " + err.Error())
	}
	return body
}

// grease adds members that nobody documented, which sort before and after others. What
// a caller stored comes back as it was.
func (m Members) grease(value any, seq int) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			out[name] = m.grease(member, seq)
		}
		out[fmt.Sprintf("a_grease_%x", seq%7)] = []any{nil, "né \u2028 \"quoted\" \\", map[string]any{m.ID: nil}}
		out[fmt.Sprintf("x_grease_%x", seq%5)] = map[string]any{"id": 7, m.Other: nil}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = m.grease(item, seq)
		}
		return out
	}
	return value
}

// spoil applies a corruption that concerns members, at every depth.
func (m Members) spoil(value any, how Corruption) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			isID, isSecret := slices.Contains(m.IDs, name), slices.Contains(m.Secrets, name)
			switch {
			case how == NoID && isID, how == NoSecret && isSecret:
			case how == NullFields && (isID || isSecret || slices.Contains(m.Times, name)):
				out[name] = nil
			default:
				out[name] = m.spoil(member, how)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = m.spoil(item, how)
		}
		return out
	}
	return wrongType(value, how)
}

func wrongType(value any, how Corruption) any {
	if how != WrongTypes {
		return value
	}
	switch v := value.(type) {
	case string:
		return map[string]any{"text": v}
	case bool, int, float64:
		return "perhaps"
	}
	return value
}
