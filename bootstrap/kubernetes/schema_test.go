package kubernetes_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// This file holds manifests against what the operators themselves say they take: the
// schemas of their resources, and the annotations that the injector knows. They come
// from the operators' Go modules, by the Go module proxy, as everything else does.

// A release is a Go module at a version, whose content does not change.
type release struct{ module, version, sum string }

// These are not their newest releases. A field that is there stays there for as long as
// the apiVersion stays the same.
var (
	vaultSecretsOperator = release{"github.com/hashicorp/vault-secrets-operator", "v0.10.0", "h1:BjOTBJRqx1SLo7NeyqNJWRPDyfRscbqPtGU1U2LzArg="}
	externalSecrets      = release{"github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ="}
	injector             = release{"github.com/hashicorp/vault-k8s", "v1.6.2", "h1:AK8Umjbh9fVgbnf5oZDDEH6Z4xYxVvTYuWIeV20Dgn4="}
)

// dir returns the directory of a release, which is downloaded if it is not there.
func (r release) dir(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", r.module+"@"+r.version)
	cmd.Dir = t.TempDir() // in no module, for none needs it
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if parseErr := json.Unmarshal(out, &got); parseErr != nil || err != nil || got.Error != "" {
		t.Fatalf("%s@%s: %v %s", r.module, r.version, errors.Join(err, parseErr), got.Error)
	}
	if got.Sum != r.sum {
		t.Fatalf("%s@%s: its sum is %s, want %s", r.module, r.version, got.Sum, r.sum)
	}
	return got.Dir
}

// A schema is what a CustomResourceDefinition says of a value. What it does not name is
// unknown to the test, which then fails: else it would be ignored.
type schema struct {
	Type       string            `yaml:"type"`
	Properties map[string]schema `yaml:"properties"`
	Required   []string          `yaml:"required"`
	Items      *schema           `yaml:"items"`
	Additional *schema           `yaml:"additionalProperties"`
	Enum       []string          `yaml:"enum"`
	Pattern    string            `yaml:"pattern"`
	MinLength  *int              `yaml:"minLength"`
	MaxLength  *int              `yaml:"maxLength"`
	Minimum    *float64          `yaml:"minimum"`
	Maximum    *float64          `yaml:"maximum"`
	MinProps   *int              `yaml:"minProperties"`
	MaxProps   *int              `yaml:"maxProperties"`
	Open       bool              `yaml:"x-kubernetes-preserve-unknown-fields"`

	Description, Default, Format, Nullable, MapType any `yaml:",omitempty"`
}

// UnmarshalYAML reads a schema, and refuses words that check does not know.
func (s *schema) UnmarshalYAML(node *yaml.Node) error {
	known := []string{
		"type", "properties", "required", "items", "additionalProperties", "enum", "pattern", "minLength", "maxLength", "minimum",
		"maximum", "minProperties", "maxProperties", "x-kubernetes-preserve-unknown-fields",
		"description", "default", "format", "nullable", "x-kubernetes-map-type", // forbid nothing here
	}
	for i := 0; i < len(node.Content); i += 2 {
		if word := node.Content[i].Value; !slices.Contains(known, word) {
			return fmt.Errorf("line %d: the test does not know %q", node.Line, word)
		}
	}
	type plain schema
	return node.Decode((*plain)(s))
}

// check reports in what a value differs from a schema.
func (s *schema) check(at string, value any) []string {
	switch v := value.(type) {
	case map[string]any:
		return append(s.is(at, "object", v), s.checkObject(at, v)...)
	case []any:
		wrong := s.is(at, "array", v)
		for i, item := range v {
			if s.Items != nil {
				wrong = append(wrong, s.Items.check(fmt.Sprintf("%s[%d]", at, i), item)...)
			}
		}
		return wrong
	case string:
		return append(s.is(at, "string", v), s.checkString(at, v)...)
	case bool:
		return s.is(at, "boolean", v)
	case int:
		wrong := s.is(at, "integer", v)
		if s.Minimum != nil && float64(v) < *s.Minimum || s.Maximum != nil && float64(v) > *s.Maximum {
			wrong = append(wrong, fmt.Sprintf("%s: %d is out of range", at, v))
		}
		return wrong
	}
	return []string{fmt.Sprintf("%s: the test does not know values as %v", at, value)}
}

