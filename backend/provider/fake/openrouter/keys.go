package fakeopenrouter

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is keys and what they are for.

// A Key is a key as it is in the world, whatever lists show.
type Key struct {
	Hash, Name, WorkspaceID string
	Limit                   *float64 // in US dollars; nil for none
	Reset                   string   // "daily", "weekly" or "monthly"; empty for never
	CountsOwnKeys           bool
	CreatedAt, ExpiresAt    time.Time // an expiry of zero is none
	Disabled, Deleted       bool
	GuardrailID             string // empty if it is under none
	Secret                  string
}

type key struct {
	Key
	deletedAt time.Time
	spent     []spending
}

// A spending is one request that was charged.
type spending struct {
	at  time.Time
	usd float64
}

// Creator is who made all keys.
const Creator = "user_2dHFtVWx2n56w6HkM0000000000"

// price of a completion, in US dollars.
const price = 0.25

// expired reports whether a time of expiry, zero for none, has come.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// acceptedLocked reports whether the data plane accepts a key.
func (s *Server) acceptedLocked(k *key, now time.Time) bool {
	switch {
	case k.Disabled, expired(k.ExpiresAt, now), now.Sub(k.CreatedAt) < s.knobs.DataPlaneDelay:
		return false
	case k.Deleted && now.Sub(k.deletedAt) >= s.knobs.DeletedAcceptedFor:
		return false
	}
	return s.workspaceLocked(k.WorkspaceID) != nil
}

// since is what a key has spent since a time.
func (k *key) since(start time.Time) float64 {
	sum := 0.0
	for _, one := range k.spent {
		if !one.at.Before(start) {
			sum += one.usd
		}
	}
	return sum
}

// windows are the beginnings of the day, the week (on Monday) and the month.
func windows(now time.Time) map[string]time.Time {
	now = now.UTC()
	day := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	return map[string]time.Time{
		"":        {},
		"daily":   day,
		"weekly":  day.AddDate(0, 0, -(int(day.Weekday())+6)%7),
		"monthly": time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC),
	}
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func (k *key) shown(now time.Time) object {
	var limit, remaining, reset any
	if k.Limit != nil {
		limit, remaining = *k.Limit, max(0, *k.Limit-k.since(windows(now)[k.Reset]))
	}
	if k.Reset != "" {
		reset = k.Reset
	}
	out := object{
		"hash": k.Hash, "name": k.Name, "label": k.Secret[:12] + "..." + k.Secret[len(k.Secret)-3:], "disabled": k.Disabled,
		"limit": limit, "limit_remaining": remaining, "limit_reset": reset, "include_byok_in_limit": k.CountsOwnKeys,
		"byok_usage": 0.0, "byok_usage_daily": 0.0, "byok_usage_weekly": 0.0, "byok_usage_monthly": 0.0,
		"created_at": stamp(k.CreatedAt), "updated_at": nil, "expires_at": stamp(k.ExpiresAt),
		"creator_user_id": Creator, "workspace_id": k.WorkspaceID,
	}
	for reset, start := range windows(now) {
		out[strings.TrimSuffix("usage_"+reset, "_")] = k.since(start)
	}
	return out
}

// limits reads the fields that a create and an update share.
func (f *fields) limits(k *Key) {
	var limit float64
	if f.read("limit", true, &limit) {
		if k.Limit = &limit; limit < 0 {
			f.refuse("Invalid input: limit")
		}
	}
	if f.read("limit_reset", true, &k.Reset) && !slices.Contains([]string{"daily", "weekly", "monthly"}, k.Reset) {
		f.refuse("Invalid input: limit_reset")
	}
	f.read("include_byok_in_limit", false, &k.CountsOwnKeys)
}

