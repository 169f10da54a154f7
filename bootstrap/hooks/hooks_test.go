// Package hooks_test runs the hook in repositories of git.
package hooks_test

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
)

// A repo is a repository with the hook in place, and nobody's settings.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	r := &repo{t: t, dir: t.TempDir()}
	r.git("init", "--quiet", "--initial-branch=main")
	hook, err := os.ReadFile("pre-commit")
	if err != nil {
		t.Fatal(err)
	}
	hooks := filepath.Join(r.dir, ".git", "hooks")
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hooks, "pre-commit"), hook, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *repo) try(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_EDITOR=true",
		"GIT_AUTHOR_NAME=ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *repo) git(args ...string) {
	r.t.Helper()
	if out, err := r.try(args...); err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

func (r *repo) write(name, text string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", "--", name)
}

func (r *repo) accepts() {
	r.t.Helper()
	if out, err := r.try("commit", "--quiet", "-m", "change"); err != nil {
		r.t.Errorf("a commit is refused:\n%s", out)
	}
}

// refuses wants a commit to be refused for these lines, and for no others, without any
// of the secrets.
func (r *repo) refuses(secrets []string, want ...string) {
	r.t.Helper()
	out, err := r.try("commit", "--quiet", "-m", "change")
	if err == nil {
		r.t.Fatalf("a commit is accepted, with %q", want)
	}
	var got []string
	for line := range strings.Lines(out) {
		if found, ok := strings.CutPrefix(line, "  "); ok {
			got = append(got, strings.TrimSuffix(found, "\n"))
		}
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("found:\n%q\nwant:\n%q\nin:\n%s", got, want, out)
	}
	for _, secret := range secrets {
		if strings.Contains(out, secret) {
			r.t.Error("a key is printed")
		}
	}
}

// minted are keys as the providers make them, by the kind that the hook should name.
func minted() map[string][]string {
	openAI := fakeopenai.New()
	account := openAI.PlantServiceAccount(fakeopenai.DefaultProject, "bot")
	openRouter, liteLLM, anthropic := fakeopenrouter.New(), fakelitellm.New(), fakeanthropic.New()
	liteLLM.AddTeam("team")
	return map[string][]string{
		"OpenAI admin key":           {openAI.AdminKey()},
		"OpenAI project key":         {openAI.PlantKey(fakeopenai.DefaultProject, "ada").Secret},
		"OpenAI service account key": {openAI.PlantServiceAccountKey(account.ID, "bot", 0).Secret},
		"OpenRouter key":             {openRouter.AdminKey(), openRouter.PlantKey("", "ada").Secret},
		"OpenAI or LiteLLM key":      {liteLLM.AdminKey(), liteLLM.MasterKey(), liteLLM.PlantKey("team", "", "ada").Secret, "sk-" + letters(20) + "T3BlbkFJ" + letters(20), "sk-" + urlSafe()},
		"Anthropic Admin API key":    {anthropic.AdminKey()},
		"Anthropic API key":          {anthropic.PlantKey("", "ada").Secret},
		"Anthropic token":            {"sk-ant-oat01-" + letters(60), "sk-ant-ort01-" + letters(60)},
	}
}

// letters are random, as in a key.
func letters(n int) string {
	return strings.Repeat("aB3"+rand.Text(), n)[:n]
}

// urlSafe is what LiteLLM puts behind sk-: 22 characters, with - and _ among them.
func urlSafe() string { return "h4_" + letters(8) + "-" + letters(10) }

func TestEveryKindOfKey(t *testing.T) {
	r := newRepo(t)
	for kind, secrets := range minted() {
		for _, secret := range secrets {
			r.write("config/app.env", "NAME=bot\nKEY="+secret+"\n")
			r.refuses([]string{secret}, "config/app.env:2  "+kind)
		}
	}
}

func TestWhereAKeyStands(t *testing.T) {
	secret := fakeopenai.New().PlantKey(fakeopenai.DefaultProject, "ada").Secret
	for name, text := range map[string]string{
		"alone":        secret,
		"quoted":       `key = "` + secret + `"`,
		"bearer":       "Authorization: Bearer " + secret,
		"escaped":      `"a\n` + secret + `\n"`,
		"in a URL":     "https://example.com/?key=%22" + secret,
		"lower case":   "https://example.com/?key%3d" + secret,
		"JSON":         `"{\u0022key\u0022:\u0022` + secret,
		"hexadecimal":  `key=\x27` + secret,
		"coloured":     "\x1b[0m" + secret,
		"UTF-16":       strings.Join(strings.Split("key="+secret, ""), "\x00"),
		"after a tab":  "\t\tkey:\t" + secret,
		"a header":     "++ b/" + secret,
		"a carriage":   "key=" + secret + "\r",
		"behind words": "sk-learn-compatible-estimators " + secret,
		"a long line":  strings.Repeat("x ", 100_000) + secret,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			r.write("a", "one\n"+text+"\nthree\n")
			r.refuses([]string{secret}, "a:2  OpenAI project key")
		})
	}
}

