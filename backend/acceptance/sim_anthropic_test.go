package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

const nameAnthropic = "anthropic"

// A simAnthropic is an Anthropic organization. It serves both providers: that of
// tokens, and that of pools.
type simAnthropic struct {
	*fakeanthropic.Server
	issuers []string // ids of those that were made in the Console
}

func newAnthropic() *simAnthropic { return &simAnthropic{Server: fakeanthropic.New()} }

func (a *simAnthropic) variables(url string) map[string]string {
	return map[string]string{
		"ANTHROPIC_URL":       url,
		"ANTHROPIC_ADMIN_KEY": a.AdminKey(),
		"ANTHROPIC_ORG":       a.OrganizationID(),
		"ANTHROPIC_WORKSPACE": a.Workspace(),
	}
}

func (a *simAnthropic) ops() []fake.Op { return fakeanthropic.Ops() }

// tokenPrefix begins every token.
const tokenPrefix = "sk-ant-oat"

// keys are keys and tokens, the Admin API key, and the public keys of issuers, whose
// secrets nobody here knows. Of tokens that have ended nothing is known but the secret;
// those of the engine itself are among them, for they never open the data plane.
func (a *simAnthropic) keys() []simKey {
	all := []simKey{{name: "of the operator", secret: a.AdminKey(), live: true, admin: true}}
	for _, k := range a.Keys() {
		all = append(all, simKey{id: k.ID, name: k.Name, secret: k.Secret, live: k.Status == "active"})
	}
	live := map[string]fakeanthropic.Token{}
	for _, t := range a.LiveTokens() {
		live[t.Secret] = t
	}
	for _, secret := range a.Secrets() {
		if !strings.HasPrefix(secret, tokenPrefix) {
			continue
		}
		t, alive := live[secret]
		all = append(all, simKey{name: recordOf(t), secret: secret, live: alive, token: true})
	}
	for _, id := range a.issuers {
		for _, kid := range a.kids(id) {
			all = append(all, simKey{id: id, name: kid, live: true, admin: true})
		}
	}
	return all
}

// kids are the ids of an issuer's public keys.
func (a *simAnthropic) kids(issuer string) []string {
	var kids []string
	for _, raw := range a.IssuerKeys(issuer) {
		var k struct{ Kid string }
		_ = json.Unmarshal(raw, &k) // the simulator has read it
		kids = append(kids, k.Kid)
	}
	return kids
}

// recordOf is the id of the record of a token: the assertion's own, or what precedes a
// dot in it.
func recordOf(t fakeanthropic.Token) string {
	jti, _ := t.Claims["jti"].(string)
	id, _, _ := strings.Cut(jti, ".")
	return id
}

func (a *simAnthropic) arrived() []simRequest {
	var all []simRequest
	for _, r := range a.Requests() {
		all = append(all, simRequest{op: r.Op, path: r.Path, query: r.RawQuery, status: r.Status})
	}
	return all
}

const anthropicKeysPath = "/v1/organizations/api_keys/"

// deletes reads the body of a change to a key: to switch it off is what makes it
// useless.
func (a *simAnthropic) deletes(r *http.Request) string {
	id, ok := strings.CutPrefix(r.URL.Path, anthropicKeysPath)
	if !ok || r.Method != http.MethodPost {
		return deletedPath(r)
	}
	var body struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(bodyOf(r), &body) != nil || body.Status == "" || body.Status == "active" {
		return ""
	}
	return id
}

// DeleteKey archives a key, as the Console's Delete does, or an issuer, and with it its
// public keys.
func (a *simAnthropic) DeleteKey(id string) bool {
	if i := slices.Index(a.issuers, id); i >= 0 && a.ArchiveIssuer(id) == nil {
		a.issuers = slices.Delete(a.issuers, i, i+1)
		return true
	}
	return a.ChangeKey(id, func(k *fakeanthropic.Key) { k.Status = "archived" })
}

