package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// An assertion that cannot fail asserts nothing. Each of these scripts must fail,
// for the reason given. What asks a running Vault is tested by harness.txtar.
func TestCommandsFail(t *testing.T) {
	for _, test := range []struct{ name, script, reason string }{
		{"accounts", "fake accounts $PROJECT 1", "there are 0, want 1"},
		{"admin alive", "fake revoke admin\nfake admin alive", "admin key is dead"},
		{"admin dead", "fake admin dead", "admin key is alive"},
		{"admin of what is not", "fake admin undead", "fake admin alive|dead|new"},
		{"admins", "fake admins 2", "admin keys: there are 1, want 2"},
		{"admins, after a deletion", "fake revoke admin\nfake admins 1", "admin keys: there are 0, want 1"},
		{"age", "fake age key_nothing 1h", "nothing with the id key_nothing"},
		{"age, no duration", "fake age key_nothing yesterday", "fake age: time: invalid duration"},
		{"alive", "json keys .0 KEY\nfake alive $KEY", "never made the key"},
		{"alive, negated", "! fake alive x", "! means nothing before fake"},
		{"apart", "apart 2026-01-02T03:04:05Z 2026-01-02T03:04:15Z 5s 9s", "10s apart"},
		{"await", "await 300ms fake live 1", "not within 300ms: live keys: there are 0, want 1"},
		{"await a mistake", "await 1h fake live one", `"one" is not a range`},
		{"await a program", "await 300ms exec false", "not within 300ms: false: exit status 1"},
		{"await a program that must fail", "await 300ms ! exec true", "not within 300ms: true succeeds"},
		{"await nothing", "await 300ms waltz", `unknown command "waltz"`},
		{"build", "build 0.9.0 SUM", "build VERSION VAR"},
		{"churn", "churn 1 llm/creds/agent 1 llm/rotate-root/openai", "after vaultd start"},
		{"clean", "clean leaked", "leaked holds a secret: the key is <SECRET>"},
		{"clean, empty", "clean empty", "empty is empty"},
		{"clean, negated", "! clean keys", "clean keys holds, and must not"},
		{"crash", "crash node", "after vaultd start"},
		{"count", "fake count create_key 1", "requests create_key: there are 0, want 1"},
		{"count of what is not", "fake count mint_key 0", `"mint_key" is not an operation`},
		{"dead", "fake dead sk-nothing", "never made the key"},
		{"delete", "fake delete key_nothing", "there is no key key_nothing"},
		{"follow", "follow 1 llm/static-creds/app 1 llm/rotate-role/app", "after vaultd start"},
		{"http", "http 200 GET llm/keys", "after vaultd start"},
		{"inject", "fake inject create_key Tmies=1", `no field "Tmies"`},
		{"inject an operation", "fake inject mint_key Times=1", `"mint_key" is not an operation`},
		{"inject a value", "fake inject create_key Times=once", "Times of fake.Fault"},
		{"json", "json keys .1 KEY", "there is no 1"},
		{"json, null", "json object .none KEY", ".none is missing or null"},
		{"json, not there", "json object .a.b KEY", ".a.b is missing or null"},
		{"kept", "kept", "after a storm"},
		{"known", "known", "after vaultd start"},
		{"leader", "vaultd leader FIRST", "it does not run"},
		{"live", "fake live 1", "live keys: there are 0, want 1"},
		{"live, no range", "fake live ..", `".." is not a range`},
		{"minted", "fake plant $PROJECT ada ID\nfake minted 0", "minted keys: there are 1, want 0"},
		{"orphan", "fake orphan vault-nothing ID", "there never was a key of the name"},
		{"orphan of a person", "fake plant $PROJECT vault-tag-06gvq3ianiqc8j4dl3ts2jb9l4 ID\nfake orphan vault-tag-06gvq3ianiqc8j4dl3ts2jb9l4 ID", "is in no service account"},
		{"other", "fake other 1", "connections to $OTHER_URL: there are 0, want 1"},
		{"pause", "vaultd pause", "it does not run"},
		{"plant", "fake plant $PROJECT ada ID KEY\nfake alive $KEY\nfake delete $ID\nfake alive $KEY", "key ada is dead"},
		{"records", "records llm 0", "after vaultd start"},
		{"resume", "vaultd resume", "it does not run"},
		{"sim", "sim openrouter live 1", "live keys: there are 0, want 1"},
		{"sim, a word that is not its own", "sim openrouter accounts $PROJECT 0", `"accounts" is not a word of openrouter`},
		{"sim, alive", "sim openrouter plant $OPENROUTER_WORKSPACE ada ID KEY\nsim openrouter delete $ID\nsim openrouter alive $KEY", "key ada is dead"},
		{"sim, dead", "sim openrouter plant $OPENROUTER_WORKSPACE ada ID KEY\nsim openrouter dead $KEY", "key ada is alive"},
		{"sim, dead elsewhere", "fake plant $PROJECT ada ID KEY\nsim openrouter dead $KEY", "never made the key"},
		{"sim, count", "sim openrouter count list_keys 1", "requests list_keys: there are 0, want 1"},
		{"sim, inject", "sim openrouter inject create_admin_key Times=1", `"create_admin_key" is not an operation`},
		{"sim, knobs", "sim openrouter knobs HideFor=soon", "HideFor of fakeopenrouter.Knobs"},
		{"sim, minted", "sim openrouter plant $OPENROUTER_WORKSPACE ada ID\nsim openrouter minted 0", "minted keys: there are 1, want 0"},
		{"sim, negated", "! sim openrouter live 1", "! means nothing before sim"},
		{"sim anthropic, account", "sim anthropic account", "account NAME VAR"},
		{"sim anthropic, archived", "sim anthropic archived fdrl_1 true", "archived: it is false, want true"},
		{"sim anthropic, issuer", "sim anthropic issuer object ID", "issuer: "},
		{"sim anthropic, live", "sim anthropic plant $ANTHROPIC_WORKSPACE ada ID\nsim anthropic live 0", "live keys: there are 1, want 0"},
		{"sim anthropic, member", "sim anthropic account bot ID\nsim anthropic member $ID false", "member: it is true, want false"},
		{"sim anthropic, public", "sim anthropic public fdis_1 1", "public keys: there are 0, want 1"},
		{"sim anthropic, rule", "sim anthropic rule object ID", "rule: "},
		{"sim anthropic, rule without a placeholder", "sim anthropic rule object ID <issuer> fdis_1", `does not hold "<issuer>"`},
		{"sim anthropic, told", "sim anthropic told sk-ant-oat01-nothing kid ID", "no such token is alive"},
		{"sim anthropic, tokens", "sim anthropic tokens 1", "live tokens: there are 0, want 1"},
		{"sim litellm, admins", "sim litellm admins 0", "admin keys: there are 1, want 0"},
		{"sim litellm, complete", "sim litellm complete $LITELLM_ADMIN_KEY gpt-4.1 401", "is answered 200, want 401"},
		{"sim litellm, dead", "sim litellm dead $LITELLM_ADMIN_KEY", "key of the operator is alive"},
		{"sim litellm, minted", "sim litellm plant $LITELLM_TEAM ada ID\nsim litellm minted 0", "minted keys: there are 1, want 0"},
		{"sim litellm, show", "sim litellm show 0a0b out", "there is no live key 0a0b"},
		{"fake restore", "fake restore keys", "fake restore: json: cannot unmarshal"},
		{"fake save", "fake save", "fake save FILE"},
		{"restore", "vaultd restore keys", "it does not run"},
		{"save", "vaultd save backup", "it does not run"},
		{"signing", "signing 0", "after vaultd start"},
		{"sim of nobody", "sim acme live 0", `"acme" is not one of [`},
		{"start", "vaultd start none", "vaultd kill|leader"},
		{"start, of nothing", "vaultd start 0", "vaultd kill|leader"},
		{"step down", "vaultd step-down", "it does not run"},
		{"stop", "vaultd stop", "it does not run"},
		{"storm", "storm 1 llm/creds/agent 0", "after vaultd start"},
		{"within", "within 3 4..5", "there are 3, want 4..5"},
		{"within, from below", "within 3 ..2", "there are 3, want ..2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			output := failing(t, test.script)
			if !strings.Contains(output, test.reason) {
				t.Errorf("it fails for another reason than %q:\n%s", test.reason, output)
			}
		})
	}
}