func TestNoKeys(t *testing.T) {
	r := newRepo(t)
	r.write("notes.md", strings.Join([]string{
		"from sklearn import svm  # sk-learn",
		"sk-learn-compatible-estimators-for-everything",
		"sk-proj-some-directory-with-a-long-name",
		"task-3f2a9c417be04d6a8c15e0d2f7a96b3c",
		"task-admin-dashboard-implementation-2024",
		"disk-ABCdef0123456789ABCdef0123456789",
		"sk-1234",
		"sk-proj-abc123",
		"sk-svcacct-…",
		"sk-or-v1-...",
		"sk-proj-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		"sk-ant-api03-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
		"sk-ant-api03-your-key-goes-in-this-place",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"commit 4d624830d1f0c2b5e1f2a3b4c5d6e7f8091a2b3c",
		"sk-" + strings.Repeat("\x00", 40),
	}, "\n"))
	r.accepts()
}

func TestAllowed(t *testing.T) {
	r := newRepo(t)
	secret := fakelitellm.New().AdminKey()
	r.write("a_test.go", "key = \""+secret+"\" // llm-key:allow\n")
	r.accepts()
	r.write("b_test.go", "// llm-key:allow\nkey = \""+secret+"\"\n")
	r.refuses([]string{secret}, "b_test.go:2  OpenAI or LiteLLM key")
}

func TestOddNames(t *testing.T) {
	secret := fakeopenrouter.New().AdminKey()
	for name, shown := range map[string]string{
		"-x":                  "-x",
		"a file":              "a file",
		" b ":                 " b ",
		"new\nline":           `"new\nline"`,
		"tab\there":           `"tab\there"`,
		"dir/back\\slash":     `"dir/back\\slash"`,
		`quo"te`:              `"quo\"te"`,
		"ümlaut":              "ümlaut",
		"*":                   "*",
		":(top)x":             ":(top)x",
		"$(touch run)":        "$(touch run)",
		"@@ -0,0 +1 @@":       "@@ -0,0 +1 @@",
		"of " + secret + ".x": "of sk-….x",
	} {
		t.Run(shown, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			file := filepath.Join(r.dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(secret), 0o644); err != nil {
				t.Fatal(err)
			}
			r.git("add", "--all")
			r.refuses([]string{secret}, shown+":1  OpenRouter key")
		})
	}
}

// Only what is added counts, and the line is that of the file as it will be.
func TestOnlyAddedLines(t *testing.T) {
	r := newRepo(t)
	admin, other := fakeopenai.New().AdminKey(), fakeopenai.New().AdminKey()
	r.write("a", "one\n"+admin+"\nthree\n")
	r.git("commit", "--quiet", "--no-verify", "-m", "before the hook")

	r.write("a", "zero\none\n"+admin+"\nthree\nfour\n")
	r.accepts()
	r.git("mv", "a", "moved")
	r.accepts()
	r.write("moved", "zero\none\n"+admin+"\nthree\n"+other)
	r.refuses([]string{admin, other}, "moved:5  OpenAI admin key")
	r.write("moved", "zero\none\nthree\n")
	r.accepts()
	r.git("rm", "--quiet", "moved")
	r.accepts()
}

