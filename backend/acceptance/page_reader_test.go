package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each of these pages has commands that would not be run, or a directive without an
// effect: it is refused.
func TestPagesRefused(t *testing.T) {
	for _, test := range []struct{ name, text, reason string }{
		{"an indented block", "    $ vault read llm/info\n", "an indented block of commands"},
		{"one in a list", "1. Do:\n\n        $ vault read llm/info\n", "an indented block of commands"},
		{"a block of nothing", "```\nvault read llm/info\n```\n", `a block of ""`},
		{"a block of sh", "```sh\nvault read llm/info\n```\n", `a block of "sh"`},
		{"no prompt", "```console\nvault read llm/info\n```\n", "does not begin with a command"},
		{"no end", "```console\n$ vault read llm/info\n", "a block without an end"},
		{"an unknown comment", "<!-- rum: vaultd start -->\n", "a comment that is not run:"},
		{"a comment without a reason", "<!-- not run: -->\n```console\n$ true\n```\n", "a comment that is not run:"},
		{"a comment about nothing", "<!-- not run: it must not -->\nText.\n", "is about the block right below it"},
		{"one at the end", "<!-- not run: it must not -->\n", "is about no block"},
		{"two comments", "<!-- not run: it must not -->\n<!-- needs: curl -->\n", "is about the block right below it"},
		{"a file that is a console", "<!-- file: a -->\n```console\n$ true\n```\n", `"file" means nothing to a block of "console"`},
		{"a text that is not run", "<!-- not run: it must not -->\n```text\na\n```\n", `"not run" means nothing to a block of "text"`},
		{"a quotation of commands", "<!-- bootstrap/agent/run.sh -->\n```console\n$ true\n```\n", `"quote" means nothing`},
		{"a world that is not", "<!-- run: with nobody -->\n", "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := readText(t, test.text); err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v, want %q", err, test.reason)
			}
		})
	}
}

func readText(t *testing.T, text string) (page, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readPage("page.md", file)
}

// A command is what a shell takes for one.
func TestPageCommands(t *testing.T) {
	p, err := readText(t, "<!-- needs: curl -->\n```console\n$ echo \\\n    a\nsaid\n$ jq '.a\n  | .b'\n$ cat <<E\nx\nE\nx\n```\n\n"+
		"<!-- bootstrap/agent/run.sh -->\n```sh\ntrue\n```\n\n1. <!-- no comment of ours, for it does not begin the line -->\n\n   <!-- not run: why -->\n   ```console\n   $ make\n   made\n   ```\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, item := range p.items {
		got = append(got, item.show.text+" > "+strings.Join(item.show.output, "|")+" > "+item.needs+item.why)
	}
	want := []string{"echo \\\n    a > said > curl", "jq '.a\n  | .b' >  > curl", "cat <<E\nx\nE > x > curl", "make > made > why"}
	if strings.Join(got, "\n--\n") != strings.Join(want, "\n--\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n--\n"), strings.Join(want, "\n--\n"))
	}
	if run, not := p.commands(); run != 3 || not != 1 {
		t.Errorf("%d commands run and %d not, want 3 and 1", run, not)
	}
}

// What a page shows is compared with what there is.
func TestCompare(t *testing.T) {
	const table = "Key        Value\n---        -----\nkey_id     key_abcdefghijkl1\nrevoked    2\nttl        719h59m59s\n"
	const warned = "WARNING! The following:\n\n  * 2 keys issued before may still\n  work\n\n" + table
	const list = "Keys                          role    state\n----                          ----    -----\n06gvq3ceuf0sec9m2v8qvr0d6k    agent   active\n"
	for _, test := range []struct{ name, shown, said, reason string }{
		{"nothing", "", table, ""},
		{"all", table, table, ""},
		{"another id", "key_id    key_zyxwvutsrqpon2\nrevoked   2\nttl   720h", table, ""},
		{"no such field", "key_ids    key_abcdefghijkl1\n…", table, `a field "key_ids"`},
		{"a field too few", "revoked    2", table, `does not show the field "key_id"`},
		{"a part", "…\nrevoked    2", table, ""},
		{"another value", "…\nrevoked    3", table, `that revoked is "3"; it is "2"`},
		{"a value in part", "key_id   key_…\n…", table, ""},
		{"another form", "key_id   req_…\n…", table, `that key_id is "req_…"`},
		{"a warning, broken elsewhere", "* 2 keys issued\nbefore may still work", warned, ""},
		{"another warning", "* 3 keys issued", warned, "not in the output"},
		{"a list, with a column left out", "Keys    state\n----   -----\n06gvq3ceuf0sec9m2v8qvr0d6l    active", list, ""},
		{"a list of other columns", "Keys    owner", list, "a line of a list"},
		{"a list of other lines", "Keys    state\n06gvq3ceuf0sec9m2v8qvr0d6l    revoking", list, "a line of a list"},
		{"a text", `{"time": "2026-11-21T07:41:26Z"}`, `{"time": "2025-01-02T03:04:05.678Z"}`, ""},
		{"another text", "Success!", "Failure!", "not in the output"},
	} {
		err := compare(strings.Split(test.shown, "\n"), test.said)
		if (err == nil) != (test.reason == "") || err != nil && !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v, want %q", test.name, err, test.reason)
		}
	}
}

func TestFails(t *testing.T) {
	for shown, want := range map[string]bool{
		"Code: 403. Errors:":         true,
		"* name: there is no role":   true,
		"Error writing data to":      true,
		"  * 2 keys may still work":  false,
		"Success! Data written to: ": false,
	} {
		if got := fails([]string{"…", shown}); got != want {
			t.Errorf("%q: %t", shown, got)
		}
	}
}

func TestLearn(t *testing.T) {
	for _, test := range []struct{ shown, said, as, is string }{
		{"key_id    key_shown123456", "Key   Value\nkey_id    key_real1234567", "key_shown123456", "key_real1234567"},
		{"[06gvq3ceuf0sec9m2v8qvr0d6k]", "[06gvq3ceuf0sec9m2v8qvr0d6l]", "06gvq3ceuf0sec9m2v8qvr0d6k", "06gvq3ceuf0sec9m2v8qvr0d6l"},
		{
			"Keys    state\n06gvq3ceuf0sec9m2v8qvr0d6k    active", "Keys    role   state\n06gvq3ceuf0sec9m2v8qvr0d6l    agent    active",
			"06gvq3ceuf0sec9m2v8qvr0d6k", "06gvq3ceuf0sec9m2v8qvr0d6l",
		},
	} {
		if got := learn(strings.Split(test.shown, "\n"), test.said); len(got) != 1 || got[test.as] != test.is {
			t.Errorf("%s: %v", test.shown, got)
		}
	}
}

// A shell keeps its variables, tells how a command ended, and what it said.
func TestShell(t *testing.T) {
	sh, err := newShell(t.TempDir(), []string{"PATH=" + os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sh.close)
	for _, test := range []struct {
		command, typed string
		status         int
		said           string
	}{
		{"A=1; echo said; echo loud >&2", "", 0, "said\nloud\n"},
		{"echo $A; false", "", 1, "1\n"},
		{"false | true", "", 1, ""},
		{"read -r B; echo $B", "typed\n", 0, "typed\n"},
		{"cat", "", 0, ""},
	} {
		status, said, err := sh.run(test.command, test.typed)
		if status != test.status || said != test.said || err != nil {
			t.Errorf("%s: %d, %q, %v", test.command, status, said, err)
		}
	}
	if _, _, err := sh.run("exit", ""); err == nil {
		t.Error("a shell that has ended comes back")
	}
}
