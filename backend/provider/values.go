package provider

import "encoding/json"

// Values holds the fields that a provider declared, as an operator wrote them.
// They survive JSON: a list may have become []any. A field that was never
// written is absent and reads as its zero value.
type Values map[string]any

// String returns a string field.
func (v Values) String(name string) string {
	s, _ := v[name].(string)
	return s
}

// Bool returns a boolean field.
func (v Values) Bool(name string) bool {
	b, _ := v[name].(bool)
	return b
}

// Int returns an integer field.
func (v Values) Int(name string) int {
	switch n := v[name].(type) {
	case int:
		return n
	case float64:
		return int(n)
	case json.Number:
		i, _ := n.Int64()
		return int(i)
	}
	return 0
}

// Float returns a field that is a number.
func (v Values) Float(name string) float64 {
	switch n := v[name].(type) {
	case float64:
		return n
	case int:
		return float64(n)
	case json.Number:
		f, _ := n.Float64()
		return f
	}
	return 0
}

// Strings returns a list field. Nil means that the list is empty or was never
// written.
func (v Values) Strings(name string) []string {
	switch list := v[name].(type) {
	case []string:
		return list
	case []any:
		out := make([]string, 0, len(list))
		for _, item := range list {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