// What holds at the end of every script can fail too.
func TestDeletionsByTwo(t *testing.T) {
	var d deletions
	d.begin("/a")
	d.begin("/b")
	d.end("/a")
	d.begin("/a")
	if err := d.apart(); err != nil {
		t.Errorf("one after the other: %v", err)
	}
	d.begin("/b")
	if err := d.apart(); err == nil || !strings.Contains(err.Error(), "two at once:\n/b") {
		t.Errorf("two at once: %v", err)
	}
}

// What a body asks to delete is seen, and the body is there for who serves it.
func TestDeletionsInBodies(t *testing.T) {
	for _, test := range []struct{ provider, path, body, want string }{
		{nameLiteLLM, "/key/delete", `{"keys":["0a0b"]}`, "0a0b"},
		{nameLiteLLM, "/key/generate", `{"keys":["0a0b"]}`, ""},
		{nameAnthropic, "/v1/organizations/api_keys/apikey_1", `{"status":"inactive"}`, "apikey_1"},
		{nameAnthropic, "/v1/organizations/api_keys/apikey_1", `{"status":"archived"}`, "apikey_1"},
		{nameAnthropic, "/v1/organizations/api_keys/apikey_1", `{"status":"active"}`, ""},
		{nameAnthropic, "/v1/organizations/api_keys/apikey_1", `{"name":"ada"}`, ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.path, strings.NewReader(test.body))
		if got := simulations[test.provider]().deletes(r); got != test.want {
			t.Errorf("%s %s: it deletes %q, want %q", test.path, test.body, got, test.want)
		}
		if rest, err := io.ReadAll(r.Body); string(rest) != test.body || err != nil {
			t.Errorf("%s %s: left of the body: %q, %v", test.path, test.body, rest, err)
		}
	}
}

