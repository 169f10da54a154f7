// Package docs_test holds the pages against the files that they quote.
package docs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A block of code below a comment with the name of a file, as
//
//	<!-- bootstrap/ci/gitlab-ci.yml -->
//
// is a part of that file, line for line. The file is the source: change it, then the
// page.
var quote = regexp.MustCompile("(?m)^<!-- ([a-z][^ \n]*/[^ \n]*) -->\n```[a-z]*\n((?:.*\n)*?)```$")

// comment is a comment as above, be there a block below it or not.
var comment = regexp.MustCompile("(?m)^<!-- ([a-z][^ \n]*/[^ \n]*) -->$")

func TestQuotes(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		quotes := quote.FindAllSubmatch(text, -1)
		if comments := comment.FindAll(text, -1); len(comments) != len(quotes) {
			t.Errorf("%s: %d comments with the name of a file, %d of them before a block", page, len(comments), len(quotes))
		}
		for _, found := range quotes {
			total++
			file, block := string(found[1]), found[2]
			source, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(file)))
			if err != nil {
				t.Errorf("%s: %v", page, err)
			} else if len(bytes.TrimSpace(block)) == 0 || !strings.Contains("\n"+string(source), "\n"+string(block)) {
				t.Errorf("%s: this is not a part of %s:\n%s", page, file, block)
			}
		}
	}
	if total == 0 {
		t.Error("no page quotes any file")
	}
}
