package backend

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// This file is where the examples of docs/reference.md come from: a story over all
// paths, told to the engine and its simulators. It also meets every field of every
// answer.

// An example is a request of the story as it is typed, and what the engine answered:
// JSON, or a text; empty for nothing.
type example struct{ command, answer string }

// A story records its requests. Values are what the command line sends: texts, or
// lists of them for what is given more than once.
type story struct {
	*testMount
	examples map[string][]example // by pattern
	normal   *normaliser
}

// A fromFile is a value that is given by a file.
type fromFile struct{ file, value string }

// storyBegins is the day on which the examples happen.
var storyBegins = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// tell calls told with the story's end.
func tell(t *testing.T, told func(s *story)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(storyBegins))
		m := prepareMount(t)
		m.restart()
		s := &story{testMount: m, examples: map[string][]example{}}
		s.normal = &normaliser{m: m, known: map[string]string{}}
		s.openAI()
		s.keys()
		s.statics()
		s.incident()
		s.audits()
		s.pools()
		s.others()
		s.end()
		m.checkNoSecrets()
		told(s)
	})
}

// show makes a request that must succeed, and keeps it as an example of its path.
func (s *story) show(op, path string, fields ...any) *logical.Response {
	s.t.Helper()
	sent := slices.Clone(fields)
	for i, value := range sent {
		switch value := value.(type) {
		case fromFile:
			sent[i] = value.value
		case []string:
			sent[i] = asJSON(s.t, value)
		}
	}
	resp := s.do(op, path, sent...)
	pattern := s.engine.Route(path).Pattern
	typed := command(op, path, fields)
	if resp != nil && resp.Data[logical.HTTPRawBody] != nil { // which the command line cannot read
		typed = `curl -H "X-Vault-Token: $VAULT_TOKEN" $VAULT_ADDR/v1/llm/` + path
	}
	s.examples[pattern] = append(s.examples[pattern], example{command: s.normal.text(typed), answer: s.normal.text(s.answer(resp))})
	time.Sleep(time.Second) // so that what is sorted by time is sorted
	return resp
}

// command is a request as it is typed.
func command(op, path string, fields []any) string {
	if op == "create" {
		op = "write"
	}
	words := []string{"vault", op, "llm/" + strings.TrimSuffix(path, "/")}
	for i := 0; i < len(fields); i += 2 {
		name := fields[i].(string)
		switch value := fields[i+1].(type) {
		case fromFile:
			words = append(words, name+"=@"+value.file)
		case []string:
			for _, one := range value {
				words = append(words, name+"="+quoted(one))
			}
		default:
			words = append(words, name+"="+quoted(fmt.Sprint(value)))
		}
	}
	return strings.Join(words, " ")
}

func quoted(word string) string {
	if strings.ContainsAny(word, " *") {
		return `"` + word + `"`
	}
	return word
}

// answer is an answer as JSON, but for what Vault itself adds.
func (s *story) answer(resp *logical.Response) string {
	if resp == nil {
		return ""
	}
	if raw, ok := resp.Data[logical.HTTPRawBody]; ok {
		return firstLines(fmt.Sprintf("%s", raw), 12)
	}
	shown := map[string]any{}
	if resp.Data != nil {
		shown["data"] = resp.Data
	}
	if resp.Secret != nil {
		shown["lease_duration"], shown["renewable"] = int(resp.Secret.TTL.Seconds()), resp.Secret.Renewable
	}
	if len(resp.Warnings) > 0 {
		shown["warnings"] = resp.Warnings
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(shown); err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(text.String())
}

func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > n {
		lines = append(lines[:n], "…")
	}
	return strings.Join(lines, "\n")
}

func (s *story) openAI() {
	s.knowEntity()
	s.show("create", "config/openai", "provider", "openai", "admin_key", fromFile{"admin-key", s.fake.AdminKey()}, "allowed_projects", "proj_demo")
	s.show("read", "config/openai")
	s.show("list", "config/")
	s.show("create", "roles/support/bot", "config_name", "openai", "project_id", "proj_demo", "ttl", "1h", "metadata", []string{"owner=ada", "ticket=OPS-7"})
	s.show("read", "roles/support/bot")
	s.do("create", "roles/agent", "config_name", "openai", "project_id", "proj_demo")
	s.show("list", "roles/")
	s.show("list", "roles/support/")
	s.show("list", "creds/")
	s.show("write", "rotate-root/openai")
	s.sweepFor(10 * time.Minute)
}

func (s *story) keys() {
	l := s.keep("creds/support/bot", s.show("read", "creds/support/bot", "ttl", "30m"))
	s.show("list", "keys")
	s.show("read", "keys", "role", "support/", "limit", "1")
	s.show("read", "keys/"+l.id())
	s.show("write", "lookup", "api_key", fromFile{"leaked-key", l.key()})
}

func (s *story) statics() {
	s.show("create", "static-roles/reports", "config_name", "openai", "project_id", "proj_demo", "rotation_period", "24h", "overlap", "1h")
	s.show("list", "static-roles/")
	s.show("list", "static-creds/")
	s.show("read", "static-creds/reports")
	s.show("write", "rotate-role/reports")
	s.show("read", "static-roles/reports")
}

func (s *story) incident() {
	l := s.lease("creds/support/bot")
	s.show("write", "revoke", "api_key", fromFile{"leaked-key", l.key()})
	s.show("write", "suspend/support/bot", "reason", "key in a public log", "revoke", "true")
	s.show("read", "suspend/support/bot")
	s.show("list", "suspend")
	s.do("read", "roles/support/bot")
	s.show("write", "resume/support/bot")
}

