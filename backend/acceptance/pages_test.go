package acceptance

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// pagesDir is the repository.
const pagesDir = "../.."

// readPages reads all pages of the documentation.
func readPages(t *testing.T) []page {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pagesDir, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	var pages []page
	for _, file := range append(files, filepath.Join(pagesDir, "README.md")) {
		name, err := filepath.Rel(pagesDir, file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPage(name, file)
		if err != nil {
			t.Error(err)
		}
		pages = append(pages, p)
	}
	return pages
}

// TestPages runs the commands of the documentation, each page's in one shell, on a
// Vault of its own where it starts one.
func TestPages(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "darwin" {
		t.Skip("programs in Go take no certificate authority from the environment on macOS, so no provider's host can be simulated")
	}
	dir := t.TempDir()
	if err := provideJQ(dir); err != nil {
		t.Fatal(err)
	}
	byScript := map[string]page{}
	var files []string
	for _, p := range readPages(t) {
		run, not := p.commands()
		t.Logf("%-24s %3d commands run, %d not", p.name, run, not)
		if run == 0 {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(p.name), ".md")
		if p.name == "docs/README.md" {
			name = "docs"
		}
		file := filepath.Join(dir, name+".txtar")
		if err := os.WriteFile(file, []byte(p.script()), 0o600); err != nil {
			t.Fatal(err)
		}
		byScript[name] = p
		files = append(files, file)
	}
	table := commandTable()
	maps.Copy(table, pageCommands())
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			p, ok := byScript[strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")]
			if !ok {
				return fmt.Errorf("no page has its script in %s", env.WorkDir)
			}
			return setUpPage(env, p, dir)
		},
		Cmds:                table,
		RequireExplicitExec: true,
	})
}

// provideJQ puts a jq into a directory, if there is none in PATH.
func provideJQ(dir string) error {
	if installed("jq") {
		return nil
	}
	cmd := exec.Command("go", "build", "-mod=readonly", "-trimpath", "-o", filepath.Join(dir, "jq"), "github.com/itchyny/gojq/cmd/gojq")
	cmd.Dir = filepath.Join(pagesDir, "scripts", "jq")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build jq: %w\n%s", err, out)
	}
	return nil
}

// A reader is who follows a page: a shell, and what the page's values are in truth.
type reader struct {
	page
	shell *shell
	dir   string
	names []string          // variables of the script, which the shell has too
	given map[string]string // what the shell has of them
	means map[string]string // what the page shows, and what is meant
	typed string            // on the terminal, for the next command
	said  string            // by the last command
	ran   int
}

type readerKey struct{}

// variableName finds the variables of the lines of a page's script.
var variableName = regexp.MustCompile(`\b[A-Z][A-Z0-9_]{2,}\b`)

func setUpPage(env *testscript.Env, p page, tools string) error {
	if err := setUp(env); err != nil {
		return err
	}
	s := env.Values[scriptKey{}].(*script)
	in, err := newInternet(env.WorkDir, s.hosts())
	if err != nil {
		return err
	}
	s.place = surroundings{plugins: filepath.Join(env.WorkDir, "plugins"), env: in.env()}
	if err := os.Mkdir(s.place.plugins, 0o755); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(plugin.dir, pluginName), filepath.Join(s.place.plugins, pluginName)); err != nil {
		return err
	}
	if err := writeShim(filepath.Join(env.WorkDir, ".bin"), s.cliLog, true); err != nil {
		return err
	}
	bootstrap, err := filepath.Abs(filepath.Join(pagesDir, "bootstrap"))
	if err == nil {
		err = os.Symlink(bootstrap, filepath.Join(env.WorkDir, "bootstrap"))
	}
	if err != nil {
		return err
	}
	env.Setenv("PLUGINS", s.place.plugins)
	env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+tools)
	r := &reader{page: p, dir: env.WorkDir, given: map[string]string{}, means: map[string]string{}}
	r.names = []string{"VAULT_ADDR", "VAULT_TOKEN"}
	for _, item := range p.items {
		r.names = append(r.names, variableName.FindAllString(strings.Join(item.script, "\n"), -1)...)
	}
	slices.Sort(r.names)
	r.names = slices.Compact(r.names)
	r.shell, err = newShell(env.WorkDir, append(in.env(), "PATH="+env.Getenv("PATH"), "HOME="+env.WorkDir, "NO_COLOR=1", "LC_ALL=C.UTF-8"))
	if err != nil {
		return err
	}
	env.Values[readerKey{}] = r
	env.Defer(func() {
		r.shell.close()
		if err := in.close(); err != nil {
			s.t.Errorf("%v", err)
		}
		if want, _ := p.commands(); r.ran != want && !s.t.Failed() {
			s.t.Errorf("%d commands were run of %d", r.ran, want)
		}
	})
	return nil
}