func (s *schema) is(at, kind string, value any) []string {
	if s.Type == kind || s.Type == "" && s.Open {
		return nil
	}
	return []string{fmt.Sprintf("%s: %v is of type %s, want %s", at, value, kind, s.Type)}
}

func (s *schema) checkObject(at string, object map[string]any) []string {
	var wrong []string
	for _, name := range s.Required {
		if _, ok := object[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s is missing", at, name))
		}
	}
	if s.MinProps != nil && len(object) < *s.MinProps || s.MaxProps != nil && len(object) > *s.MaxProps {
		wrong = append(wrong, fmt.Sprintf("%s: there are %d fields", at, len(object)))
	}
	for name, value := range object {
		property, ok := s.Properties[name]
		switch {
		case ok:
			wrong = append(wrong, property.check(at+"."+name, value)...)
		case s.Additional != nil:
			wrong = append(wrong, s.Additional.check(at+"."+name, value)...)
		case !s.Open && at != ".metadata": // which the schema leaves to Kubernetes
			wrong = append(wrong, fmt.Sprintf("%s: there is no field %s", at, name))
		}
	}
	return wrong
}

func (s *schema) checkString(at, value string) []string {
	var wrong []string
	length := utf8.RuneCountInString(value)
	if s.MinLength != nil && length < *s.MinLength || s.MaxLength != nil && length > *s.MaxLength {
		wrong = append(wrong, fmt.Sprintf("%s: %q has a wrong length", at, value))
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		wrong = append(wrong, fmt.Sprintf("%s: %q is none of %q", at, value, s.Enum))
	}
	if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(value) {
		wrong = append(wrong, fmt.Sprintf("%s: %q does not match %s", at, value, s.Pattern))
	}
	return wrong
}

// A gvk is what a manifest says that it is: apiVersion and kind.
type gvk struct{ apiVersion, kind string }

// schemas are those of the operators' resources that the manifests use.
func schemas(t *testing.T) map[gvk]schema {
	t.Helper()
	all := map[gvk]schema{}
	const operator = "config/crd/bases/secrets.hashicorp.com_"
	addSchemas(t, all, vaultSecretsOperator, operator+"vaultconnections.yaml")
	addSchemas(t, all, vaultSecretsOperator, operator+"vaultauths.yaml")
	addSchemas(t, all, vaultSecretsOperator, operator+"vaultdynamicsecrets.yaml")
	addSchemas(t, all, externalSecrets, "config/crds/bases/external-secrets.io_externalsecrets.yaml")
	addSchemas(t, all, externalSecrets, "config/crds/bases/generators.external-secrets.io_vaultdynamicsecrets.yaml")
	return all
}

// addSchemas adds those of a CustomResourceDefinition.
func addSchemas(t *testing.T, all map[gvk]schema, from release, file string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(from.dir(t), file))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Served bool
				Schema struct {
					OpenAPIV3Schema schema `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, version := range crd.Spec.Versions {
		if version.Served {
			all[gvk{crd.Spec.Group + "/" + version.Name, crd.Spec.Names.Kind}] = version.Schema.OpenAPIV3Schema
		}
	}
}

// annotations are those that the injector knows. Some are followed by a name.
func annotations(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(injector.dir(t), "agent-inject/agent/annotations.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile(`= "(vault\.hashicorp\.com/[a-z-]+)"`).FindAllStringSubmatch(string(data), -1) {
		all = append(all, found[1])
	}
	if len(all) < 50 {
		t.Fatalf("the injector knows %d annotations only: %s", len(all), strings.Join(all, " "))
	}
	return all
}