func (s *story) audits() {
	s.lease("creds/agent")
	s.fake.PlantKey("proj_demo", "ada's laptop")
	tag := s.engine.mountEntry.Tag
	s.fake.PlantKey("proj_demo", keyName(tag, "agent", newID(s.clock.now()), 100))
	s.advance(2 * time.Hour)
	s.sweep()
	s.show("read", "audit/openai", "max_idle", "60d")
	s.show("write", "tidy/openai", "dry_run", "false")
	s.show("read", "tidy-status")
}

func (s *story) pools() {
	sim := s.sim(poolShape)
	org := sim.simulator.(*fakeanthropic.Server)
	s.do("create", "config/claude", append(pairs{"provider", "anthropic-pool"}, poolShape.config(sim)...)...)
	s.do("create", "roles/claude", append(pairs{"config_name", "claude"}, poolShape.role(sim)...)...)
	key := org.PlantKey(org.Workspace(), "pool 1")
	at := "pool/claude/" + key.ID
	s.show("write", at, "api_key", fromFile{"pool-key", key.Secret}, "scope", org.Workspace())
	l := s.lease("creds/claude")
	s.show("read", at)
	s.show("list", "pool/claude")
	s.do("read", "config/claude")
	l.revoke()
}

// others meets what one provider alone answers, and what is answered seldom.
func (s *story) others() {
	for _, sh := range []shape{openRouterShape, liteLLMShape, anthropicShape} {
		s.connect(sh)
		s.lease("creds/" + sh.name)
		s.do("write", "creds/"+sh.name)
		s.do("read", "config/"+sh.name)
		s.do("read", "roles/"+sh.name)
	}
	s.federatedAdmin()
	s.do("write", "suspend/anthropic", "close", "true")

	admin, secret := s.fake.AddAdminKey()
	s.do("create", "config/gateway", "provider", "openai", "admin_key", secret, "admin_key_id", admin, "organization_id", "org-demo", "base_url", "https://gateway.example.com/v1")
	s.do("create", "roles/gateway", "config_name", "gateway", "project_id", "proj_demo")
	s.lease("creds/gateway")
	s.do("write", "creds/gateway")
	for _, op := range []string{"list", "read"} {
		s.do(op, "keys", "limit", "1")
	}
	s.do("create", "static-roles/nightly", "config_name", "gateway", "project_id", "proj_demo", "rotation_schedule", "0 3 * * *", "overlap", "1h")
	s.do("read", "static-creds/nightly")
	s.do("write", "suspend/nightly")
	s.do("read", "static-roles/nightly")
	s.do("create", "static-roles/bounded", "config_name", "litellm", "team_id", "team-blue", "rotation_period", "24h", "overlap", "1h", "models", "gpt-4.1-mini", "budget", "2", "budget_period", "day", "requests_per_minute", "60", "tokens_per_minute", "1000")
	s.do("read", "static-roles/bounded")

	s.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: 500})
	s.do("write", "revoke", "role", "gateway") // which fails, and says so
	s.fake.ClearFaults()
	s.do("delete", "config/gateway", "force", "true")
	s.do("read", "static-roles/nightly") // which does not know its provider now
}

func (s *story) end() {
	s.show("read", "info")
	s.show("read", "metrics")
	s.show("delete", "roles/agent")
	s.show("delete", "static-roles/reports", "overlap", "0")
	s.show("delete", "config/openai", "force", "true")
}

// A normaliser puts others in the place of texts that are random, the same wherever a
// text appears, and hides keys.
type normaliser struct {
	m     *testMount
	known map[string]string
}

var randomTexts = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{64}\b|\b[0-9a-f]{16}\b|\b[0-9a-v]{26}\b|\b[a-z]+_[A-Za-z0-9]{12,}\b`)

func (n *normaliser) text(text string) string {
	for _, sim := range n.m.sims {
		for _, secret := range sim.Secrets() {
			text = strings.ReplaceAll(text, secret, secretPrefix.FindString(secret)+"…")
		}
	}
	text = strings.ReplaceAll(text, n.m.engine.mountEntry.Tag, "ck68dajc")
	return randomTexts.ReplaceAllStringFunc(text, n.replacement)
}

// secretPrefix is what a key of a kind begins with.
var secretPrefix = regexp.MustCompile(`^sk-((svcacct|proj|admin|or-v1|ant-[a-z0-9]+)-)?`)

// replacement is made of how many random texts there were before it.
func (n *normaliser) replacement(random string) string {
	if known, ok := n.known[random]; ok {
		return known
	}
	sum := sha256.Sum256(fmt.Append(nil, len(n.known)))
	made := hex.EncodeToString(sum[:])
	switch kind, id, _ := strings.Cut(random, "_"); {
	case isID(random): // of the same time
		at := random[:9] // 45 bits of its 48
		made = at + lowerBase32.EncodeToString(sum[:])[:26-len(at)]
	case strings.Contains(random, "-"):
		made = fmt.Sprintf("%s-%s-4%s-8%s-%s", made[:8], made[8:12], made[13:16], made[17:20], made[20:32])
	case id != "" && strings.IndexFunc(id, func(r rune) bool { return r < 'a' || r > 'z' }) >= 0:
		made = kind + "_" + made[:min(len(id), len(made))]
	case id != "": // a word
		made = random
	default:
		made = made[:len(random)]
	}
	n.known[random] = made
	return made
}
