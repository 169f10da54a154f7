package fakelitellm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// This file is what keys are for.

// What a completion costs.
const (
	price  = 0.25 // US dollars
	tokens = 100
)

// Models are those that the proxy offers.
func Models() []string { return []string{"gpt-4.1", "gpt-4.1-mini", "claude-sonnet"} }

// spend is what a key has spent since a time.
func (k *key) spend(since time.Time) float64 {
	sum := 0.0
	for _, u := range k.uses {
		if !u.at.Before(since) {
			sum += u.usd
		}
	}
	return sum
}

// period is when the present period of a key's budget began. How the proxy counts
// differs between versions; here it is from the key's creation.
func (k *key) period(now time.Time) time.Time {
	every, ok := durationOf(k.BudgetDuration)
	if !ok || every <= 0 {
		return time.Time{}
	}
	return now.Add(-(now.Sub(k.CreatedAt) % every))
}

// listModels is GET /v1/models.
func (s *Server) listModels(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	var items []any
	for _, model := range Models() {
		if c.key == nil || c.key.allows(model) {
			items = append(items, object{"id": model, "object": "model", "created": 1677610602, "owned_by": "openai"})
		}
	}
	return object{"data": append([]any{}, items...), "object": "list"}, nil
}

func (k *key) allows(model string) bool {
	return len(k.Models) == 0 || slices.Contains(k.Models, model)
}

// completeChat is a chat completion. There are many more fields, which are taken
// without a look.
func (s *Server) completeChat(c *call) (any, *refusal) {
	f := c.fields()
	var model string
	var messages []json.RawMessage
	if !f.read("model", &model) || !f.read("messages", &messages) {
		f.refuse("model", "model and messages are required")
	}
	if f.refused != nil {
		return nil, f.refused
	}
	if c.key != nil {
		if refused := s.chargeLocked(c.key, model, c.now); refused != nil {
			return nil, refused
		}
	}
	return object{
		"id": "chatcmpl-1", "object": "chat.completion", "model": model, "created": int(c.now.Unix()),
		"choices": []any{object{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": "Hello."}}},
		"usage":   object{"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens},
	}, nil
}

// chargeLocked charges a key for a completion, unless one of its bounds refuses it.
func (s *Server) chargeLocked(k *key, model string, now time.Time) *refusal {
	if !k.allows(model) {
		return &refusal{http.StatusForbidden, "key_model_access_denied", "model", fmt.Sprintf(
			"key not allowed to access model. This key can only access models=%v. Tried to access %s", k.Models, model)}
	}
	if k.MaxBudget != nil && k.spend(k.period(now)) >= *k.MaxBudget {
		return &refusal{cmp.Or(s.knobs.BudgetStatus, http.StatusBadRequest), "budget_exceeded", "None", fmt.Sprintf(
			"Budget has been exceeded! Current cost: %v, Max budget: %v", k.spend(k.period(now)), *k.MaxBudget)}
	}
	requests, used := 0, 0
	for _, u := range k.uses {
		if now.Sub(u.at) < time.Minute {
			requests, used = requests+1, used+u.tokens
		}
	}
	if k.RPM != nil && requests >= *k.RPM || k.TPM != nil && used >= *k.TPM {
		return &refusal{http.StatusTooManyRequests, "None", "None", "Rate limit exceeded for api_key: " + k.Hash}
	}
	k.uses = append(k.uses, use{now, price, tokens})
	return nil
}

// Complete makes a completion by a model with a key, and returns the status that
// the data plane answers.
func (s *Server) Complete(secret, model string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Secret != secret || !s.acceptedLocked(k, s.clock()) {
			continue
		}
		if refused := s.chargeLocked(k, model, s.clock()); refused != nil {
			return refused.status
		}
		return http.StatusOK
	}
	return http.StatusUnauthorized
}
