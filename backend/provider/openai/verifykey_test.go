package openai_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

const projectKey = provider.Secret("sk-svcacct-0123456789-xyz")

func verify(t *testing.T, s provider.Settings, w *wire) error {
	t.Helper()
	s.AdminKey = goodKey
	return connect(t, s, w).(provider.KeyVerifier).VerifyKey(t.Context(), projectKey)
}

func TestVerifyKeyRequest(t *testing.T) {
	for _, name := range []string{"BASE_URL", "API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"} {
		t.Setenv("OPENAI_"+name, "https://stray.test/"+strings.ToLower(name))
	}
	for _, test := range []struct {
		settings           provider.Settings
		url, organizations string
	}{
		{provider.Settings{}, "https://api.openai.com/v1/models", "[]"},
		{
			provider.Settings{BaseURL: "https://gateway.test/openai/v1", Fields: provider.Values{"organization_id": "org-demo"}},
			"https://gateway.test/openai/v1/models", "[org-demo]",
		},
	} {
		w := answering(`{"object":"list","data":[]}`)
		if err := verify(t, test.settings, w); err != nil {
			t.Error(err)
		}
		if got := w.last.Method + " " + w.last.URL.String(); got != "GET "+test.url || w.n != 1 || w.body != "" {
			t.Errorf("sent %s with body %q, %d times, want GET %s once", got, w.body, w.n, test.url)
		}
		if got := fmt.Sprint(w.last.Header.Values("OpenAI-Organization")); got != test.organizations {
			t.Errorf("sent organizations %s, want %s", got, test.organizations)
		}
		if got := w.last.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+projectKey.Reveal() {
			t.Errorf("sent Authorization %q", got)
		}
		if all := fmt.Sprint(w.last.Header); strings.Contains(all, goodKey) || strings.Contains(all, "stray") {
			t.Errorf("sent headers %s", all)
		}
	}
}

// The admin calls never send a key that was verified.
func TestVerifiedKeyIsNotKept(t *testing.T) {
	w := answering(`{"object":"list","data":[]}`)
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	if err := client.(provider.KeyVerifier).VerifyKey(t.Context(), projectKey); err != nil {
		t.Error(err)
	}
	if err := client.(provider.AdminVerifier).VerifyAdmin(t.Context()); err != nil {
		t.Error(err)
	}
	if got := w.last.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+goodKey {
		t.Errorf("sent Authorization %q", got)
	}
}

func TestVerifyKeyAnswers(t *testing.T) {
	const works = provider.Kind("")
	for _, test := range []struct {
		status int
		body   string
		want   provider.Kind
	}{
		{200, `{"object":"list","data":[{"id":"gpt-4.1","object":"model"}]}`, works},
		{200, `{"data":[]}`, works},
		{200, `{"data":{}}`, provider.Unavailable},
		{200, `{"object":"list"}`, provider.Unavailable},
		{200, `{"error":{"message":"no","type":"x"}}`, provider.Unavailable},
		{200, ``, provider.Unavailable},
		{302, `{"data":[]}`, provider.Unavailable},
		{404, `{"data":[]}`, provider.NotFound},
		{403, `{"error":{"message":"Missing scopes: api.model.read","type":"invalid_request_error","param":null,"code":null}}`, works},
		{403, `{"error":{"message":"Missing scopes","type":"invalid_request_error","code":"missing_scope"}}`, works},
		{403, `{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}`, provider.Forbidden},
		{403, `{"error":{"message":"no","type":null}}`, provider.Forbidden},
		{403, `{"error":{"message":"no"}}`, provider.Forbidden},
		{403, `{"error":{"message":"","type":"x"}}`, provider.Forbidden},
		{403, `{"error":{"message":{"text":"no"},"type":"x"}}`, provider.Forbidden},
		{403, `{"error":{"type":"x"}}`, provider.Forbidden},
		{403, `{"error":{}}`, provider.Forbidden},
		{403, `{"error":"forbidden"}`, provider.Forbidden},
		{403, `{"message":"forbidden","type":"x"}`, provider.Forbidden},
		{403, `{"data":[]}`, provider.Forbidden},
		{403, `[]`, provider.Forbidden},
		{403, ``, provider.Forbidden},
		{401, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, provider.Unauthorized},
		{401, `{"data":[]}`, provider.Unauthorized},
		{400, `{"error":{"message":"no","type":"x"}}`, provider.Invalid},
	} {
		w := answering(test.body)
		w.status = test.status
		if err := verify(t, provider.Settings{}, w); provider.KindOf(err) != test.want || test.want == works && err != nil {
			t.Errorf("%d %s: got %v, want kind %q", test.status, test.body, err, test.want)
		}
	}
}

func TestVerifyKeyErrorsReadWell(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{NoGrease: true}, func(o *organization) {
		key := o.PlantKey(project, "laptop")
		verify := func() error {
			return o.Client.(provider.KeyVerifier).VerifyKey(o.Context(), provider.Secret(key.Secret))
		}
		o.Inject(fakeopenai.Fault{Op: fakeopenai.OpListModels, Times: 1, Status: http.StatusForbidden, Corrupt: fakeopenai.HTMLBody})
		if got := fmt.Sprint(verify()); !strings.HasPrefix(got, "openai: try key: forbidden: Forbidden (request ") {
			o.Errorf("got %s", got)
		}
		o.DeleteKey(key.ID)
		if got := fmt.Sprint(verify()); !strings.HasPrefix(got, "openai: try key: unauthorized: invalid_api_key: Incorrect API key provided: [redacted]") {
			o.Errorf("got %s", got)
		}
	})
}
