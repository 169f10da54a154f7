package bootstrap

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"gopkg.in/yaml.v3"

	"vault-plugin-secrets-llm/backend"
	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/litellm"
	"vault-plugin-secrets-llm/backend/provider/openai"
	"vault-plugin-secrets-llm/backend/provider/openrouter"
)

// These tests are of what equips a Vault, as far as that needs none. The others are scripts
// of backend/acceptance.

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	return files
}

var policyLink = regexp.MustCompile(`\(\.\./bootstrap/policies/([a-z-]+\.hcl)\)`)

// quotes returns the policies that a page quotes, by file: each block of HCL belongs
// to the last file that is named before it, and a file may be quoted in parts.
func quotes(page string) map[string]string {
	quoted := map[string]string{}
	file, inside := "", false
	for line := range strings.Lines(page) {
		switch {
		case inside && line == "```\n":
			inside, file = false, ""
		case inside:
			quoted[file] += line
		case strings.HasPrefix(line, "```hcl"):
			inside = file != ""
		case strings.HasPrefix(line, "#"):
			file = ""
		}
		for _, match := range policyLink.FindAllStringSubmatch(line, -1) {
			file = match[1]
		}
	}
	return quoted
}

// withoutHead drops the comment that a file begins with, and empty lines.
func withoutHead(policy string) string {
	var kept strings.Builder
	for line := range strings.Lines(policy) {
		if (kept.Len() > 0 || !strings.HasPrefix(line, "#")) && line != "\n" {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// What the documentation says of a policy is what is in its file.
func TestPoliciesAreQuotedAsTheyAre(t *testing.T) {
	seen := map[string]bool{}
	for _, page := range glob(t, "../docs/*.md") {
		for file, text := range quotes(read(t, page)) {
			seen[file] = true
			if want := withoutHead(read(t, "policies/"+file)); text != want {
				t.Errorf("%s quotes %s as\n%s\nwhich is\n%s", page, file, text, want)
			}
		}
	}
	for _, file := range glob(t, "policies/*.hcl") {
		if !seen[filepath.Base(file)] {
			t.Errorf("no page quotes %s", file)
		}
	}
}

func TestQuotes(t *testing.T) {
	const link = "in [x.hcl](../bootstrap/policies/x.hcl):\n"
	for _, test := range []struct{ page, want string }{
		{"```hcl\na\n```\n", ""},
		{link + "```hcl\na\n```\n", "a\n"},
		{link + "```hcl\na\n```\n```hcl\nb\n```\n", "a\n"},
		{link + "```hcl\na\n```\n" + link + "```hcl\nb\n```\n", "a\nb\n"},
		{link + "# Other\n```hcl\na\n```\n", ""},
	} {
		if got := quotes(test.page)["x.hcl"]; got != test.want {
			t.Errorf("%q: %q, want %q", test.page, got, test.want)
		}
	}
}

// fieldsOf returns the fields that may be written to a path of the engine.
func fieldsOf(t *testing.T, path string) []string {
	t.Helper()
	conf := &logical.BackendConfig{StorageView: &logical.InmemStorage{}, System: &logical.StaticSystemView{}, BackendUUID: "test"}
	registry, err := provider.NewRegistry(openai.New(), openrouter.New(), litellm.New(), anthropic.New(), anthropic.NewPool())
	if err != nil {
		t.Fatal(err)
	}
	b, err := backend.Factory(registry)(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Cleanup(context.Background()) })
	resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path, Storage: conf.StorageView})
	if err != nil {
		t.Fatal(err)
	}
	doc, ok := resp.Data["openapi"].(*framework.OASDocument)
	if !ok {
		t.Fatalf("help of %s has no document: %v", path, resp.Data)
	}
	for name, schema := range doc.Components.Schemas {
		if strings.HasSuffix(name, "Request") && len(schema.Properties) > 0 {
			return slices.Sorted(maps.Keys(schema.Properties))
		}
	}
	t.Fatalf("help of %s has no body", path)
	return nil
}

var attribute = regexp.MustCompile(`(?m)^    ([a-z_]+) += `)

