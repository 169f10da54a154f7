package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// This file is how the demo looks: numbered titles, commands behind a $, results
// in two columns, no more than 100 characters wide.

const (
	indent      = "    "
	screenWidth = 100
	firstColumn = 14 // characters at least, so that all results are in line
)

// A screen prints, but never what is hidden.
type screen struct {
	out    io.Writer
	hidden string
	step   int // of the last title
}

func (s *screen) print(format string, args ...any) {
	fmt.Fprintln(s.out, redact(fmt.Sprintf(format, args...), s.hidden))
}

// title begins the next step and returns its number.
func (s *screen) title(text string) int {
	s.step++
	s.print("\n%2d  %s", s.step, text)
	return s.step
}

// command prints a command, with checksums shortened.
func (s *screen) command(name string, args ...string) {
	words := []string{name}
	for _, arg := range args {
		if sum, ok := strings.CutPrefix(arg, "-sha256="); ok {
			arg = "-sha256=" + sum[:min(12, len(sum))] + "…"
		}
		words = append(words, arg)
	}
	s.print("%s$ %s", indent, wrap(words, screenWidth-len(indent)-len("$ "), indent+"    "))
}

// text prints what a command said.
func (s *screen) text(said string) {
	for line := range strings.Lines(strings.TrimSpace(said)) {
		s.print("%s%s", indent, strings.TrimRight(line, "\n"))
	}
}

// rows prints some members of an answer, if they are not empty, and its
// warnings.
func (s *screen) rows(a answer, names ...string) {
	var rows [][]string
	for _, name := range names {
		if value := a.field(name); value != "" {
			if name == "api_key" {
				value = shorten(value)
			}
			rows = append(rows, []string{name, value})
		}
	}
	for _, warning := range a.Warnings {
		rows = append(rows, []string{"warning", warning})
	}
	s.columns(indent, rows)
}

func (s *screen) columns(indent string, rows [][]string) {
	for _, line := range align(rows) {
		s.print("%s%s", indent, line)
	}
}

// align makes lines of rows of two cells. The second column begins at least two
// blanks after the longest first cell.
func align(rows [][]string) []string {
	width := firstColumn
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[0]))
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.TrimRight(fmt.Sprintf("%-*s  %s", width, row[0], row[1]), " ")
	}
	return lines
}

// wrap joins words to lines of at most width characters, where words allow. All
// lines but the first are indented, all but the last end in a backslash.
func wrap(words []string, width int, indent string) string {
	var out strings.Builder
	used := 0
	for i, word := range words {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n+len(` \`) > width:
			out.WriteString(" \\\n" + indent)
			used = 0
		default:
			out.WriteString(" ")
			used++
		}
		out.WriteString(word)
		used += n
	}
	return out.String()
}

var keyPrefix = regexp.MustCompile(`^sk-([a-z]+-)?`)

// shorten shows what kind of key it is and its first four characters. Of a short
// one, which may be none, it shows nothing.
func shorten(key string) string {
	prefix := keyPrefix.FindString(key)
	if len(key) < len(prefix)+16 {
		return "…"
	}
	return key[:len(prefix)+4] + "…"
}

// redact shortens a secret wherever it is in a text.
func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, shorten(secret))
}

// human is a duration without the units that are zero: 15m, not 15m0s.
func human(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
