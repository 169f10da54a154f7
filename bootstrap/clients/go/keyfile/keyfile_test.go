package keyfile_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	"vault-plugin-secrets-llm/bootstrap/clients/go/keyfile"
)

func Example() {
	key := keyfile.OpenAI("/run/vault-agent/openai-key")
	client := openai.NewClient(option.WithMiddleware(key.Middleware))
	_, _ = client.Models.List(context.Background())
}

// The hot swap is tested in bootstrap/clients; here is what that example does not do.

func TestAnthropic(t *testing.T) {
	sim := fakeanthropic.New()
	file := write(t, sim.PlantKey(sim.Workspace(), "bot").Secret+"\n")
	status, err := send(t, keyfile.Anthropic(file), sim)
	if status != http.StatusOK || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestNoKey(t *testing.T) {
	for name, file := range map[string]string{"empty": write(t, " \n"), "missing": filepath.Join(t.TempDir(), "key")} {
		status, err := send(t, keyfile.Anthropic(file), fakeanthropic.New())
		if err == nil || !strings.Contains(err.Error(), "read the key") {
			t.Errorf("%s: status %d, %v", name, status, err)
		}
	}
}

// A body that can be sent only once is not sent again, and the caller gets the 401.
func TestBodyThatIsGone(t *testing.T) {
	file := write(t, "one")
	requests := 0
	status, err := send(t, keyfile.OpenAI(file), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}), io.NopCloser(strings.NewReader("{}")))
	if status != http.StatusUnauthorized || err != nil || requests != 1 {
		t.Errorf("status %d, %v, after %d requests", status, err, requests)
	}
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// send sends a request through the middleware: a GET, or a POST of a body.
func send(t *testing.T, key keyfile.File, handler http.Handler, body ...io.Reader) (int, error) {
	t.Helper()
	method, content := http.MethodGet, io.Reader(nil)
	if len(body) > 0 {
		method, content = http.MethodPost, body[0]
	}
	req := httptest.NewRequestWithContext(t.Context(), method, "/v1/models", content)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := key.Middleware(req, func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result(), nil
	})
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