// Nor is the end of a script blind to any provider: a secret in the URL of a request
// is found, and so is a secret in a text.
func TestSimulations(t *testing.T) {
	for name, simulate := range simulations {
		t.Run(name, func(t *testing.T) {
			sim := newSimulator(simulate())
			t.Cleanup(sim.close)
			s := &script{sims: map[string]*simulator{name: sim}}
			if err := s.checkLogs(); err != nil {
				t.Errorf("before any request: %v", err)
			}
			secret := sim.Secrets()[0]
			resp, err := http.Get(sim.http.URL + "/" + secret)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := s.checkLogs(); err == nil || !strings.Contains(err.Error(), "a request to "+name) {
				t.Errorf("a secret in a URL: %v", err)
			}
			if err := s.checkText("a text", []byte("the key is "+secret)); !unmet(err) {
				t.Errorf("a secret in a text: %v", err)
			}
		})
	}
}

func TestFindSecret(t *testing.T) {
	secrets := []string{"sk-admin-abc", "sk-abcdef", "eyJ-abc", "private"}
	for _, test := range []struct {
		text     string
		at, size int
	}{
		{"", 0, 0},
		{"sk-", 0, 0},
		{"sk-abcdeg", 0, 0},
		{"sk-abcdef", 0, 9},
		{"sk-sk-abcdef", 3, 9},
		{"an sk-admin-abcd", 3, 12},
		{"sk-abcde eyJ-abc", 9, 7},
		{"a \"private\" key", 3, 7},
	} {
		at, size := findSecret([]byte(test.text), secrets)
		if at != test.at || size != test.size {
			t.Errorf("%q: %d, %d; want %d, %d", test.text, at, size, test.at, test.size)
		}
	}
}

// What asks Vault is in harness.txtar.
func TestKept(t *testing.T) {
	openAI := newOpenAI()
	sim := newSimulator(openAI)
	t.Cleanup(sim.close)
	alive := sim.plant(openAI.project(), "alive").secret
	dead := sim.plant(openAI.project(), "dead")
	sim.DeleteKey(dead.id)
	for _, test := range []struct {
		lease stormLease
		want  string
	}{
		{stormLease{secret: dead.secret, fate: held}, "which a caller holds, is dead"},
		{stormLease{secret: alive, fate: returned}, "which was given back, is alive"},
		{stormLease{secret: dead.secret, fate: returned}, ""},
		{stormLease{secret: alive, fate: unsure}, ""},
		{stormLease{secret: dead.secret, fate: unsure}, ""},
	} {
		err := (&script{sims: map[string]*simulator{nameOpenAI: sim}, stormed: []*stormLease{&test.lease}}).kept()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.lease.fate, err, test.want)
		}
	}
}

// files are there for the scripts of this test.
const files = `
-- keys --
["sk-svcacct-never"]
-- empty --
-- object --
{"none": null, "a": 1}
`

// failing runs a script, which must fail, and returns what it printed.
func failing(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "failing.txtar")
	if err := os.WriteFile(file, []byte("leak leaked\n"+text+"\n"+files), 0o600); err != nil {
		t.Fatal(err)
	}
	cmds := commandTable()
	cmds["leak"] = func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("the key is "+ts.Getenv("ADMIN_KEY")), 0o600))
	}
	var log recorder
	log.TB = t
	log.Run("", func(inner testscript.T) {
		testscript.RunT(inner, testscript.Params{Files: []string{file}, Setup: setUp, Cmds: cmds})
	})
	if !log.failed {
		t.Fatalf("the script succeeds:\n%s", log.text.String())
	}
	return log.text.String()
}

// A recorder is a testscript.T, and a testing.TB, whose failure is an outcome.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	text   strings.Builder
	failed bool
}

func (r *recorder) Log(args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(&r.text, args...)
}

func (r *recorder) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Logf(format string, args ...any)   { r.Log(fmt.Sprintf(format, args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.Logf(format, args...); r.fail() }
func (r *recorder) Fatal(args ...any)                 { r.Log(args...); r.FailNow() }
func (r *recorder) FailNow()                          { r.fail(); runtime.Goexit() }
func (r *recorder) Parallel()                         {}
func (r *recorder) Verbose() bool                     { return true }

// Run runs f to its end, on a goroutine that FailNow may end.
func (r *recorder) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
}