// hosts are those that the pages name.
func (s *script) hosts() map[string]http.Handler {
	of := func(name string) http.Handler { return s.sims[name].http.Config.Handler }
	return map[string]http.Handler{
		"api.anthropic.com":                   of(nameAnthropic),
		"api.openai.com":                      of(nameOpenAI),
		"gateway.example.com":                 of(nameOpenAI),
		"gitlab.com":                          issuerOf("https://gitlab.com"),
		"litellm.example.com":                 of(nameLiteLLM),
		"openrouter.ai":                       of(nameOpenRouter),
		"token.actions.githubusercontent.com": issuerOf("https://token.actions.githubusercontent.com"),
	}
}

// pageCommands are the words that only pages have.
func pageCommands() map[string]func(*testscript.TestScript, bool, []string) {
	table := map[string]func(*testscript.TestScript, bool, []string){}
	for name, run := range map[string]func(*reader, *testscript.TestScript, []string) error{
		"field": (*reader).cmdField,
		"means": (*reader).cmdMeans,
		"page":  (*reader).cmdPage,
		"said":  (*reader).cmdSaid,
		"save":  (*reader).cmdSave,
		"typed": (*reader).cmdTyped,
	} {
		table[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("! means nothing before %s", name)
			}
			ts.Check(run(ts.Value(readerKey{}).(*reader), ts, args))
		}
	}
	return table
}

// cmdField sets a variable to a field of what the last command said.
func (r *reader) cmdField(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("field NAME VAR")
	}
	value, ok := fields(strings.Split(r.said, "\n"))[args[0]]
	if !ok {
		return usage("field: the last command said no " + args[0])
	}
	ts.Setenv(args[1], value)
	return nil
}

// cmdMeans says what a text of the page's commands is in truth.
func (r *reader) cmdMeans(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 || args[0] == "" {
		return usage("means TEXT VALUE")
	}
	r.means[args[0]] = args[1]
	for _, item := range r.items {
		if item.show != nil && strings.Contains(item.show.text, args[0]) {
			return nil
		}
	}
	return usage("means: no command of the page shows " + args[0])
}

// cmdSaid writes what the last command said to a file.
func (r *reader) cmdSaid(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("said FILE")
	}
	return os.WriteFile(ts.MkAbs(args[0]), []byte(r.said), 0o600)
}

// cmdSave writes a text to a file, without a newline at its end.
func (r *reader) cmdSave(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("save FILE TEXT")
	}
	return os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o600)
}

// cmdTyped types a line for the next command to read.
func (r *reader) cmdTyped(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("typed TEXT")
	}
	r.typed = args[0] + "\n"
	return nil
}

