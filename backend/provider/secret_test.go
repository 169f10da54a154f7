package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSecretHidesInEveryFormat(t *testing.T) {
	const key = "opaque0123456789"
	values := []any{
		Secret(key), new(Secret(key)),
		[]Secret{key},
		map[string]Secret{"k": key},
		Key{ID: "key_1", Secret: key},
		&Key{Secret: key},
		Settings{AdminKey: key},
		Call{Secrets: []Secret{key}},
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%e", "%20.3s"} {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, key) || strings.Contains(strings.ToLower(got), fmt.Sprintf("%x", key)) {
				t.Errorf("%s of %T: got %s", verb, v, got)
			}
		}
		if got, err := json.Marshal(v); err != nil || strings.Contains(string(got), key) {
			t.Errorf("JSON of %T: got %s, %v", v, got, err)
		}
	}
	if Secret(key).Reveal() != key || Secret(key).String() != redacted {
		t.Error("Reveal does not reveal, or String does")
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"no such project":            "no such project",
		"  two\r\n\tlines\x00 here ": "two lines here",
		"Incorrect API key provided: sk-admin*************abcd.": "Incorrect API key provided: [redacted]",
		"send Authorization: Bearer abc.def-ghi now":             "send Authorization: [redacted] now",
		"BEARER xyz":                                "[redacted]",
		"key=sk-proj-0123456789abcdef, twice":       "key=[redacted], twice",
		"xai-0123456789 and api-0123456789":         "[redacted] and [redacted]",
		"the known opaque0123456789opaque012345678": "the known [redacted]opaque012345678",
		"longer opaque0123456789plus":               "longer [redacted]",
		"a task-manager, an sk-x":                   "a task-manager, an sk-x",
	} {
		if got := Redact(text, "opaque0123456789", "", "opaque0123456789plus"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := Redact(strings.Repeat("é", 400)); got != strings.Repeat("é", 150)+"…" {
		t.Errorf("got %d bytes %q", len(got), got)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("wrong key ", "sk-admin-0123456789abcdef", "; see the docs")
	f.Add("", "opaque0123456789", "\xff\n")
	f.Add(strings.Repeat("x", 295), "opaque0123456789", strings.Repeat("é", 9))
	f.Add("Bearer ", "0123456789abcdef", "sk-")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		got := Redact(before+secret+after, Secret(secret))
		if len(got) > maxReason+len("…") || !utf8.ValidString(got) {
			t.Errorf("got %d bytes, valid %t", len(got), utf8.ValidString(got))
		}
		if strings.ContainsFunc(got, unicode.IsControl) || got != strings.TrimSpace(got) {
			t.Errorf("got %q", got)
		}
		if keyLike(secret) && strings.Contains(got, secret) {
			t.Errorf("the secret %q is in %q", secret, got)
		}
	})
}

// keyLike reports whether s can be a key: long, and nothing but what keys hold.
func keyLike(s string) bool {
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	return len(s) >= 16 && !strings.ContainsFunc(s, odd)
}
