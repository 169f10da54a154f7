// Package docs_test tests the pages of this directory and the README: what can be told
// without a Vault. Their commands are run by package backend/acceptance.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the pages by their paths, seen from here.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	all := map[string]string{}
	for _, file := range append(files, filepath.Join("..", "README.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(data)
	}
	return all
}

var (
	blocks = regexp.MustCompile("(?ms)^ *```.*?^ *```$|<!--.*?-->")
	code   = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	header = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	titles = strings.NewReplacer("`", "", "*", "")
	other  = regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`)
)

// anchors are what a link may name after "#": the headers, as Git hosts name them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range header.FindAllStringSubmatch(blocks.ReplaceAllString(text, ""), -1) {
		title := link.ReplaceAllString(titles.Replace(m[1]), "")
		all[strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(title), ""), " ", "-")] = true
	}
	return all
}

// TestLinks follows each link that leads to another page, a part of one or a file of
// this repository.
func TestLinks(t *testing.T) {
	all := pages(t)
	followed := 0
	for name, text := range all {
		text = code.ReplaceAllString(blocks.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			followed++
			if why := broken(all, name, m[1]); why != "" {
				t.Errorf("%s: %s: %s", filepath.Join("docs", name), m[1], why)
			}
		}
	}
	if followed < 100 {
		t.Errorf("%d links were found: are there no more?", followed)
	}
}

// broken says why a link of a page leads nowhere.
func broken(all map[string]string, from, to string) string {
	path, anchor, _ := strings.Cut(to, "#")
	file := from
	if path != "" {
		file = filepath.Join(filepath.Dir(from), path)
	}
	if _, err := os.Stat(file); err != nil {
		return "there is no such file"
	}
	if anchor == "" {
		return ""
	}
	text, ok := all[file]
	if !ok {
		data, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		text = string(data)
	}
	if !anchors(text)[anchor] {
		return "there is no such header"
	}
	return ""
}

// TestContents wants each page in the table of contents.
func TestContents(t *testing.T) {
	all := pages(t)
	for name := range all {
		if name != "README.md" && name != filepath.Join("..", "README.md") && !strings.Contains(all["README.md"], "]("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}

// A newcomer reads the README and the quick start, and types what they say.
const (
	wordsPerMinute    = 200
	secondsPerCommand = 10
	newcomerMinutes   = 10
)

// TestNewcomer wants the way from the README to a key in an application's environment
// to take less than ten minutes. The output below a command is not read.
func TestNewcomer(t *testing.T) {
	all := pages(t)
	words, commands := 0, 0
	for _, name := range []string{filepath.Join("..", "README.md"), "quickstart.md"} {
		text := all[name]
		commands += len(regexp.MustCompile(`(?m)^ *\$ `).FindAllString(text, -1))
		words += len(strings.Fields(blocks.ReplaceAllString(text, "")))
	}
	seconds := words*60/wordsPerMinute + commands*secondsPerCommand
	t.Logf("%d words, %d commands: %d min %d s", words, commands, seconds/60, seconds%60)
	if commands == 0 || seconds >= newcomerMinutes*60 {
		t.Errorf("%d words and %d commands take %d min %d s, want less than %d min", words, commands, seconds/60, seconds%60, newcomerMinutes)
	}
}

// What is broken is found to be.
func TestBroken(t *testing.T) {
	all := map[string]string{"README.md": "# A\n```text\n# not this\n```\n## What `x` is: a *test*, 2nd\n### [A link](a.md)\n"}
	for to, want := range map[string]string{
		"#a":                     "",
		"#what-x-is-a-test-2nd":  "",
		"#a-link":                "",
		"#not-this":              "there is no such header",
		"#c":                     "there is no such header",
		"docs_test.go":           "",
		"docs_test.go.old":       "there is no such file",
		"../LICENSE":             "",
		"../README.md#try-it":    "",
		"../README.md#try-that":  "there is no such header",
		"README.md#not-this-one": "there is no such header",
	} {
		if got := broken(all, "README.md", to); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}
