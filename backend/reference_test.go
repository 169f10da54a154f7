package backend

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// update is set by go generate: see doc.go.
var update = flag.Bool("update", false, "write the files that tests compare with")

// TestReference keeps docs/reference.md and docs/openapi.json what the code says.
func TestReference(t *testing.T) {
	tell(t, func(s *story) {
		doc := openAPI(t, s.engine)
		for _, problem := range checkOpenAPI(doc) {
			t.Error(problem)
		}
		s.wantEveryFieldSeen()
		compare(t, "openapi.json", asDocument(t, doc))
		compare(t, "reference.md", referencePage(t, s))
	})
}

// TestCheckOpenAPI spoils the document, so that each check is seen to fail.
func TestCheckOpenAPI(t *testing.T) {
	at := func(doc object, names ...string) object {
		for _, name := range names {
			doc = asObject(doc[name])
		}
		return doc
	}
	bubble(t, func(m *testMount) {
		for want, spoil := range map[string]func(doc object){
			"openapi is":             func(doc object) { doc["openapi"] = "2.0" },
			"no title":               func(doc object) { delete(at(doc, "info"), "title") },
			"leads nowhere":          func(doc object) { delete(at(doc, "components", "schemas"), "LlmReadKeyResponse") },
			"no synopsis":            func(doc object) { at(doc, "paths", "/info")["summary"] = "" },
			"parameters of the path": func(doc object) { delete(at(doc, "paths", "/keys/{id}"), "parameters") },
			"not unique":             func(doc object) { at(doc, "paths", "/info", "get")["operationId"] = "llm-read-key" },
			"no summary":             func(doc object) { delete(at(doc, "paths", "/info", "get"), "summary") },
			"has no operation":       func(doc object) { delete(at(doc, "paths", "/info"), "get") },
			"has no schema":          func(doc object) { delete(at(doc, "paths", "/info", "get", "responses", "200"), "content") },
			"no answer to success":   func(doc object) { delete(at(doc, "paths", "/info", "get", "responses"), "200") },
			"answer 200 is not described": func(doc object) {
				at(doc, "paths", "/info", "get", "responses", "200")["description"] = ""
			},
			"is no status": func(doc object) {
				responses := at(doc, "paths", "/info", "get", "responses")
				responses["600"] = responses["200"]
			},
			"parameter query max_age is not described": func(doc object) {
				asObject(at(doc, "paths", "/audit/{name}", "get")["parameters"].([]any)[0])["description"] = ""
			},
			"of another type": func(doc object) {
				at(doc, "components", "schemas", "LlmWriteConnectionRequest", "properties", "max_concurrency")["default"] = "many"
			},
			"the type is": func(doc object) { at(doc, "components", "schemas", "Errors")["type"] = "thing" },
			"warnings items: the type": func(doc object) {
				delete(at(doc, "components", "schemas", "Answer", "properties", "warnings"), "items")
			},
			"lease_id is not described": func(doc object) {
				delete(at(doc, "components", "schemas", "Answer", "properties", "lease_id"), "description")
			},
		} {
			doc := openAPI(m.t, m.engine)
			if problems := checkOpenAPI(doc); len(problems) > 0 {
				m.t.Fatal(problems)
			}
			spoil(doc)
			if problems := strings.Join(checkOpenAPI(doc), "\n"); !strings.Contains(problems, want) {
				m.t.Errorf("got the problems %q, want %q", problems, want)
			}
		}
	})
}

// TestAnswersAreChecked answers what a path does not describe.
func TestAnswersAreChecked(t *testing.T) {
	bubble(t, func(m *testMount) {
		text := map[string]any{logical.HTTPRawBody: "x 1", logical.HTTPContentType: "text/plain", logical.HTTPStatusCode: 200}
		described := framework.Response{Description: "OK", MediaType: "text/plain"}
		fields := map[string]*framework.FieldSchema{
			"count": {Type: framework.TypeInt, Description: "A number."},
			"items": {Type: framework.TypeSlice, Description: "Each with id."},
		}
		for _, c := range []struct {
			declared framework.Response
			data     map[string]any
			err      error
			want     string // in the problem; empty for none
		}{
			{described, text, nil, ""},
			{framework.Response{Description: "OK"}, text, nil, `and declares ""`},
			{framework.Response{Fields: fields}, map[string]any{"count": 1, "items": []any{map[string]any{"id": "x"}}}, nil, ""},
			{framework.Response{Fields: fields}, map[string]any{"counts": 1}, nil, "the answer has counts"},
			{framework.Response{Fields: fields}, map[string]any{"count": "1"}, nil, "count is 1, and is described as int"},
			{framework.Response{Fields: fields}, map[string]any{"count": 1.5}, nil, "count is 1.5"},
			{framework.Response{Fields: fields}, map[string]any{"count": nil}, nil, "count is <nil>"},
			{framework.Response{Fields: fields}, map[string]any{"items": []any{map[string]any{"ids": "x"}}}, nil, "items holds ids"},
			{framework.Response{Fields: fields}, nil, refuse(http.StatusConflict, "no"), "answers 409"},
			{framework.Response{Fields: fields}, nil, badRequest("no"), ""},
		} {
			engine := newBackend(m.engine.registry)
			engine.Paths = []*framework.Path{{
				Pattern: "made$", HelpSynopsis: "It.", HelpDescription: "It.", DisplayAttrs: display("made"),
				Operations: map[logical.Operation]framework.OperationHandler{logical.ReadOperation: &framework.PathOperation{
					Summary: "It.", Responses: map[int][]framework.Response{http.StatusOK: {c.declared}},
					Callback: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
						return &logical.Response{Data: c.data}, c.err
					},
				}},
			}}
			req := m.request(logical.ReadOperation, "made", nil)
			resp, err := engine.HandleRequest(m.t.Context(), req)
			got := strings.Join((&answers{}).check(engine, req, resp, err), "\n")
			if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
				m.t.Errorf("%v: got the problem %q, want %q", c.data, got, c.want)
			}
			if c.declared.MediaType != "" {
				if problems := checkOpenAPI(openAPI(m.t, engine)); len(problems) > 0 || !strings.Contains(asDocument(m.t, openAPI(m.t, engine)), `"text/plain": {`) {
					m.t.Errorf("a text in OpenAPI: %v", problems)
				}
			}
		}
	})
}

// compare compares a file of docs/ with what it should hold, or writes it.
func compare(t *testing.T, name, want string) {
	t.Helper()
	file := filepath.Join("..", "docs", name)
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if string(have) != want {
		t.Errorf("docs/%s is stale; run go generate ./... and look at the difference:\n%s", name, firstDifference(string(have), want))
	}
}

// firstDifference is where two texts begin to differ.
func firstDifference(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// wantEveryFieldSeen fails on a field of an answer that the story never met: such a
// field may not exist.
func (s *story) wantEveryFieldSeen() {
	s.t.Helper()
	for _, path := range s.engine.Paths {
		for op, handler := range path.Operations {
			for _, response := range handler.Properties().Responses[200] {
				for _, name := range slices.Sorted(maps.Keys(response.Fields)) {
					if !s.answers.seen[fmt.Sprint(op, " ", path.Pattern, " field ", name)] {
						s.t.Errorf("%s %s: no answer had %s", op, path.Pattern, name)
					}
				}
			}
		}
	}
}