func (a *simAnthropic) knobs(fields []string) error {
	var knobs fakeanthropic.Knobs
	if err := setFields(&knobs, fields); err != nil {
		return err
	}
	a.SetKnobs(knobs)
	return nil
}

func (a *simAnthropic) plant(workspace, name string) simKey {
	k := a.PlantKey(workspace, name)
	return simKey{id: k.ID, name: k.Name, secret: k.Secret}
}

func (a *simAnthropic) words() map[string]word {
	return map[string]word{
		"account":  a.account,
		"archived": a.wantArchived,
		"issuer":   a.issuer,
		"member":   a.wantMember,
		"public":   a.wantPublic,
		"rule":     a.rule,
		"told":     a.told,
		"tokens":   a.wantTokens,
	}
}

// account makes a service account that is a member of the workspace.
func (a *simAnthropic) account(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("account NAME VAR")
	}
	id := a.CreateServiceAccount(args[0])
	a.AddMember(a.Workspace(), id)
	ts.Setenv(args[1], id)
	return nil
}

// issuer makes an issuer of what a read of the connection shows.
func (a *simAnthropic) issuer(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("issuer FILE VAR")
	}
	id, err := a.CreateIssuer(ts.ReadFile(args[0]))
	if err != nil {
		return usage("issuer: " + err.Error())
	}
	a.issuers = append(a.issuers, id)
	ts.Setenv(args[1], id)
	return nil
}

// rule makes a rule of what a read of the role or the connection shows, with what
// stands in angle brackets replaced.
func (a *simAnthropic) rule(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 || len(args)%2 != 0 {
		return usage("rule FILE VAR [PLACEHOLDER VALUE]...")
	}
	body := ts.ReadFile(args[0])
	for i := 2; i < len(args); i += 2 {
		if !strings.Contains(body, args[i]) {
			return usage("rule: " + args[0] + " does not hold " + strconv.Quote(args[i]))
		}
		body = strings.ReplaceAll(body, args[i], args[i+1])
	}
	id, err := a.CreateRule(body)
	if err != nil {
		return usage("rule: " + err.Error())
	}
	ts.Setenv(args[1], id)
	return nil
}

func (a *simAnthropic) wantArchived(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 || args[1] != "true" && args[1] != "false" {
		return usage("archived RULE_ID true|false")
	}
	return wantSame("archived", args[1], strconv.FormatBool(a.RuleArchived(args[0])))
}

func (a *simAnthropic) wantMember(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 || args[1] != "true" && args[1] != "false" {
		return usage("member ACCOUNT_ID true|false")
	}
	return wantSame("member", args[1], strconv.FormatBool(a.IsMember(a.Workspace(), args[0])))
}

func wantSame(what, want, got string) error {
	if got != want {
		return unmetf("%s: it is %s, want %s", what, got, want)
	}
	return nil
}

// wantPublic counts the public keys of an issuer.
func (a *simAnthropic) wantPublic(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("public ISSUER_ID RANGE")
	}
	kids := a.kids(args[0])
	return wantNumber("public keys", len(kids), args[1], kids)
}

// told sets a variable to a claim of the assertion for a live token, or to the id of
// the key that signed it.
func (a *simAnthropic) told(ts *testscript.TestScript, args []string) error {
	if len(args) != 3 {
		return usage("told TOKEN CLAIM|kid VAR")
	}
	for _, t := range a.LiveTokens() {
		if t.Secret != args[0] {
			continue
		}
		if args[1] == "kid" {
			ts.Setenv(args[2], t.Kid)
			return nil
		}
		value, ok := t.Claims[args[1]]
		if !ok {
			return unmetf("the assertion says nothing of %s", args[1])
		}
		ts.Setenv(args[2], fmt.Sprint(value))
		return nil
	}
	return unmetf("no such token is alive")
}

func (a *simAnthropic) wantTokens(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage("tokens RANGE")
	}
	var records []string
	for _, t := range a.LiveTokens() {
		records = append(records, recordOf(t))
	}
	return wantNumber("live tokens", len(records), args[0], records)
}
