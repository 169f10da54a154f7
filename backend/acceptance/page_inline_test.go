package acceptance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	blockForm   = regexp.MustCompile("(?ms)^ *```.*?^ *```$|<!--.*?-->")
	inlineCode  = regexp.MustCompile("`([^`]+)`")
	placeholder = regexp.MustCompile(`<[^>]*>|…`)
	inlineForm  = regexp.MustCompile(`^vault (read|write|list|delete)((?: -\S+)*) llm/(\S*)(.*)$`)
	fieldForm   = regexp.MustCompile(`(?:^| )([a-z_]+)=`)
	parameter   = regexp.MustCompile(`(?m)^ {4}([a-z_]+) \(`)
)

// Commands within a sentence or a table are not run. Their paths exist, and so do the
// fields that they give.
func TestInlineCommands(t *testing.T) {
	sv, err := newServer(t.TempDir(), 1, surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sv.destroy)
	if err := sv.first(); err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{} // fields by path
	checked := 0
	for _, p := range readPages(t) {
		text, err := os.ReadFile(filepath.Join(pagesDir, p.name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inlineCode.FindAllStringSubmatch(blockForm.ReplaceAllString(string(text), ""), -1) {
			command := strings.Join(strings.Fields(placeholder.ReplaceAllString(m[1], "x")), " ")
			parts := inlineForm.FindStringSubmatch(command)
			if parts == nil {
				continue
			}
			checked++
			path := "llm/" + strings.TrimSuffix(parts[3], "/")
			if known[path] == nil {
				known[path] = map[string]bool{}
				help, err := sv.client.Help(path)
				if err != nil {
					t.Errorf("%s: %s: %v", p.name, command, err)
					continue
				}
				for _, field := range parameter.FindAllStringSubmatch(help.Help, -1) {
					known[path][field[1]] = true
				}
			}
			for _, field := range fieldForm.FindAllStringSubmatch(parts[4], -1) {
				if !known[path][field[1]] {
					t.Errorf("%s: %s: %s has no field %q", p.name, command, path, field[1])
				}
			}
		}
	}
	t.Logf("%d commands, %d paths", checked, len(known))
	if checked < 30 {
		t.Errorf("%d commands were found in the text: are there no more?", checked)
	}
}
