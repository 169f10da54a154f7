package provider

import (
	"encoding/json"
	"slices"
	"testing"
)

// Values read the same before and after storage, with either way of decoding
// numbers.
func TestValuesSurviveJSON(t *testing.T) {
	in := Values{"text": "a", "flag": true, "number": 7, "list": []string{"x", "y"}, "empty": []string{}}
	stored, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Values
	if err := json.Unmarshal(stored, &out); err != nil {
		t.Fatal(err)
	}
	for _, v := range []Values{in, out} {
		if v.String("text") != "a" || !v.Bool("flag") || v.Int("number") != 7 ||
			!slices.Equal(v.Strings("list"), []string{"x", "y"}) || len(v.Strings("empty")) != 0 {
			t.Errorf("got %v", v)
		}
	}
	if n := (Values{"number": json.Number("7")}).Int("number"); n != 7 {
		t.Errorf("got %d, want 7", n)
	}
}

// What was never written, or has another type, reads as the zero value.
func TestValuesOfOtherTypes(t *testing.T) {
	for _, v := range []Values{nil, {}, {"x": nil}, {"x": map[string]any{}}, {"x": []any{1, nil}}, {"x": json.Number("1.5")}} {
		if v.String("x") != "" || v.Bool("x") || v.Int("x") != 0 || len(v.Strings("x")) != 0 {
			t.Errorf("%v: got %q, %t, %d, %q", v, v.String("x"), v.Bool("x"), v.Int("x"), v.Strings("x"))
		}
	}
}
