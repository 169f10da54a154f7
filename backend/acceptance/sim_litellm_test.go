package acceptance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
)

const nameLiteLLM = "litellm"

// liteLLMTeam is the team of the scripts' roles.
const liteLLMTeam = "team-blue"

// A simLiteLLM is a LiteLLM proxy with one admin and one team.
type simLiteLLM struct{ *fakelitellm.Server }

func newLiteLLM() simLiteLLM {
	proxy := fakelitellm.New()
	proxy.AddTeam(liteLLMTeam)
	return simLiteLLM{proxy}
}

func (l simLiteLLM) variables(url string) map[string]string {
	return map[string]string{
		"LITELLM_URL":        url,
		"LITELLM_ADMIN_KEY":  l.AdminKey(),
		"LITELLM_MASTER_KEY": l.MasterKey(),
		"LITELLM_TEAM":       liteLLMTeam,
	}
}

func (l simLiteLLM) ops() []fake.Op {
	return []fake.Op{
		fakelitellm.OpCreateKey, fakelitellm.OpCreateAdminKey, fakelitellm.OpUpdateKey, fakelitellm.OpDeleteKey, fakelitellm.OpReadKey,
		fakelitellm.OpReadOwnKey, fakelitellm.OpListKeys, fakelitellm.OpGetTeam, fakelitellm.OpGetUser, fakelitellm.OpListModels,
		fakelitellm.OpCompletion,
	}
}

// keys takes the names of those that are gone from the requests that made them. The
// first admin key has the alias that an operator gave it, which must not be taken for
// one of the engine's.
func (l simLiteLLM) keys() []simKey {
	known := l.asked()
	for _, k := range l.LiveKeys() {
		known[k.Secret] = simKey{name: k.Alias, live: true}
	}
	for _, k := range l.AdminKeys() {
		known[k.Secret] = simKey{name: k.Alias, live: l.Alive(k.Secret), admin: true}
	}
	var all []simKey
	for _, secret := range l.Secrets() {
		k := known[secret]
		k.id, k.secret = fakelitellm.Hash(secret), secret
		switch secret {
		case l.MasterKey():
			continue // it is in no database, and never ends
		case l.AdminKey():
			k.name, k.admin = "of the operator", true
		}
		all = append(all, k)
	}
	return all
}

// asked are the keys that somebody has asked for, by their secrets.
func (l simLiteLLM) asked() map[string]simKey {
	all := map[string]simKey{}
	for _, r := range l.Requests() {
		if r.Op != fakelitellm.OpCreateKey && r.Op != fakelitellm.OpCreateAdminKey {
			continue
		}
		var body struct {
			Key   string `json:"key"`
			Alias string `json:"key_alias"`
		}
		if json.Unmarshal([]byte(r.Body), &body) == nil {
			all[body.Key] = simKey{name: body.Alias, admin: r.Op == fakelitellm.OpCreateAdminKey}
		}
	}
	return all
}

func (l simLiteLLM) arrived() []simRequest {
	var all []simRequest
	for _, r := range l.Requests() {
		all = append(all, simRequest{op: r.Op, path: r.Path, query: r.RawQuery, status: r.Status})
	}
	return all
}

// deletes reads the body of a deletion, which is a POST.
func (l simLiteLLM) deletes(r *http.Request) string {
	if r.URL.Path != "/key/delete" {
		return ""
	}
	var body struct {
		Keys    []string `json:"keys"`
		Aliases []string `json:"key_aliases"`
	}
	if json.Unmarshal(bodyOf(r), &body) != nil {
		return ""
	}
	return strings.Join(append(body.Keys, body.Aliases...), " ")
}

// bodyOf reads a request's body, and leaves it to be read again. What is left of one
// that breaks off is an error for the next reader too.
func bodyOf(r *http.Request) []byte {
	text, err := io.ReadAll(r.Body)
	var rest io.Reader = bytes.NewReader(text)
	if err != nil {
		rest = io.MultiReader(rest, failingReader{err})
	}
	r.Body = io.NopCloser(rest)
	return text
}

// A failingReader fails.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func (l simLiteLLM) knobs(fields []string) error {
	var knobs fakelitellm.Knobs
	if err := setFields(&knobs, fields); err != nil {
		return err
	}
	l.SetKnobs(knobs)
	return nil
}

func (l simLiteLLM) plant(team, name string) simKey {
	k := l.PlantKey(team, "", name)
	return simKey{id: k.Hash, name: k.Alias, secret: k.Secret}
}

func (l simLiteLLM) words() map[string]word {
	return map[string]word{
		"admins":   l.wantAdmins,
		"complete": l.complete,
		"show":     l.show,
	}
}

func (l simLiteLLM) wantAdmins(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("admins RANGE")
	}
	var names []string
	for _, k := range l.keys() {
		if k.admin && k.live {
			names = append(names, k.name)
		}
	}
	return wantNumber("admin keys", len(names), args[0], names)
}

// complete makes a completion, which is bounded and charged.
func (l simLiteLLM) complete(_ *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return usage("complete SECRET MODEL STATUS")
	}
	if got := strconv.Itoa(l.Complete(args[0], args[1])); got != args[2] {
		return unmetf("a completion by %s is answered %s, want %s", args[1], got, args[2])
	}
	return nil
}

// show writes what the proxy knows of a live key to a file, without the key.
func (l simLiteLLM) show(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("show KEY_ID FILE")
	}
	for _, k := range l.LiveKeys() {
		if k.Hash != args[0] {
			continue
		}
		k.Secret = ""
		text, err := json.MarshalIndent(k, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(ts.MkAbs(args[1]), text, 0o600)
	}
	return unmetf("there is no live key %s", args[0])
}
