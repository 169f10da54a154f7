package openai

import (
	"regexp"
	"strings"

	"vault-plugin-secrets-llm/backend/provider"
)

// redactedForm is what OpenAI shows of a key: its beginning, a mask, and three
// characters or more of its end.
var redactedForm = regexp.MustCompile(`^([A-Za-z0-9_-]*)(?:\.{2,}|\*{2,}|…)([A-Za-z0-9_-]{3,})$`)

// compare reports whether a key has the ends that are shown of one, and whether
// that says anything: what shows nothing of a key, or all, does not. The mask
// stands for one character at least.
func compare(key provider.Secret, shown string) (same, telling bool) {
	ends := redactedForm.FindStringSubmatch(shown)
	if ends == nil {
		return false, false
	}
	same = len(ends[1])+len(ends[2]) < len(key) &&
		strings.HasPrefix(key.Reveal(), ends[1]) && strings.HasSuffix(key.Reveal(), ends[2])
	return same, true
}
