package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file makes docs/openapi.json of what the SDK makes of the paths, and checks it.
// The SDK describes the data of answers alone, as Vault's own document does; here an
// answer is described as it arrives.

// An apiPath is a path, and what the SDK's OpenAPI has of it.
type apiPath struct {
	*framework.Path
	doc *framework.OASDocument
}

// apiPaths are all paths of an engine, in its order.
func apiPaths(t *testing.T, b *backend) []apiPath {
	t.Helper()
	var all []apiPath
	for _, path := range b.Paths {
		one := &framework.Backend{BackendType: logical.TypeLogical, Paths: []*framework.Path{path}}
		resp, err := one.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation})
		if err != nil {
			t.Fatal(err)
		}
		doc, ok := resp.Data["openapi"].(*framework.OASDocument)
		if !ok || len(doc.Paths) == 0 {
			t.Fatalf("%s: OpenAPI cannot describe it", path.Pattern)
		}
		all = append(all, apiPath{path, doc})
	}
	return all
}

// An object is one of JSON.
type object = map[string]any

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// openAPI is the document of all paths.
func openAPI(t *testing.T, b *backend) object {
	t.Helper()
	paths, schemas, responses := object{}, object{
		"Answer": object{
			"type": "object", "description": "What every answer has beside data.",
			"properties": object{
				"request_id":     object{"type": "string", "description": "Id of the request, as in Vault's audit log."},
				"lease_id":       object{"type": "string", "description": "Id of the lease; empty if there is none."},
				"lease_duration": object{"type": "integer", "description": "How long the lease lasts, in seconds; 0 if there is none."},
				"renewable":      object{"type": "boolean", "description": "Whether the lease can be renewed."},
				"warnings": object{
					"type": "array", "nullable": true, "items": object{"type": "string"},
					"description": "What a person should know of what was done.",
				},
			},
		},
		"Errors": object{
			"type": "object", "description": "A refusal.",
			"properties": object{"errors": object{
				"type": "array", "items": object{"type": "string"}, "description": "What was wrong, and what would be right.",
			}},
		},
	}, object{}
	for _, path := range apiPaths(t, b) {
		doc := asJSON(t, path.doc).(object)
		maps.Copy(schemas, doc["components"].(object)["schemas"].(object))
		for route, item := range doc["paths"].(object) {
			item := item.(object)
			item["summary"], item["description"] = oneLine(path.HelpSynopsis), oneLine(path.HelpDescription)
			if path.Operations[logical.CreateOperation] != nil {
				delete(asObject(item["get"]), "parameters") // that of the path are for delete
			}
			for _, method := range methodsOf(item) {
				wrapAnswers(path.Path, item[method].(object), schemas)
			}
			paths[route] = item
		}
	}
	for status, text := range statusTexts() {
		responses[fmt.Sprint(status)] = object{"description": text, "content": jsonContent(ref("schemas", "Errors"))}
	}
	for _, schema := range schemas {
		eachSchema(schema, mendDuration)
	}
	eachSchema(paths, mendDuration)
	return asJSON(t, object{
		"openapi": framework.OASVersion,
		"info": object{
			"title":       "LLM secrets engine for HashiCorp Vault",
			"description": "Generated from the code. docs/reference.md says the same with examples.",
			"version":     "{version}",
			"license":     object{"name": "Mozilla Public License 2.0", "url": "https://www.mozilla.org/en-US/MPL/2.0"},
		},
		"servers": []any{object{
			"url": "{address}/v1/{mount}", "description": "A Vault, and where the engine is mounted.",
			"variables": object{"address": object{"default": "https://127.0.0.1:8200"}, "mount": object{"default": "llm"}},
		}},
		"security": []any{object{"token": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas": schemas, "responses": responses,
			"securitySchemes": object{"token": object{"type": "apiKey", "in": "header", "name": "X-Vault-Token"}},
		},
	}).(object)
}

var methods = []string{"get", "post", "patch", "delete"}

func methodsOf(item object) []string {
	return slices.DeleteFunc(slices.Clone(methods), func(method string) bool { return item[method] == nil })
}

func jsonContent(schema object) object { return object{"application/json": object{"schema": schema}} }

// wrapAnswers describes the answers of an operation as they arrive, and the refusals
// that every operation may answer with.
func wrapAnswers(path *framework.Path, op, schemas object) {
	responses := op["responses"].(object)
	for status, response := range responses {
		response := response.(object)
		switch {
		case status == "204":
			delete(response, "content")
		case status >= "400":
			responses[status] = ref("responses", status)
		case rawType(path) != "":
			response["content"] = object{rawType(path): object{"schema": object{"type": "string"}}}
		case response["content"] == nil:
			response["content"] = jsonContent(ref("schemas", "Answer"))
		default:
			data := response["content"].(object)["application/json"].(object)["schema"].(object)
			name := strings.TrimPrefix(data["$ref"].(string), "#/components/schemas/")
			data = asObject(schemas[name])
			if data["allOf"] == nil {
				schemas[name] = object{"allOf": []any{
					ref("schemas", "Answer"), object{"type": "object", "properties": object{"data": data}},
				}}
			}
		}
	}
	for _, status := range []string{"400", "500"} {
		responses[status] = ref("responses", status)
	}
	if responses["403"] == nil {
		responses["403"] = ref("responses", "403")
	}
}

func asObject(v any) object { o, _ := v.(object); return o }

// rawType is the type of what a path answers that is no JSON; empty if it is.
func rawType(path *framework.Path) string {
	for _, op := range path.Operations {
		for _, response := range op.Properties().Responses[200] {
			if response.MediaType != "" && response.MediaType != "application/json" {
				return response.MediaType
			}
		}
	}
	return ""
}

// statusTexts say what statuses mean that are no success.
func statusTexts() map[int]string {
	all := maps.Clone(refusals)
	all[400] = "A field is wrong, or something forbids what is asked; the text says what would be right."
	all[403] = "A policy of Vault forbids it; or the role is suspended, or wants an identity entity of its callers."
	all[500] = "Storage or the engine failed; the text says at what."
	return all
}

// mendDuration makes what the SDK calls a string of the format duration what requests
// may hold: whole seconds too.
func mendDuration(schema object) {
	_, number := schema["default"].(float64)
	if schema["format"] == "duration" || schema["type"] == "string" && number {
		delete(schema, "format")
		delete(schema, "type")
		schema["anyOf"] = []any{object{"type": "integer"}, object{"type": "string"}}
	}
	if format := schema["format"]; format == "map" || format == "kvpairs" {
		delete(schema, "format")
		if format == "kvpairs" {
			schema["additionalProperties"] = object{"type": "string"}
		}
	}
	if schema["format"] == "float" {
		delete(schema, "format")
	}
}

// eachSchema visits all objects in a part of the document.
func eachSchema(v any, visit func(object)) {
	switch v := v.(type) {
	case object:
		visit(v)
		for _, item := range v {
			eachSchema(item, visit)
		}
	case []any:
		for _, item := range v {
			eachSchema(item, visit)
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// An apiCheck collects what is wrong with a document.
type apiCheck struct {
	doc      object
	ids      map[string]bool
	problems []string
}

func (c *apiCheck) addf(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// checkOpenAPI returns what is wrong with a document by the rules of OpenAPI 3.0, and
// ours: everything is described, every operation has an id of its own and says what it
// answers.
func checkOpenAPI(doc object) []string {
	c := &apiCheck{doc: doc, ids: map[string]bool{}}
	if version, _ := doc["openapi"].(string); !strings.HasPrefix(version, "3.0.") {
		c.addf("openapi is %q", version)
	}
	info := asObject(doc["info"])
	if info["title"] == nil || info["version"] == nil {
		c.addf("info has no title or no version")
	}
	for _, route := range slices.Sorted(maps.Keys(asObject(doc["paths"]))) {
		c.path(route, asObject(asObject(doc["paths"])[route]))
	}
	for name, schema := range asObject(asObject(doc["components"])["schemas"]) {
		c.schema("schema "+name, asObject(schema))
	}
	eachSchema(doc, func(o object) {
		if target, ok := o["$ref"].(string); ok && c.resolve(target) == nil {
			c.addf("%s leads nowhere", target)
		}
	})
	return c.problems
}

func (c *apiCheck) resolve(ref string) object {
	at := any(c.doc)
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = asObject(at)[name]
	}
	return asObject(at)
}

// target is what a reference leads to, or the object itself.
func (c *apiCheck) target(o object) object {
	if ref, ok := o["$ref"].(string); ok {
		return c.resolve(ref)
	}
	return o
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (c *apiCheck) path(route string, item object) {
	if !strings.HasPrefix(route, "/") || item["summary"] == "" || item["description"] == "" {
		c.addf("%s has no slash at its beginning, no synopsis or no description", route)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, found := range pathParameter.FindAllStringSubmatch(route, -1) {
		want[found[1]] = true
	}
	shared, _ := item["parameters"].([]any)
	for _, p := range shared {
		if p := asObject(p); p["in"] == "path" {
			got[fmt.Sprint(p["name"])] = p["required"] == true
		}
	}
	if !maps.Equal(want, got) {
		c.addf("%s: parameters of the path are %v, want %v", route, got, want)
	}
	if len(methodsOf(item)) == 0 {
		c.addf("%s has no operation", route)
	}
	for _, method := range methodsOf(item) {
		c.operation(method+" "+route, shared, asObject(item[method]))
	}
}

func (c *apiCheck) operation(where string, shared []any, op object) {
	id, _ := op["operationId"].(string)
	if id == "" || c.ids[id] {
		c.addf("%s: the operation id %q is empty or not unique", where, id)
	}
	c.ids[id] = true
	if text, _ := op["summary"].(string); text == "" {
		c.addf("%s has no summary", where)
	}
	own, _ := op["parameters"].([]any)
	names := map[string]bool{}
	for _, p := range slices.Concat(shared, own) {
		p := asObject(p)
		name := fmt.Sprint(p["in"], " ", p["name"])
		if names[name] || !slices.Contains([]any{"path", "query", "header"}, p["in"]) {
			c.addf("%s: parameter %s is given twice, or is nowhere", where, name)
		}
		names[name] = true
		if text, _ := p["description"].(string); text == "" {
			c.addf("%s: parameter %s is not described", where, name)
		}
		c.schema(where+" "+name, asObject(p["schema"]))
	}
	if body := asObject(op["requestBody"]); body != nil {
		c.content(where+" body", body)
	}
	c.responses(where, asObject(op["responses"]))
}

func (c *apiCheck) responses(where string, responses object) {
	success := false
	for status, response := range responses {
		response := c.target(asObject(response))
		if text, _ := response["description"].(string); text == "" {
			c.addf("%s: answer %s is not described", where, status)
		}
		if !regexp.MustCompile(`^[2-5]\d\d$`).MatchString(status) {
			c.addf("%s: %s is no status", where, status)
		}
		if status != "204" {
			c.content(where+" answer "+status, response)
		}
		success = success || status < "300"
	}
	if !success {
		c.addf("%s has no answer to success", where)
	}
}

// content is that of a body or of an answer.
func (c *apiCheck) content(where string, of object) {
	content := asObject(of["content"])
	if len(content) == 0 {
		c.addf("%s has no schema", where)
	}
	for _, media := range content {
		c.schema(where, c.target(asObject(asObject(media)["schema"])))
	}
}

// types are those of JSON, and whether a default is of one.
var types = map[any]func(any) bool{
	"string":  func(v any) bool { _, ok := v.(string); return ok },
	"boolean": func(v any) bool { _, ok := v.(bool); return ok },
	"number":  func(v any) bool { _, ok := v.(float64); return ok },
	"integer": func(v any) bool { f, ok := v.(float64); return ok && f == math.Trunc(f) },
	"array":   func(v any) bool { _, ok := v.([]any); return ok },
	"object":  func(v any) bool { _, ok := v.(object); return ok },
}

func (c *apiCheck) schema(where string, schema object) {
	var alternatives []any
	for _, of := range []string{"allOf", "anyOf"} {
		list, _ := schema[of].([]any)
		alternatives = append(alternatives, list...)
	}
	fits := false
	for _, one := range alternatives {
		one := c.target(asObject(one))
		c.schema(where, one)
		fits = fits || types[one["type"]] != nil && types[one["type"]](schema["default"])
	}
	if ok := types[schema["type"]]; ok != nil {
		fits = ok(schema["default"])
	} else if len(alternatives) == 0 {
		c.addf("%s: the type is %v", where, schema["type"])
	}
	if schema["default"] != nil && !fits {
		c.addf("%s: the default %v is of another type", where, schema["default"])
	}
	if schema["type"] == "array" {
		c.schema(where+" items", asObject(schema["items"]))
	}
	for name, property := range asObject(schema["properties"]) {
		property := asObject(property)
		if text, _ := property["description"].(string); text == "" && name != "data" {
			c.addf("%s: %s is not described", where, name)
		}
		c.schema(where+"."+name, property)
	}
}

// asDocument is a document as its file has it.
func asDocument(t *testing.T, doc object) string {
	t.Helper()
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
