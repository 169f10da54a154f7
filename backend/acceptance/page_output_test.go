package acceptance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file compares what a page shows below a command with what the command says.
//
//   - Ids, times, tags, addresses and secrets differ from run to run: only their form
//     is compared. "…" stands for anything.
//   - A table of fields shows each field that there is, and no other, unless a line is
//     "…"; then those that it shows must exist. Their values are compared.
//   - The lines of a list may leave columns out.
//   - Any other line must be a part of the output. Where it is broken does not count.
//   - A command fails if the page shows an error below it, and only then.

// blurs are what differs from run to run, and what is compared instead.
var blurs = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`https?://(127\.0\.0\.1|localhost):\d+`), "<url>"},
	{regexp.MustCompile(`\b(key|apikey|req|fdis|fdrl|svac|wrkspc)_[0-9A-Za-z]{6,}`), "<$1>"},
	{regexp.MustCompile(`\bsk-[-0-9A-Za-z]{6,}`), "<secret>"},
	{regexp.MustCompile(`hmac-sha256:[0-9a-f]{4,}…?`), "<hmac>"},
	{regexp.MustCompile(`\b[0-9a-v]{26}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b`), "<hex>"},
	{regexp.MustCompile(`vault-[0-9a-z]{8}-`), "vault-<tag>-"},
	{regexp.MustCompile(`(/)[0-9A-Za-z]{24}\b`), "$1<lease>"},
	{regexp.MustCompile(`\bv\d+\.\d+\.\d+(-[0-9a-z]+)?\b`), "<version>"},
}

// blur replaces what differs from run to run, and every run of spaces by one.
func blur(text string) string {
	for _, b := range blurs {
		text = b.form.ReplaceAllString(text, b.name)
	}
	words := strings.Fields(text)
	for i, word := range words {
		if d, err := time.ParseDuration(word); err == nil && d > 2*time.Minute {
			words[i] = fmt.Sprint(d.Round(time.Minute)) // it counts down
		}
	}
	return strings.Join(words, " ")
}

// A row is a line of a table of fields.
var row = regexp.MustCompile(`^([A-Za-z_][-.\w]*) {2,}(\S.*)$`)

// fields are the rows of a table as the command line prints it, with their values.
func fields(lines []string) map[string]string {
	all := map[string]string{}
	for _, line := range lines {
		if m := row.FindStringSubmatch(line); m != nil && m[1] != "Key" {
			all[m[1]] = strings.TrimSpace(m[2])
		}
	}
	return all
}

const anything = "…"

// anyLines reports whether a line stands for any number of lines.
func anyLines(line string) bool { return strings.TrimSpace(line) == anything }

// The header of a table of fields.
var fieldsHeader = regexp.MustCompile(`^Key +Value$`)

// compare reports what a page shows and a command does not say.
func compare(shown []string, said string) error {
	lines := strings.Split(said, "\n")
	var table map[string]string
	if slices.ContainsFunc(lines, fieldsHeader.MatchString) {
		table = fields(lines)
	}
	whole := blur(said)
	seen, list := map[string]bool{}, false
	for _, line := range shown {
		if anyLines(line) || strings.TrimSpace(line) == "" {
			continue
		}
		if m := row.FindStringSubmatch(line); m != nil && table != nil && m[1] != "Key" {
			value, ok := table[m[1]]
			if !ok {
				return unmetf("the page shows a field %q; there are %v", m[1], slices.Sorted(maps.Keys(table)))
			}
			if !like(m[2], value) {
				return unmetf("the page shows that %s is %q; it is %q", m[1], m[2], value)
			}
			seen[m[1]] = true
			continue
		}
		list = list || listHeader.MatchString(line)
		if list && !slices.ContainsFunc(lines, listLine(line).MatchString) {
			return unmetf("the page shows a line of a list, %q, and there is none with these columns, in this order", line)
		}
		if !list && !contains(whole, line) {
			return unmetf("the page shows %q, which is not in the output", line)
		}
	}
	if len(seen) == 0 || slices.ContainsFunc(shown, anyLines) {
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(table)) {
		if !seen[field] {
			return unmetf("the page does not show the field %q, and has no line that is %q", field, anything)
		}
	}
	return nil
}

// The header of vault list -detailed.
var (
	listHeader = regexp.MustCompile(`^Keys {2,}`)
	column     = regexp.MustCompile(` {2,}`)
)

// listLine is what a line of a list stands for: it may leave columns out.
func listLine(shown string) *regexp.Regexp {
	var columns []string
	for _, text := range column.Split(strings.TrimSpace(shown), -1) {
		columns = append(columns, unblurred(text))
	}
	return regexp.MustCompile("^" + strings.Join(columns, ".* ") + " *$")
}

// unblurred is what a text stands for in an output as it is.
func unblurred(text string) string {
	if text == "" || strings.Trim(text, "-") == "" {
		return "-+"
	}
	quoted := pattern(text)
	for _, b := range blurs {
		quoted = strings.ReplaceAll(quoted, regexp.QuoteMeta(b.name), b.form.String())
	}
	return quoted
}

// pattern is what a shown text stands for.
func pattern(shown string) string {
	parts := strings.Split(blur(shown), anything)
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return strings.Join(parts, ".*")
}

func like(shown, value string) bool {
	blurred := blur(value)
	return regexp.MustCompile("^"+pattern(shown)+"$").MatchString(blurred) ||
		strings.Contains(shown, anything) && regexp.MustCompile("^"+pattern(shown)+"$").MatchString(value)
}

func contains(blurred, shown string) bool {
	return regexp.MustCompile(pattern(shown)).MatchString(blurred)
}

// An error of the command line, which a warning, indented, is not.
var errorLine = regexp.MustCompile(`^(Code: \d{3}|Error |\* )`)

// fails reports whether a page shows an error.
func fails(shown []string) bool { return slices.ContainsFunc(shown, errorLine.MatchString) }

// An id is what a reader would copy from an answer into the next command.
var idForm = regexp.MustCompile(`^[-_/.0-9A-Za-z]{12,}$`)

// learn returns what stands for which id: where the page shows one, the command said
// another.
func learn(shown []string, said string) map[string]string {
	known := map[string]string{}
	note := func(as, is string) {
		if as != is && idForm.MatchString(as) && idForm.MatchString(is) && strings.ContainsAny(as, "0123456789") {
			known[as] = is
		}
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range shown {
		if i := slices.IndexFunc(lines, listLine(line).MatchString); listHeader.MatchString(lines[0]) && i >= 0 {
			note(strings.Fields(line)[0], strings.Fields(lines[i])[0])
		}
	}
	table := fields(lines)
	for as, value := range fields(shown) {
		note(value, table[as])
	}
	if len(shown) != len(lines) {
		return known
	}
	// Not a table, but the same lines: word by word.
	for i := range shown {
		these, those := strings.Fields(strings.Trim(shown[i], "[]")), strings.Fields(strings.Trim(lines[i], "[]"))
		if len(these) != len(those) {
			continue
		}
		for j := range these {
			note(these[j], those[j])
		}
	}
	return known
}
