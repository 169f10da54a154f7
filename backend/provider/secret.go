package provider

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A Secret is key material. It prints as "[redacted]" in every format and in
// JSON, so that it cannot reach a log or an answer by accident. What sees
// through that: fmt in an unexported field of a struct, JSON in a map's key.
type Secret string

const redacted = "[redacted]"

// Reveal returns the key itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String hides the key.
func (s Secret) String() string { return redacted }

// Format hides the key from every verb of package fmt, wrong ones included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the key from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// keyShaped matches what looks like a credential of any provider: a bearer
// header, or a token with a key's prefix, masked in part or not.
var keyShaped = regexp.MustCompile(`(?i)(bearer\s+\S+|\b(sk|pk|rk|xai|key|api)-[a-z0-9*._-]{6,})`)

// wholeKey matches a key that is whole, and nothing that a person would choose as
// a name.
var wholeKey = regexp.MustCompile(`\b(sk|xai)-[A-Za-z0-9_-]{16,}`)

// HideKeys replaces what looks like a whole key in a text of our own: an operator
// may have pasted one into the wrong field, and errors repeat what was given.
func HideKeys(text string) string { return wholeKey.ReplaceAllString(text, redacted) }

// maxReason bounds a provider's words in an error, in bytes.
const maxReason = 300

// Redact makes a provider's words fit to be shown: known secrets and all that
// looks like a key are replaced, control characters and line breaks become
// blanks, and the text is cut to a length that a person reads.
func Redact(text string, secrets ...Secret) string {
	longestFirst := func(a, b Secret) int { return cmp.Compare(len(b), len(a)) }
	for _, s := range slices.SortedFunc(slices.Values(secrets), longestFirst) { // one may hold another
		if s != "" {
			text = strings.ReplaceAll(text, s.Reveal(), redacted)
		}
	}
	text = keyShaped.ReplaceAllString(text, redacted)
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
