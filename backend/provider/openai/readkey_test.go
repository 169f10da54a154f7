package openai_test

import (
	"fmt"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func readKey(t *testing.T, answer string, secret provider.Secret) (provider.Found, error) {
	t.Helper()
	client := connect(t, provider.Settings{AdminKey: goodKey}, answering(answer))
	return client.(provider.KeyReader).ReadKey(t.Context(), provider.Ref{ID: "key_1", Scope: "proj_x"}, secret)
}

// What OpenAI shows of a key must be of the secret, and must be enough to tell.
func TestReadKeyComparesTheEnds(t *testing.T) {
	for _, test := range []struct {
		shown string // a member of the answer
		why   string // it is refused; empty if it is not
	}{
		{`,"redacted_value":"sk-svc...xyz"`, ""},
		{`,"redacted_value":"sk-svcacct-0123****xyz"`, ""},
		{`,"redacted_value":"...xyz"`, ""},
		{`,"redacted_value":"sk-svc...xyy"`, "is not the id of this key"},
		{`,"redacted_value":"sk-proj...xyz"`, "is not the id of this key"},
		{`,"redacted_value":"sk-svcacct-0123456789-...xyz"`, "is not the id of this key"}, // nothing is masked
		{`,"redacted_value":"sk-svcacct-0123456789-0123...xyz"`, "is not the id of this key"},
		{``, "cannot be proven"}, // and these say nothing
		{`,"redacted_value":null`, "cannot be proven"},
		{`,"redacted_value":""`, "cannot be proven"},
		{`,"redacted_value":"..."`, "cannot be proven"},
		{`,"redacted_value":"sk-svc...yz"`, "cannot be proven"},
		{`,"redacted_value":["sk-proj...abc"]`, "cannot be proven"},
	} {
		key, err := readKey(t, `{"id":"key_1","name":"laptop"`+test.shown+`}`, projectKey)
		if test.why == "" {
			if err != nil || key.ID != "key_1" || key.Name != "laptop" {
				t.Errorf("%s: got %+v, error %v", test.shown, key, err)
			}
			continue
		}
		wantRefusal(t, test.shown, err, "key_id", test.why)
		if text := fmt.Sprint(err); key != (provider.Found{}) || strings.Contains(text, "xyz") || strings.Contains(text, "sk-") {
			t.Errorf("%s: got %+v, error %s", test.shown, key, text)
		}
	}
}

func TestReadKeyRequest(t *testing.T) {
	w := answering(`{"id":"key_1","redacted_value":"...xyz"}`)
	client := connect(t, provider.Settings{AdminKey: goodKey}, w).(provider.KeyReader)
	ref := provider.Ref{ID: "key_1", Scope: "proj_x"}
	_, err := client.ReadKey(t.Context(), ref, goodKey)
	if wantRefusal(t, "admin key", err, "api_key", "is an admin key"); w.n != 0 {
		t.Errorf("sent %d requests about an admin key", w.n)
	}
	if _, err := client.ReadKey(t.Context(), ref, projectKey); err != nil || w.n != 1 {
		t.Errorf("got %v after %d requests, want one", err, w.n)
	}
	if got := w.last.Method + " " + w.last.URL.RequestURI(); got != "GET /v1/organization/projects/proj_x/api_keys/key_1" {
		t.Errorf("sent %s", got)
	}
	if all := fmt.Sprint(w.last.Header); strings.Contains(all, projectKey.Reveal()) || !strings.Contains(all, goodKey) {
		t.Error("want the admin key sent, and nothing of the key")
	}
}

func TestReadKeyOfAnother(t *testing.T) {
	if key, err := readKey(t, `{"id":"key_2"}`, projectKey); !provider.IsKind(err, provider.Unavailable) {
		t.Errorf("got %+v, error %v", key, err)
	}
}

func TestReadKeyOfAnArchivedProject(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		key := o.PlantKey(project, "laptop")
		o.ArchiveProject(project)
		ref := provider.Ref{ID: key.ID, Scope: project}
		_, err := o.Client.(provider.KeyReader).ReadKey(o.Context(), ref, provider.Secret(key.Secret))
		if o.wantKind(err, provider.NotFound); !strings.Contains(fmt.Sprint(err), "its project is archived") {
			o.Errorf("got %v", err)
		}
	})
}
