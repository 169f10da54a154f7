package backend

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestEveryPathAndFieldIsDescribed(t *testing.T) {
	bubble(t, func(m *testMount) {
		suffixes := map[string]bool{}
		for _, path := range m.engine.Paths {
			if path.HelpSynopsis == "" || path.HelpDescription == "" {
				m.t.Errorf("%s has no help", path.Pattern)
			}
			if path.DisplayAttrs == nil || path.DisplayAttrs.OperationPrefix != operationPrefix || suffixes[path.DisplayAttrs.OperationSuffix] {
				m.t.Errorf("%s has no operation id of its own", path.Pattern)
			} else {
				suffixes[path.DisplayAttrs.OperationSuffix] = true
			}
			for name, field := range path.Fields {
				if field.Description == "" {
					m.t.Errorf("%s: field %s is not described", path.Pattern, name)
				}
			}
			for op, handler := range path.Operations {
				if p := handler.Properties(); p.Summary == "" || len(p.Responses) == 0 {
					m.t.Errorf("%s: %s has no summary or no responses", path.Pattern, op)
				}
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