// What is staged counts, not what lies in the directory.
func TestStaged(t *testing.T) {
	r := newRepo(t)
	secret := fakeopenai.New().AdminKey()
	r.write("a", "one\n")
	if err := os.WriteFile(filepath.Join(r.dir, "a"), []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	r.accepts()
	r.git("add", "a")
	if err := os.WriteFile(filepath.Join(r.dir, "a"), []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.refuses([]string{secret}, "a:1  OpenAI admin key")
}

// Neither a file's bytes, nor its attributes, nor the settings of the repository hide a
// key or stop the hook.
func TestBytesAndSettings(t *testing.T) {
	r := newRepo(t)
	secret := fakeopenai.New().AdminKey()
	r.write(".gitattributes", "*.lock -diff\n*.bin binary\n*.x diff=upper\n")
	r.git("config", "diff.upper.textconv", "tr a-z A-Z <")
	for _, setting := range []string{
		"color.ui=always", "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.context=5", "diff.interHunkContext=9",
		"diff.external=false", "diff.relative=true", "diff.suppressBlankEmpty=true", "core.quotePath=true", "diff.wsErrorHighlight=all",
	} {
		name, value, _ := strings.Cut(setting, "=")
		r.git("config", name, value)
	}
	noise := make([]byte, 1<<16)
	_, _ = rand.Read(noise)
	r.write("picture.bin", string(noise)+"\n")
	r.write("go.lock", "one\n\n\ntwo\n")
	r.write("a.x", "one\n")
	r.accepts()

	r.write("picture.bin", string(noise)+"\n\x00\xff "+secret+"\x00\n")
	r.write("go.lock", "1\n\n\n"+secret+"\ntwo\n")
	r.write("a.x", "one\n"+secret)
	lines := strings.Count(string(noise), "\n") + 2
	out, err := r.try("commit", "--quiet", "-m", "change")
	if err == nil || strings.Contains(out, secret) {
		t.Fatalf("accepted, or a key is printed: %v", err)
	}
	for _, want := range []string{"  a.x:2  OpenAI", "  go.lock:4  OpenAI", "  picture.bin:" + strconv.Itoa(lines) + "  OpenAI"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

// In a merge, a key that is in one parent is old, and one that is in none is new.
func TestMerge(t *testing.T) {
	r := newRepo(t)
	theirs, mine := fakeopenai.New().AdminKey(), fakeopenrouter.New().AdminKey()
	r.write("a", "one\n")
	r.accepts()
	r.git("switch", "--quiet", "-c", "branch")
	r.write("a", "two\n")
	r.write("old", theirs+"\n")
	r.git("commit", "--quiet", "--no-verify", "-m", "before the hook")
	r.git("switch", "--quiet", "main")
	r.write("a", "three\n")
	r.accepts()
	if out, err := r.try("merge", "branch"); err == nil {
		t.Fatalf("the merge has no conflict:\n%s", out)
	}
	r.write("a", "two and three\n"+mine+"\n")
	r.refuses([]string{theirs, mine}, "a:2  OpenRouter key")
	r.write("a", "two and three\n")
	r.accepts()
}

// If git cannot say what is added, there is no commit.
func TestBrokenDiff(t *testing.T) {
	r := newRepo(t)
	r.write("a", "one\n")
	r.accepts()
	old, err := r.try("rev-parse", "HEAD:a")
	if err == nil {
		err = os.Remove(filepath.Join(r.dir, ".git", "objects", old[:2], strings.TrimSpace(old[2:])))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.write("a", "two\n")
	if out, err := r.try("commit", "--quiet", "-m", "change"); err == nil {
		t.Errorf("a commit is accepted that nobody has looked at:\n%s", out)
	}
	r.git("commit", "--quiet", "--no-verify", "-m", "without the hook")
}
