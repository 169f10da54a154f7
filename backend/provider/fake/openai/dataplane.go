package fakeopenai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// This file is what the keys are for: a small data plane.

// models are what there is.
func models() []string { return []string{"gpt-4.1", "gpt-4.1-mini"} }

// acceptedLocked reports whether the data plane accepts a project key. That keys
// of accounts without a role are refused, and how fast news spread, is not
// documented, hence the knobs.
func (s *Server) acceptedLocked(k *key, now time.Time) bool {
	switch {
	case expired(k.ExpiresAt, now):
		return false
	case k.Deleted && now.Sub(k.deletedAt) >= s.knobs.DeletedAcceptedFor:
		return false
	case now.Sub(k.born) < s.knobs.DataPlaneDelay:
		return false
	case !k.project.archivedAt.IsZero():
		return false
	case k.account != nil && k.account.Role == roleNone:
		return s.knobs.NoneRoleKeysWork
	}
	return true
}

// serve meters a request of the data plane, or refuses one that the scopes of
// its key do not allow. A key without scopes may do all.
func (c *call) serve(scopes ...string) *refusal {
	have := c.key.Scopes
	if len(have) > 0 && !slices.ContainsFunc(scopes, func(want string) bool { return slices.Contains(have, want) }) {
		return missingScopes(scopes[0])
	}
	c.key.uses++
	c.key.LastUsedAt = c.now.Truncate(time.Second)
	return nil
}

// listModels is GET /v1/models: what reads, all.read for one, may.
func (s *Server) listModels(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	if refused := c.serve("api.model.read", "api.all.read"); refused != nil {
		return nil, refused
	}
	data := []any{}
	for _, id := range models() {
		data = append(data, object{{"id", id}, {"object", "model"}, {"created", 1744316542}, {"owned_by", "system"}})
	}
	return object{{"object", "list"}, {"data", data}}, nil
}

// completion checks the two fields that every completion has, and meters it.
// There are many more fields, which this data plane takes without a look.
func (c *call) completion(field, kind string, prompt any, scopes ...string) (model string, refused *refusal) {
	f := c.fields()
	f.require("model")
	f.require(field)
	model, _ = f.text("model")
	f.into(field, kind, prompt)
	if f.refused != nil {
		return "", f.refused
	}
	if !slices.Contains(models(), model) {
		return "", &refusal{
			status: http.StatusNotFound, kind: invalidRequest, code: "model_not_found",
			message: fmt.Sprintf("The model '%s' does not exist or you do not have access to it.", model),
		}
	}
	return model, c.serve(scopes...)
}

// completeChat is POST /v1/chat/completions.
func (s *Server) completeChat(c *call) (object, *refusal) {
	model, refused := c.completion("messages", "an array", new([]json.RawMessage), "api.model.request")
	if refused != nil {
		return nil, refused
	}
	return object{
		{"id", "chatcmpl-" + random(24)},
		{"object", "chat.completion"},
		{"created", c.now.Unix()},
		{"model", model},
		{"choices", []any{object{
			{"index", 0},
			{"finish_reason", "stop"},
			{"message", object{{"role", "assistant"}, {"content", "Hello."}}},
		}}},
		{"usage", object{{"prompt_tokens", 9}, {"completion_tokens", 2}, {"total_tokens", 11}}},
	}, nil
}

// respond is POST /v1/responses.
func (s *Server) respond(c *call) (object, *refusal) {
	model, refused := c.completion("input", "a string or an array", new(json.RawMessage), "api.responses.write", "api.model.request")
	if refused != nil {
		return nil, refused
	}
	return object{
		{"id", "resp_" + random(24)},
		{"object", "response"},
		{"created_at", c.now.Unix()},
		{"status", "completed"},
		{"model", model},
		{"output", []any{object{
			{"type", "message"},
			{"id", "msg_" + random(24)},
			{"status", "completed"},
			{"role", "assistant"},
			{"content", []any{object{{"type", "output_text"}, {"text", "Hello."}, {"annotations", []any{}}}}},
		}}},
		{"usage", object{{"input_tokens", 9}, {"output_tokens", 2}, {"total_tokens", 11}}},
	}, nil
}
