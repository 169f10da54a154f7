// Package kubernetes_test checks manifests without a cluster: against the schemas of
// the operators, against each other, and against the engine, of which it reads what
// they read.
package kubernetes_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A manifest is one resource of a file.
type manifest struct {
	gvk
	name string
	node *yaml.Node
	body map[string]any
}

// files are the manifests of each file.
func files(t *testing.T) map[string][]manifest {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) != 3 {
		t.Fatalf("there are the files %q (%v), want 3", names, err)
	}
	all := map[string][]manifest{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for documents := yaml.NewDecoder(bytes.NewReader(data)); ; {
			var m manifest
			m.node = new(yaml.Node)
			if err := documents.Decode(m.node); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := m.node.Decode(&m.body); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			m.apiVersion, m.kind, m.name = m.text("apiVersion"), m.text("kind"), m.text("metadata", "name")
			if namespace := m.text("metadata", "namespace"); m.name == "" || namespace != "support" {
				t.Errorf("%s: %s %q is in the namespace %q", name, m.kind, m.name, namespace)
			}
			all[name] = append(all[name], m)
		}
	}
	return all
}

// at returns what is at a path of names, or nil.
func (m manifest) at(names ...string) any {
	var value any = m.body
	for _, name := range names {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

func (m manifest) text(names ...string) string {
	text, _ := m.at(names...).(string)
	return text
}

// A deployment has the fields of Kubernetes' own that the manifests use, and no others.
type deployment struct {
	APIVersion, Kind any `yaml:",omitempty"`
	Metadata         meta
	Spec             struct {
		Replicas int
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata meta
			Spec     struct {
				ServiceAccountName string `yaml:"serviceAccountName"`
				Containers         []struct {
					Name, Image string
					Env         []struct{ Name, Value string }
					EnvFrom     []struct {
						SecretRef struct{ Name string } `yaml:"secretRef"`
					} `yaml:"envFrom"`
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name   string
					Secret struct {
						SecretName string `yaml:"secretName"`
					}
				}
			}
		}
	}
}

type meta struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
}

// strict decodes a resource of Kubernetes' own, without unknown fields.
func strict(m manifest, into any) error {
	text, err := yaml.Marshal(m.node)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	return decoder.Decode(into)
}

func TestSchemas(t *testing.T) {
	known := schemas(t)
	for file, manifests := range files(t) {
		for _, m := range manifests {
			switch crd, ok := known[m.gvk]; {
			case ok:
				for _, wrong := range crd.check("", m.body) {
					t.Errorf("%s: %s %s%s", file, m.kind, m.name, wrong)
				}
			case m.gvk == gvk{"v1", "ServiceAccount"}:
				var account struct {
					APIVersion, Kind string `yaml:",omitempty"`
					Metadata         meta
				}
				if err := strict(renamed(m), &account); err != nil {
					t.Errorf("%s: %s %s: %v", file, m.kind, m.name, err)
				}
			case m.gvk == gvk{"apps/v1", "Deployment"}:
				if err := strict(renamed(m), new(deployment)); err != nil {
					t.Errorf("%s: %s %s: %v", file, m.kind, m.name, err)
				}
			default:
				t.Errorf("%s: nobody knows a %s of %s", file, m.kind, m.apiVersion)
			}
		}
	}
}

// renamed has apiVersion where yaml looks for it by default.
func renamed(m manifest) manifest {
	text, _ := yaml.Marshal(m.node)
	node := new(yaml.Node)
	_ = yaml.Unmarshal(bytes.Replace(text, []byte("apiVersion:"), []byte("apiversion:"), 1), node)
	m.node = node
	return m
}

