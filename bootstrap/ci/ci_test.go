// Package ci_test checks what jobs read from the engine, and that they leave no key
// behind. backend/acceptance runs the jobs' commands.
package ci_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// audience is what the login wants a job's identity to be for.
const audience = "https://vault.example.com"

// strict reads a file without unknown fields.
func strict(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// The fields are those of GitLab's reference, as far as the file uses them.
func TestGitLab(t *testing.T) {
	var jobs map[string]struct {
		IDTokens  map[string]struct{ Aud string } `yaml:"id_tokens"`
		Variables map[string]string
		Secrets   map[string]struct {
			Vault struct {
				Engine      struct{ Name, Path string }
				Path, Field string
			}
			File  *bool
			Token string
		}
		Script      []string
		AfterScript []string `yaml:"after_script"`
	}
	strict(t, "gitlab-ci.yml", &jobs)
	if len(jobs) != 2 {
		t.Errorf("there are %d jobs, want 2", len(jobs))
	}
	for name, job := range jobs {
		if job.IDTokens["VAULT_ID_TOKEN"].Aud != audience {
			t.Errorf("%s: its identity is for %q, want %q", name, job.IDTokens["VAULT_ID_TOKEN"].Aud, audience)
		}
		if !slices.Contains(job.Script, "./summarize") {
			t.Errorf("%s: it does nothing with its key", name)
		}
	}

	if last := jobs["summarize"].AfterScript; !slices.Equal(last, []string{`VAULT_TOKEN="$(cat .vault-token)" vault token revoke -self; rm -f .vault-token`}) {
		t.Errorf("summarize: it ends with %q, and so leaves its key behind", last)
	}
	by := jobs["summarize-by-secrets"]
	secret := by.Secrets["OPENAI_API_KEY"]
	if got := secret.Vault.Engine.Name + " " + secret.Vault.Engine.Path + "/" + secret.Vault.Path + " " + secret.Vault.Field; got != "generic llm/creds/ci api_key" {
		t.Errorf("summarize-by-secrets: it reads %q", got)
	}
	if secret.File == nil || *secret.File || secret.Token != "$VAULT_ID_TOKEN" {
		t.Error("summarize-by-secrets: its variable does not hold the key, or it does not log in with its identity")
	}
	if by.Variables["VAULT_SERVER_URL"] != audience || by.Variables["VAULT_AUTH_PATH"] != "gitlab" || by.Variables["VAULT_AUTH_ROLE"] != "ci" {
		t.Errorf("summarize-by-secrets: it logs in by %v", by.Variables)
	}
}

// A step is one of a job of GitHub Actions.
type step struct {
	Uses, Run, If string
	With          struct {
		URL, Method, Path, Role string
		JWTGithubAudience       string `yaml:"jwtGithubAudience"`
		ExportToken             bool   `yaml:"exportToken"`
		Secrets                 string
	}
}

// The fields are those of GitHub's reference, as far as the file uses them, and the
// inputs those of hashicorp/vault-action (action.yml, 3.4.0).
func TestGitHub(t *testing.T) {
	var workflow struct {
		Name string
		On   struct{ Push struct{ Branches []string } }
		Jobs map[string]struct {
			RunsOn      string `yaml:"runs-on"`
			Permissions map[string]string
			Env         map[string]string
			Steps       []step
		}
	}
	strict(t, "github-actions.yml", &workflow)
	want := map[string][]string{
		"summarize":                 {"llm/creds/ci api_key | OPENAI_API_KEY", "llm/creds/ci project_id | OPENAI_PROJECT_ID"},
		"summarize-with-static-key": {"llm/static-creds/ci-shared api_key | OPENAI_API_KEY"},
	}
	if len(workflow.Jobs) != len(want) {
		t.Errorf("there are %d jobs, want %d", len(workflow.Jobs), len(want))
	}
	for name, job := range workflow.Jobs {
		if job.Permissions["id-token"] != "write" {
			t.Errorf("%s: it may not ask for its identity", name)
		}
		at := slices.IndexFunc(job.Steps, func(s step) bool { return strings.HasPrefix(s.Uses, "hashicorp/vault-action@v3") })
		if at < 0 {
			t.Errorf("%s: no step reads a key", name)
			continue
		}
		with := job.Steps[at].With
		if login := fmt.Sprint(with.URL, with.Method, with.Path, with.Role, with.JWTGithubAudience); login != fmt.Sprint(audience, "jwt", "github", "ci", audience) {
			t.Errorf("%s: it logs in by %s", name, login)
		}
		if got := regexp.MustCompile(`\s*;?\n`).Split(strings.TrimSpace(with.Secrets), -1); !slices.Equal(got, want[name]) {
			t.Errorf("%s: it reads %q, want %q", name, got, want[name])
		}
		last := job.Steps[len(job.Steps)-1]
		revokes := last.If == "always()" && strings.Contains(last.Run, "$VAULT_ADDR/v1/auth/token/revoke-self") && job.Env["VAULT_ADDR"] == audience
		if lease := name == "summarize"; revokes != lease || with.ExportToken != lease {
			t.Errorf("%s: it revokes its token: %t; it keeps it for that: %t; want %t", name, revokes, with.ExportToken, lease)
		}
	}
}