// expiry reads expires_at, which must be in UTC.
func (f *fields) expiry(k *Key) {
	var text string
	if !f.read("expires_at", true, &text) {
		return
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || !strings.HasSuffix(text, "Z") {
		f.refuse("Invalid input: expires_at must be a UTC timestamp")
	}
	k.ExpiresAt = at
}

// createKey is POST /keys.
func (s *Server) createKey(c *call) (any, *refusal) {
	k := Key{WorkspaceID: s.workspaces0(), CreatedAt: c.now}
	f := c.fields()
	var creator string
	f.read("name", false, &k.Name)
	if k.Name == "" {
		f.refuse("Invalid input: name")
	}
	f.read("creator_user_id", true, &creator)
	f.limits(&k)
	f.expiry(&k)
	if f.read("workspace_id", false, &k.WorkspaceID) && s.workspaceLocked(k.WorkspaceID) == nil {
		f.refuse("Invalid input: workspace_id")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if c.knobs.IgnoreExpiry {
		k.ExpiresAt = time.Time{}
	}
	if c.knobs.IgnoreLimit {
		k.Limit = nil
	}
	if c.knobs.IgnoreReset {
		k.Reset = ""
	}
	made := s.addLocked(k)
	return object{"key": made.Secret, "data": made.shown(c.now)}, nil
}

func (s *Server) addLocked(k Key) *key {
	k.Secret = newSecret()
	k.Hash = hash(k.Secret)
	made := &key{Key: k}
	s.keys = append(s.keys, made)
	return made
}

// keyLocked finds the key of a hash. Management keys see all workspaces.
func (s *Server) keyLocked(c *call, hash string) (*key, *refusal) {
	for _, k := range s.keys {
		if k.Hash == hash && !k.Deleted && c.now.Sub(k.CreatedAt) >= c.knobs.YoungNotFoundFor &&
			s.workspaceLocked(k.WorkspaceID) != nil {
			return k, nil
		}
	}
	return nil, notFound()
}

// getKey is GET /keys/{hash}.
func (s *Server) getKey(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	k, refused := s.keyLocked(c, c.id)
	if refused != nil {
		return nil, refused
	}
	return object{"data": k.shown(c.now)}, nil
}

// updateKey is PATCH /keys/{hash}.
func (s *Server) updateKey(c *call) (any, *refusal) {
	k, refused := s.keyLocked(c, c.id)
	if refused != nil {
		return nil, refused
	}
	changed := k.Key
	f := c.fields()
	f.read("name", false, &changed.Name)
	f.read("disabled", false, &changed.Disabled)
	f.limits(&changed)
	if c.knobs.ExpiryMovable {
		f.expiry(&changed)
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	k.Key = changed
	return object{"data": k.shown(c.now)}, nil
}

// deleteKey is DELETE /keys/{hash}. A second time it is 404.
func (s *Server) deleteKey(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	k, refused := s.keyLocked(c, c.id)
	if refused != nil {
		return nil, refused
	}
	k.Deleted, k.deletedAt = true, c.now
	return object{"deleted": true}, nil
}

// listKeys is GET /keys. Without a workspace it is the default one; disabled keys
// are hidden unless they are asked for.
func (s *Server) listKeys(c *call) (any, *refusal) {
	query, refused := c.query("offset", "include_disabled", "workspace_id")
	if refused != nil {
		return nil, refused
	}
	in, refused := s.filterLocked(c, query)
	if refused != nil {
		return nil, refused
	}
	disabled := query.Get("include_disabled")
	if query.Has("include_disabled") && disabled != "true" && disabled != "false" {
		return nil, badRequest("Invalid query parameter: include_disabled")
	}
	var items []any
	for _, k := range s.keys {
		if !k.Deleted && (k.WorkspaceID == in || c.knobs.IgnoreWorkspace) && c.now.Sub(k.CreatedAt) >= c.knobs.HideFor &&
			(!k.Disabled || disabled == "true") && s.workspaceLocked(k.WorkspaceID) != nil {
			items = append(items, k.shown(c.now))
		}
	}
	return c.page(query, items)
}

// readOwnKey is GET /key: the calling key.
func (s *Server) readOwnKey(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	k := c.key
	if k == nil {
		k = &key{Key: Key{Secret: s.admin}}
	}
	all, data := k.shown(c.now), object{"is_management_key": c.key == nil, "is_free_tier": false, "rate_limit": nil}
	for _, name := range []string{
		"label", "limit", "limit_remaining", "limit_reset", "include_byok_in_limit", "usage", "usage_daily", "usage_weekly",
		"usage_monthly", "expires_at", "creator_user_id",
	} {
		data[name] = all[name]
	}
	return object{"data": data}, nil
}

// completeChat is POST /chat/completions. There are many more fields, which are
// taken without a look.
func (s *Server) completeChat(c *call) (any, *refusal) {
	f := c.fields()
	var model string
	var messages []json.RawMessage
	if !f.read("model", false, &model) || !f.read("messages", false, &messages) {
		f.refuse("Invalid input: model and messages are required")
	}
	if f.refused != nil {
		return nil, f.refused
	}
	if refused := s.chargeLocked(c.key, model, c.now); refused != nil {
		return nil, refused
	}
	return object{
		"id": "gen-" + NewID(), "object": "chat.completion", "model": model, "created": int(c.now.Unix()),
		"choices": []any{object{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": "Hello."}}},
	}, nil
}

// chargeLocked charges a key for a completion, unless its guardrail or its limit
// refuses that.
func (s *Server) chargeLocked(k *key, model string, now time.Time) *refusal {
	for _, g := range s.guardrails {
		if g.ID == k.GuardrailID && g.Models != nil && !slices.Contains(g.Models, model) {
			return &refusal{http.StatusForbidden, "No allowed providers for this model"}
		}
	}
	if k.Limit != nil && k.since(windows(now)[k.Reset]) >= *k.Limit {
		return &refusal{statusOf(s.knobs.LimitStatus), "Key limit exceeded"}
	}
	k.spent = append(k.spent, spending{now, price})
	return nil
}
