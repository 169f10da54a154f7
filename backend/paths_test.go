package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

func TestEveryPathAndFieldIsDescribed(t *testing.T) {
	bubble(t, func(m *testMount) {
		suffixes := map[string]bool{}
		for _, path := range m.engine.Paths {
			if !isSentence(path.HelpSynopsis) || !isSentence(path.HelpDescription) {
				m.t.Errorf("%s has no help, or one that is no sentence", path.Pattern)
			}
			if path.DisplayAttrs == nil || path.DisplayAttrs.OperationPrefix != operationPrefix || suffixes[path.DisplayAttrs.OperationSuffix] {
				m.t.Errorf("%s has no operation id of its own", path.Pattern)
			} else {
				suffixes[path.DisplayAttrs.OperationSuffix] = true
			}
			for name, field := range path.Fields {
				if !isSentence(field.Description) {
					m.t.Errorf("%s: field %s is not described by a sentence: %q", path.Pattern, name, field.Description)
				}
			}
			for op, handler := range path.Operations {
				p := handler.Properties()
				if !isSentence(p.Summary) || len(p.Responses) == 0 {
					m.t.Errorf("%s: %s has no summary or no responses", path.Pattern, op)
				}
				checkResponses(m.t, fmt.Sprint(op, " ", path.Pattern), p.Responses)
			}
		}
		for _, path := range []string{
			"", "config/x", "config/", "roles/a/b", "roles/", "creds/a/b", "creds/", "info",
			"keys", "keys/x", "lookup", "revoke", "suspend", "suspend/a/b", "resume/a/b", "audit/x", "tidy/x", "tidy-status", "metrics",
		} {
			req := m.request(logical.HelpOperation, path, nil)
			resp, err := m.b.HandleRequest(m.t.Context(), req)
			if err != nil || resp == nil {
				m.t.Fatalf("help of %q: %v\n%s", path, err, m.log)
			}
			if text, _ := resp.Data["help"].(string); text == "" || strings.Contains(text, "<no description>") {
				m.t.Errorf("help of %q is %q", path, text)
			}
		}
	})
}

func isSentence(text string) bool { return strings.HasSuffix(strings.TrimSpace(text), ".") }

// checkResponses asserts that all that an operation answers is described: the data of
// a 200, unless it answers a text or may answer nothing too.
func checkResponses(t *testing.T, where string, responses map[int][]framework.Response) {
	t.Helper()
	for status, all := range responses {
		for _, response := range all {
			if response.Description == "" {
				t.Errorf("%s: %d is not described", where, status)
			}
			if status == http.StatusOK && len(response.Fields) == 0 && response.MediaType == "" && responses[http.StatusNoContent] == nil {
				t.Errorf("%s: the answer has no fields and no media type", where)
			}
			for name, field := range response.Fields {
				if !isSentence(field.Description) {
					t.Errorf("%s: %s of the answer is not described by a sentence: %q", where, name, field.Description)
				}
			}
		}
	}
}

// TestHelpNamesEveryAbility holds the help of info to what it answers.
func TestHelpNamesEveryAbility(t *testing.T) {
	bubble(t, func(m *testMount) {
		help := m.engine.Route("info").HelpDescription
		for name, can := range m.do("read", "info").Data["providers"].(map[string]any) {
			for _, ability := range can.([]string) {
				if !strings.Contains(help, "\n  "+ability+" ") && !provider.IsGuardrail(ability) || !names(help, ability) {
					m.t.Errorf("the help of info does not tell of %s, which %s can", ability, name)
				}
			}
		}
	})
}

// TestMutatingPathsAreForwarded holds every operation that writes storage or
// changes anything at a provider to the node that may write.
func TestMutatingPathsAreForwarded(t *testing.T) {
	bubble(t, func(m *testMount) {
		for _, path := range m.engine.Paths {
			for op, handler := range path.Operations {
				p := handler.Properties()
				mutates := op != logical.ReadOperation && op != logical.ListOperation
				if op == logical.ReadOperation {
					// Those that call a provider, or ask what this process is doing.
					mutates = strings.HasPrefix(path.Pattern, "creds/") || strings.HasPrefix(path.Pattern, "audit/") || path.Pattern == "tidy-status$" || path.Pattern == "metrics$"
				}
				if forwards := p.ForwardPerformanceStandby && p.ForwardPerformanceSecondary; forwards != mutates {
					m.t.Errorf("%s %s: forwarded %v, want %v", op, path.Pattern, forwards, mutates)
				}
			}
		}
	})
}
