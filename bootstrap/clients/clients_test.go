// Package clients_test runs the examples beside it against simulated providers: their
// key is replaced, dies, and is wrong, and they are not started anew.
package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A plane is the data plane of a provider. Something may happen when a request has
// arrived and is not yet judged.
type plane struct {
	http.Handler
	mint func() (id, secret string)
	kill func(id string)

	mu       sync.Mutex
	statuses []int
	next     func() // at the next request, once
}

func newOpenAI() *plane {
	s := fakeopenai.New()
	return &plane{
		Handler: s,
		mint: func() (string, string) {
			k := s.PlantKey(fakeopenai.DefaultProject, "key")
			return k.ID, k.Secret
		},
		kill: func(id string) { s.DeleteKey(id) },
	}
}

func newAnthropic() *plane {
	s := fakeanthropic.New()
	return &plane{
		Handler: s,
		mint: func() (string, string) {
			k := s.PlantKey(s.Workspace(), "key")
			return k.ID, k.Secret
		},
		kill: func(id string) { s.ChangeKey(id, func(k *fakeanthropic.Key) { k.Status = "inactive" }) },
	}
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	next := p.next
	p.next = nil
	p.mu.Unlock()
	if next != nil {
		next()
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	p.Handler.ServeHTTP(seen, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statuses = append(p.statuses, seen.status)
}

// took returns what the requests since the last call were answered.
func (p *plane) took() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	statuses := p.statuses
	p.statuses = nil
	return statuses
}

func (p *plane) atNext(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = do
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// A chat is an example that runs: it answers each line with one line.
type chat struct {
	t       *testing.T
	in      io.WriteCloser
	answers chan string // of both of its outputs
}

// start starts an example. It ends with the test.
func start(t *testing.T, dir string, env []string, command ...string) *chat {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, both, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = both, both
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	both.Close()
	c := &chat{t: t, in: in, answers: make(chan string, 100)}
	go func() {
		defer close(c.answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.answers <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close() // it ends with its input
		defer time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the example ends with %v", err)
		}
		out.Close()
	})
	return c
}

// say writes a line, and wants an answer.
func (c *chat) say(want string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, "Hello?"); err != nil {
		c.t.Fatal(err)
	}
	select {
	case got, ok := <-c.answers:
		if !ok || got != want {
			c.t.Fatalf("it says %q, want %q", got, want)
		}
	case <-time.After(time.Minute):
		c.t.Fatal("it says nothing for a minute")
	}
}

// put replaces the file as Vault Agent does.
func put(t *testing.T, file, key string) {
	t.Helper()
	temporary := file + ".new"
	err := os.WriteFile(temporary, []byte(key+"\n"), 0o600)
	if err = errors.Join(err, os.Rename(temporary, file)); err != nil {
		t.Error(err) // not Fatal: the plane calls it
	}
}

const (
	answer  = "Hello."
	refused = "the key in the file is refused"
)

// hotSwap has a key replaced and die, in each order, while an example runs.
func hotSwap(t *testing.T, p *plane, file string, c *chat) {
	wantTook := func(want ...int) {
		t.Helper()
		if got := p.took(); !slices.Equal(got, want) {
			t.Errorf("its requests are answered %v, want %v", got, want)
		}
	}
	firstID, first := p.mint()
	secondID, second := p.mint()
	thirdID, third := p.mint()
	_, fourth := p.mint()

	put(t, file, first)
	c.say(answer)
	wantTook(200)

	// Replaced, then dead: nobody notices.
	put(t, file, second)
	p.kill(firstID)
	c.say(answer)
	wantTook(200)

	// Dead, and replaced while a request is under way: it is sent once again.
	p.atNext(func() { put(t, file, third); p.kill(secondID) })
	c.say(answer)
	wantTook(401, 200)

	// Dead, and not replaced: it is not.
	p.kill(thirdID)
	c.say(refused)
	wantTook(401)

	// Dead, and replaced by one that is dead: it is sent once again, and no more.
	p.atNext(func() { put(t, file, second) })
	c.say(refused)
	wantTook(401, 401)

	// And still it goes on.
	put(t, file, fourth)
	c.say(answer)
	wantTook(200)
}

// serve starts a data plane, and returns its URL and the file for its keys, with one
// that is no key.
func serve(t *testing.T, p *plane) (url, file string) {
	t.Helper()
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	file = filepath.Join(t.TempDir(), "key")
	put(t, file, "not a key")
	return srv.URL, file
}