// What a manifest refers to is in the same file.
func TestReferences(t *testing.T) {
	for file, manifests := range files(t) {
		there := func(kind, name string) {
			t.Helper()
			if !slices.ContainsFunc(manifests, func(m manifest) bool { return m.kind == kind && m.name == name }) {
				t.Errorf("%s: there is no %s %q", file, kind, name)
			}
		}
		var secrets []string
		for _, m := range manifests {
			switch m.kind {
			case "VaultAuth":
				there("VaultConnection", m.text("spec", "vaultConnectionRef"))
				there("ServiceAccount", m.text("spec", "kubernetes", "serviceAccount"))
			case "VaultDynamicSecret":
				if m.apiVersion == "generators.external-secrets.io/v1alpha1" {
					there("ServiceAccount", m.text("spec", "provider", "auth", "kubernetes", "serviceAccountRef", "name"))
					continue
				}
				there("VaultAuth", m.text("spec", "vaultAuthRef"))
				secrets = append(secrets, m.text("spec", "destination", "name"))
				for _, target := range m.at("spec", "rolloutRestartTargets").([]any) {
					restart := manifest{body: target.(map[string]any)}
					there(restart.text("kind"), restart.text("name"))
				}
			case "ExternalSecret":
				for _, from := range m.at("spec", "dataFrom").([]any) {
					source := manifest{body: from.(map[string]any)}
					there(source.text("sourceRef", "generatorRef", "kind"), source.text("sourceRef", "generatorRef", "name"))
				}
				secrets = append(secrets, m.text("spec", "target", "name"))
			}
		}
		for _, m := range manifests {
			if m.kind == "Deployment" {
				checkDeployment(t, file, m, secrets, there)
			}
		}
	}
}

func checkDeployment(t *testing.T, file string, m manifest, secrets []string, there func(kind, name string)) {
	t.Helper()
	var d deployment
	if err := strict(renamed(m), &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template
	there("ServiceAccount", pod.Spec.ServiceAccountName)
	if d.Spec.Selector.MatchLabels["app"] != pod.Metadata.Labels["app"] || pod.Metadata.Labels["app"] == "" {
		t.Errorf("%s: Deployment %s does not select its pods", file, m.name)
	}
	var used []string
	for _, container := range pod.Spec.Containers {
		for _, from := range container.EnvFrom {
			used = append(used, from.SecretRef.Name)
		}
		for _, mount := range container.VolumeMounts {
			for _, volume := range pod.Spec.Volumes {
				if volume.Name == mount.Name {
					used = append(used, volume.Secret.SecretName)
				}
			}
		}
		if tag := container.Image[strings.LastIndexByte(container.Image, '/'):]; !strings.Contains(tag, ":") {
			t.Errorf("%s: Deployment %s: the image %s has no version", file, m.name, container.Image)
		}
	}
	injected := pod.Metadata.Annotations["vault.hashicorp.com/agent-inject"] == "true"
	if injected == (len(used) > 0) {
		t.Errorf("%s: Deployment %s has its key from %q; injected: %t", file, m.name, used, injected)
	}
	for _, name := range used {
		if !slices.Contains(secrets, name) {
			t.Errorf("%s: Deployment %s: nobody writes the Secret %q, only %q", file, m.name, name, secrets)
		}
	}
}

func TestAnnotations(t *testing.T) {
	known := annotations(t)
	const file = "/vault/secrets/"
	for _, m := range files(t)["injector.yaml"] {
		if m.kind != "Deployment" {
			continue
		}
		var d deployment
		if err := strict(renamed(m), &d); err != nil {
			t.Fatal(err)
		}
		for name := range d.Spec.Template.Metadata.Annotations {
			if slices.Contains(known, name) {
				continue
			}
			at := slices.IndexFunc([]string{"agent-inject-secret", "agent-inject-template"}, func(kind string) bool {
				return slices.Contains(known, "vault.hashicorp.com/"+kind) && name == "vault.hashicorp.com/"+kind+"-openai-key"
			})
			if at < 0 {
				t.Errorf("the injector does not know %s", name)
			}
		}
		if got := d.Spec.Template.Spec.Containers[0].Env[0].Value; got != file+"openai-key" {
			t.Errorf("the application reads %s", got)
		}
	}
}