// The module has every field that the engine takes, and no other.
func TestTerraformHasTheFieldsOfTheEngine(t *testing.T) {
	variables := strings.Split(read(t, "terraform/variables.tf"), "\nvariable ")
	for _, test := range []struct {
		variable, path string
		without        []string
	}{
		// The id of the first admin key is not that of the one in use.
		{"connections", "config/x", []string{"admin_key", "admin_key_id", "force"}},
		{"roles", "roles/x", nil},
		// Those of Anthropic's tokens, which have no static roles.
		{"static_roles", "static-roles/x", []string{"api_key", "key_id", "federation_rule_id", "service_account_id"}},
	} {
		var got []string
		for _, text := range variables {
			if strings.HasPrefix(text, `"`+test.variable+`"`) {
				for _, match := range attribute.FindAllStringSubmatch(text, -1) {
					got = append(got, match[1])
				}
			}
		}
		slices.Sort(got)
		want := slices.DeleteFunc(fieldsOf(t, test.path), func(name string) bool { return slices.Contains(test.without, name) })
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.variable, got, want)
		}
	}
}

// A composition is what these tests look at of compose.yaml.
type composition struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Command     any               `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
		Volumes     []string          `yaml:"volumes"`
		DependsOn   []string          `yaml:"depends_on"`
		Restart     string            `yaml:"restart"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

// No Docker runs here, so Compose's file is only read.
func TestCompose(t *testing.T) {
	checkCompose(t, t.Errorf, read(t, "compose/compose.yaml"))
}

func checkCompose(t *testing.T, errorf func(string, ...any), text string) {
	t.Helper()
	var c composition
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		errorf("%v", err)
		return
	}
	if len(c.Services) == 0 {
		errorf("there are no services")
	}
	for name, service := range c.Services {
		if !regexp.MustCompile(`:\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$`).MatchString(service.Image) {
			errorf("%s: image %q has no version of three numbers", name, service.Image)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				errorf("%s: port %s is not on loopback", name, port)
			}
		}
		for _, other := range service.DependsOn {
			if _, ok := c.Services[other]; !ok {
				errorf("%s: depends on %s, which is no service", name, other)
			}
		}
		for _, mount := range service.Volumes {
			source, _, _ := strings.Cut(mount, ":")
			if strings.HasPrefix(source, ".") {
				if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
					errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[source]; !ok {
				errorf("%s: %s is no volume", name, source)
			}
		}
		for variable, value := range service.Environment {
			if regexp.MustCompile(`(?i)token|secret|key|password`).MatchString(variable) && value != "" {
				errorf("%s: %s is a secret in the file", name, variable)
			}
		}
	}
	if found := regexp.MustCompile(`(sk-|hvs\.|eyJ)[A-Za-z0-9_-]{6,}`).FindString(text); found != "" {
		errorf("a secret is in the file: %.6s…", found)
	}
}

func TestComposeCheckFails(t *testing.T) {
	text := read(t, "compose/compose.yaml")
	for _, test := range []struct{ old, replacement, want string }{
		{"busybox:1.37.0", "busybox:latest", "no version"},
		{"busybox:1.37.0", "busybox", "no version"},
		{"127.0.0.1:8200:8200", "8200:8200", "not on loopback"},
		{"./vault.hcl:", "./none.hcl:", "no such file"},
		{"- keys:/keys:ro", "- none:/keys:ro", "is no volume"},
		{"[agent]", "[none]", "is no service"},
		{"SKIP_SETCAP:", "VAULT_TOKEN:", "is a secret"},
		{"has a key of", "sk-" + "svcacct", "a secret is in the file"},
		{"restart:", "restrat:", "restrat"},
		{"services:", "services: {}\nx:", ""},
	} {
		if !strings.Contains(text, test.old) {
			t.Errorf("compose.yaml does not hold %q", test.old)
		}
		var failures strings.Builder
		checkCompose(t, func(format string, args ...any) {
			for _, arg := range append([]any{format}, args...) {
				if err, ok := arg.(error); ok {
					arg = err.Error()
				}
				failures.WriteString(strings.TrimSpace(arg.(string)) + "\n")
			}
		}, strings.Replace(text, test.old, test.replacement, 1))
		if failures.Len() == 0 || !strings.Contains(failures.String(), test.want) {
			t.Errorf("%s for %s: %q, want %q", test.replacement, test.old, failures.String(), test.want)
		}
	}
}