// node returns a directory with the examples for Node and what they import. That is
// kept in bin/, where npm need not fetch it again.
func node(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the examples for Node are not run: there is no %s", program)
		}
	}
	version, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, parseErr := strconv.Atoi(major); err != nil || parseErr != nil || n < 20 {
		t.Skipf("the examples for Node are not run: node is %q, the SDKs want 20 or later", version)
	}
	sum := sha256.New()
	for _, file := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("node", file))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	dir, err := filepath.Abs(fmt.Sprintf("../../bin/test/node-%x", sum.Sum(nil)[:8]))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = copyAll("node", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this file last.
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
		return dir
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// copyAll copies the files of a directory, without what is below it.
func copyAll(from, to string) error {
	entries, err := os.ReadDir(from)
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		data, readErr := os.ReadFile(filepath.Join(from, entry.Name()))
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(to, entry.Name()), data, 0o644))
	}
	return err
}

func TestNode(t *testing.T) {
	t.Parallel()
	dir := node(t)
	t.Run("openai", func(t *testing.T) {
		t.Parallel()
		p := newOpenAI()
		url, file := serve(t, p)
		c := start(t, dir, []string{"OPENAI_BASE_URL=" + url + "/v1", "OPENAI_API_KEY_FILE=" + file}, "node", "openai.mjs")
		hotSwap(t, p, file, c)
	})
	t.Run("anthropic", func(t *testing.T) {
		t.Parallel()
		p := newAnthropic()
		url, file := serve(t, p)
		c := start(t, dir, []string{"ANTHROPIC_BASE_URL=" + url, "ANTHROPIC_API_KEY_FILE=" + file}, "node", "anthropic.mjs")
		hotSwap(t, p, file, c)
	})
	t.Run("anthropic with a token", func(t *testing.T) {
		t.Parallel()
		p := newAnthropic()
		p.Handler = asKeys{t, p.Handler}
		url, file := serve(t, p)
		c := start(t, dir, []string{"ANTHROPIC_BASE_URL=" + url, "ANTHROPIC_AUTH_TOKEN_FILE=" + file}, "node", "anthropic.mjs")
		hotSwap(t, p, file, c)
	})
}

// asKeys takes what bears a key as Anthropic takes tokens.
type asKeys struct {
	t *testing.T
	http.Handler
}

func (h asKeys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if beta := r.Header.Get("Anthropic-Beta"); !ok || !strings.Contains(beta, "oauth-2025-04-20") || r.Header.Get("X-Api-Key") != "" {
		h.t.Errorf("a token is not sent as one: bearer %t, beta %q", ok, beta)
	}
	r.Header.Del("Authorization")
	r.Header.Set("X-Api-Key", key)
	h.Handler.ServeHTTP(w, r)
}

// The lock file names no registry, so that npm uses the one that it is set up for.
func TestLockFileNamesNoHost(t *testing.T) {
	data, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(`"resolved"`)) || bytes.Contains(data, []byte("registry")) {
		t.Error("package-lock.json names a registry: npm install --omit-lockfile-registry-resolved")
	}
}

// The SDKs for Python are not there: what stands for them in testdata has their
// interface, as far as the examples use it, and nothing else.
func TestPython(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("the examples for Python are not run: there is no python3")
	}
	sdks, err := filepath.Abs("testdata/python")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + sdks}
	t.Run("openai", func(t *testing.T) {
		t.Parallel()
		p := newOpenAI()
		url, file := serve(t, p)
		c := start(t, "python", slices.Concat(env, []string{"OPENAI_BASE_URL=" + url + "/v1", "OPENAI_API_KEY_FILE=" + file}), "python3", "openai_chat.py")
		hotSwap(t, p, file, c)
	})
	t.Run("anthropic", func(t *testing.T) {
		t.Parallel()
		p := newAnthropic()
		url, file := serve(t, p)
		c := start(t, "python", slices.Concat(env, []string{"ANTHROPIC_BASE_URL=" + url, "ANTHROPIC_API_KEY_FILE=" + file}), "python3", "anthropic_chat.py")
		hotSwap(t, p, file, c)
	})
}

func TestGo(t *testing.T) {
	t.Parallel()
	p := newOpenAI()
	url, file := serve(t, p)
	binary := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./go").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c := start(t, "", []string{"OPENAI_BASE_URL=" + url + "/v1", "OPENAI_API_KEY_FILE=" + file}, binary)
	hotSwap(t, p, file, c)
}