// cmdPage does what an item of the page shows.
func (r *reader) cmdPage(ts *testscript.TestScript, args []string) error {
	var n int
	if _, err := fmt.Sscan(strings.Join(args, " "), &n); err != nil || n < 0 || n >= len(r.items) {
		return usage("page ITEM")
	}
	item := r.items[n]
	if item.file != nil {
		return os.WriteFile(filepath.Join(r.dir, item.file.name), []byte(r.meant(item.file.text)), 0o600)
	}
	r.ran++
	if item.needs != "" && !installed(item.needs) {
		ts.Logf("not run, for there is no %s here: %s", item.needs, item.show.text)
		return nil
	}
	if err := r.give(ts); err != nil {
		return err
	}
	command := r.meant(item.show.text)
	ts.Logf("$ %s", command)
	status, said, err := r.shell.run(command, r.typed)
	r.said, r.typed = said, ""
	ts.Logf("%s", said)
	if err != nil {
		return err
	}
	switch failed := status != 0; {
	case failed && !fails(item.show.output):
		return unmetf("it fails, with status %d, and the page shows no error", status)
	case !failed && fails(item.show.output):
		return unmetf("the page shows that it fails, and it does not")
	}
	if err := compare(item.show.output, said); err != nil {
		return err
	}
	maps.Copy(r.means, learn(item.show.output, said))
	return nil
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// meant is a text of the page with what it means.
func (r *reader) meant(text string) string {
	shown := slices.SortedFunc(maps.Keys(r.means), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, as := range shown {
		pairs = append(pairs, as, r.means[as])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// give gives the shell what changed of the script's variables.
func (r *reader) give(ts *testscript.TestScript) error {
	for _, name := range r.names {
		value := ts.Getenv(name)
		if value == r.given[name] {
			continue
		}
		r.given[name] = value
		if status, said, err := r.shell.run("export "+name+"='"+strings.ReplaceAll(value, "'", `'\''`)+"'", ""); status != 0 || err != nil {
			return fmt.Errorf("give the shell %s: %s %w", name, said, err)
		}
	}
	return nil
}

// A shell is one bash, which lives from the first command of a page to its last, as
// that of a reader who types them.
type shell struct {
	dir      string
	cmd      *exec.Cmd
	commands io.WriteCloser
	statuses *os.File
	answers  *bufio.Reader
	n        int
}

// commandTimeout is longer than any command of the engine takes.
const commandTimeout = 100 * time.Second

func newShell(work string, env []string) (*shell, error) {
	sh := &shell{dir: filepath.Join(work, ".shell")}
	if err := os.Mkdir(sh.dir, 0o700); err != nil {
		return nil, err
	}
	statuses, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	sh.statuses, sh.answers = statuses, bufio.NewReader(statuses)
	sh.cmd = exec.Command("bash", "--noprofile", "--norc")
	sh.cmd.Dir, sh.cmd.Env = work, env
	sh.cmd.ExtraFiles = []*os.File{theirs} // 3
	ownGroup(sh.cmd)
	if sh.commands, err = sh.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := spawn(sh.cmd); err != nil {
		return nil, err
	}
	_, err = io.WriteString(sh.commands, "set -o pipefail\n")
	return sh, err
}

// run runs a command, with so much on its standard input, and returns its status and
// all that it said, on standard output and error.
func (sh *shell) run(command, typed string) (status int, said string, err error) {
	sh.n++
	file := filepath.Join(sh.dir, fmt.Sprint(sh.n))
	err = errors.Join(os.WriteFile(file+".sh", []byte(command+"\n"), 0o600), os.WriteFile(file+".in", []byte(typed), 0o600))
	if err != nil {
		return 0, "", err
	}
	if _, err := fmt.Fprintf(sh.commands, ". '%[1]s.sh' 3>&- <'%[1]s.in' >'%[1]s.out' 2>&1; echo $? >&3\n", file); err != nil {
		return 0, "", err
	}
	if err := sh.statuses.SetReadDeadline(time.Now().Add(commandTimeout)); err != nil {
		return 0, "", err
	}
	line, err := sh.answers.ReadString('\n')
	out, _ := os.ReadFile(file + ".out")
	if err != nil {
		return 0, string(out), fmt.Errorf("the shell does not come back: %w", err)
	}
	_, err = fmt.Sscan(line, &status)
	return status, string(out), err
}

// close ends the shell with all that it has started.
func (sh *shell) close() {
	sh.commands.Close()
	_ = syscall.Kill(-sh.cmd.Process.Pid, syscall.SIGKILL)
	_ = sh.cmd.Wait()
	sh.statuses.Close()
}
