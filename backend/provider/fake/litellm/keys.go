package fakelitellm

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is virtual keys and what is done to them.

// A Key is a key as it is in the database, whatever lists show.
type Key struct {
	Hash, Alias           string
	TeamID, UserID        string // empty for none
	Models, AllowedRoutes []string
	MaxBudget             *float64 // in US dollars; nil for none
	BudgetDuration        string   // empty for a budget that never starts anew
	RPM, TPM              *int
	Metadata              map[string]any
	CreatedAt, ExpiresAt  time.Time // an expiry of zero is none
	Blocked, Deleted      bool
	Secret                string
}

type key struct {
	Key
	planted   bool // by a person, long ago: known everywhere
	weak      bool // may only read, and does not show it
	deletedAt time.Time
	uses      []use
}

// A use is one completion that was charged.
type use struct {
	at     time.Time
	usd    float64
	tokens int
}

var durationForm = regexp.MustCompile(`^([0-9]{1,9})(s|m|h|d|w)$`)

// durationOf reads a duration of LiteLLM's.
func durationOf(text string) (time.Duration, bool) {
	units := map[string]time.Duration{
		"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
	parts := durationForm.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	return time.Duration(n) * units[parts[2]], err == nil
}

// stamp is a time as Python writes it.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000+00:00")
}

// nullable is a value, or null for none.
func nullable[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func pointed[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func list(items []string) []any {
	out := []any{}
	for _, item := range items {
		out = append(out, item)
	}
	return out
}

// row is a key as all answers show it, but for its ids.
func (k *key) row() object {
	metadata := object{}
	maps.Copy(metadata, k.Metadata)
	return object{
		"key_name": mask(k.Secret), "key_alias": nullable(k.Alias), "team_id": nullable(k.TeamID), "user_id": nullable(k.UserID),
		"models": list(k.Models), "allowed_routes": list(k.AllowedRoutes), "max_budget": pointed(k.MaxBudget),
		"budget_duration": nullable(k.BudgetDuration), "rpm_limit": pointed(k.RPM), "tpm_limit": pointed(k.TPM),
		"metadata": metadata, "spend": k.spend(time.Time{}), "blocked": nullable(k.Blocked), "expires": stamp(k.ExpiresAt),
		"created_at": stamp(k.CreatedAt), "updated_at": stamp(k.CreatedAt), "aliases": object{}, "config": object{}, "permissions": object{},
	}
}

func (k *key) with(members object) object {
	out := k.row()
	maps.Copy(out, members)
	return out
}

// settings reads the fields that a create and an update share.
func (f *fields) settings(k *Key, now time.Time) {
	var budget float64
	if f.read("max_budget", &budget) {
		if k.MaxBudget = &budget; budget < 0 {
			f.refuse("max_budget", "max_budget cannot be negative. Received: %v", budget)
		}
	}
	if f.read("budget_duration", &k.BudgetDuration) {
		if _, ok := durationOf(k.BudgetDuration); !ok {
			f.refuse("budget_duration", "Unsupported duration unit, passed duration: %s", k.BudgetDuration)
		}
	}
	for name, limit := range map[string]**int{"rpm_limit": &k.RPM, "tpm_limit": &k.TPM} {
		n := 0
		if f.read(name, &n) {
			*limit = &n
		}
	}
	f.read("models", &k.Models)
	f.read("allowed_routes", &k.AllowedRoutes)
	f.read("metadata", &k.Metadata)
	f.read("team_id", &k.TeamID)
	f.read("user_id", &k.UserID)
	f.read("key_alias", &k.Alias)
	f.read("blocked", &k.Blocked)
	f.expiry(k, now)
}

// expiry reads duration, which counts from now.
func (f *fields) expiry(k *Key, now time.Time) {
	var text string
	if !f.read("duration", &text) {
		return
	}
	d, ok := durationOf(text)
	switch {
	case text == "-1":
		k.ExpiresAt = time.Time{}
	case !ok:
		f.refuse("duration", "Unsupported duration unit, passed duration: %s", text)
	default:
		k.ExpiresAt = now.Add(d).Truncate(time.Microsecond)
	}
}

// createKey is POST /key/generate. The proxy looks whether a team exists, and does
// not mind if it does not.
func (s *Server) createKey(c *call) (any, *refusal) {
	k := Key{CreatedAt: c.now, Secret: newSecret()}
	f := c.fields()
	f.read("key", &k.Secret)
	f.settings(&k, c.now)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if refused := s.refuseNewLocked(c, k); refused != nil {
		return nil, refused
	}
	s.treatLocked(c, &k)
	made := s.addLocked(k)
	made.weak = c.knobs.WeakAdminKeys && s.users[k.UserID] == RoleAdmin
	return made.with(object{"key": k.Secret, "token": made.Hash, "token_id": made.Hash, "soft_budget": nil}), nil
}

func (s *Server) refuseNewLocked(c *call, k Key) *refusal {
	switch {
	case !strings.HasPrefix(k.Secret, "sk-"):
		return &refusal{
			http.StatusBadRequest, "internal_server_error", "None",
			"{'error': \"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: " + k.Secret + "\"}",
		}
	case c.knobs.UnknownTeamRefused && k.TeamID != "" && !s.teams[k.TeamID]:
		return badRequest("team_id", "Unable to find team object in database. Team ID: "+k.TeamID)
	}
	for _, other := range s.keys {
		switch {
		case other.Deleted:
		case k.Alias != "" && other.Alias == k.Alias:
			return badRequest("key_alias", fmt.Sprintf("Key with alias '%s' already exists. Unique key aliases across all keys are required.", k.Alias))
		case other.Secret == k.Secret:
			return badRequest("key", "Unique constraint failed on the fields: (`token`): "+k.Secret)
		}
	}
	return nil
}

// treatLocked makes of a new key what the knobs want.
func (s *Server) treatLocked(c *call, k *Key) {
	k.TeamID, k.UserID = cmp.Or(k.TeamID, c.knobs.DefaultTeam), cmp.Or(k.UserID, c.knobs.DefaultUser)
	if k.MaxBudget == nil && c.knobs.DefaultBudget > 0 {
		k.MaxBudget = new(c.knobs.DefaultBudget)
	}
	if c.knobs.IgnoreExpiry {
		k.ExpiresAt = time.Time{}
	}
	if c.knobs.IgnoreModels {
		k.Models = nil
	}
	if c.knobs.IgnoreBudget {
		k.MaxBudget = nil
	}
	if c.knobs.IgnorePeriod {
		k.BudgetDuration = ""
	}
	if c.knobs.IgnoreRates {
		k.RPM, k.TPM = nil, nil
	}
	if c.knobs.IgnoreRoutes {
		k.AllowedRoutes = nil
	}
	if s.users[k.UserID] != RoleAdmin {
		return
	}
	if last := c.now.Add(c.knobs.AdminMaxLife); c.knobs.AdminMaxLife > 0 && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(last)) {
		k.ExpiresAt = last
	}
}

func (s *Server) addLocked(k Key) *key {
	k.Hash = Hash(k.Secret)
	made := &key{Key: k}
	s.keys = append(s.keys, made)
	return made
}

// keyLocked finds a key by its hash, or by itself.
func (s *Server) keyLocked(c *call, id string) *key {
	if strings.HasPrefix(id, "sk-") {
		id = Hash(id)
	}
	for _, k := range s.keys {
		if k.Hash == id && !k.Deleted && (k.planted || c.now.Sub(k.CreatedAt) >= c.knobs.YoungNotFoundFor) {
			return k
		}
	}
	return nil
}

// readKey is GET /key/info. Without a key it is the calling one; the master key is
// in no database.
func (s *Server) readKey(c *call) (any, *refusal) {
	query, refused := c.query("key")
	if refused != nil {
		return nil, refused
	}
	id := query.Get("key")
	if id == "" {
		id = Hash(s.master)
		if c.key != nil {
			id = c.key.Hash
		}
	}
	k := s.keyLocked(c, id)
	if k == nil {
		return nil, &refusal{http.StatusNotFound, "not_found_error", "key", "Key not found in database"}
	}
	return object{"key": id, "info": k.row()}, nil
}

// updateKey is POST /key/update. A key that has expired can be brought back.
func (s *Server) updateKey(c *call) (any, *refusal) {
	f := c.fields()
	var id string
	if !f.read("key", &id) || id == "" {
		f.refuse("key", "Field required: key")
	}
	k := s.keyLocked(c, id)
	changed := Key{}
	if k != nil {
		changed = k.Key
	}
	f.settings(&changed, c.now)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if k == nil {
		return nil, &refusal{
			cmp.Or(c.knobs.UnknownUpdateStatus, http.StatusUnauthorized), "auth_error", "None",
			"Authentication Error: invalid user key - user key does not exist in db. User Key=" + id,
		}
	}
	k.Key = changed
	members := object{"key": id, "token": k.Hash}
	if c.knobs.NoUpdatedExpiry {
		members["expires"] = nil
	}
	return k.with(members), nil
}

// deleteKeys is POST /key/delete, by key, hash or alias. Those that do not exist are
// passed over, unless it is all of them.
func (s *Server) deleteKeys(c *call) (any, *refusal) {
	f := c.fields()
	var ids, aliases []string
	f.read("keys", &ids)
	f.read("key_aliases", &aliases)
	if len(ids)+len(aliases) == 0 {
		f.refuse("keys", "Invalid request type")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	var keys []*key
	for _, id := range ids {
		if k := s.keyLocked(c, id); k != nil {
			keys = append(keys, k)
		}
	}
	for _, k := range s.keys {
		if len(ids) == 0 && !k.Deleted && slices.Contains(aliases, k.Alias) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, &refusal{http.StatusNotFound, "internal_server_error", "None", "{'error': 'No keys found'}"}
	}
	for _, k := range keys {
		k.Deleted, k.deletedAt = true, c.now
	}
	if len(ids) == 0 {
		ids = aliases
	}
	return object{"deleted_keys": list(ids)}, nil
}

// listKeys is GET /key/list.
func (s *Server) listKeys(c *call) (any, *refusal) {
	query, refused := c.query("page", "size", "user_id", "team_id", "key_hash", "key_alias", "return_full_object", "sort_by", "sort_order")
	if refused != nil {
		return nil, refused
	}
	keys := slices.DeleteFunc(slices.Clone(s.keys), func(k *key) bool {
		hide := c.knobs.HideFor
		if s.users[k.UserID] == RoleAdmin {
			hide = c.knobs.AdminHideFor
		}
		return k.Deleted || !k.planted && c.now.Sub(k.CreatedAt) < hide || !c.knobs.IgnoreFilter && !k.fits(query.Get)
	})
	slices.Reverse(keys)
	if sortBy := query.Get("sort_by"); sortBy == "token" && !c.knobs.IgnoreSort {
		slices.SortFunc(keys, func(a, b *key) int { return cmp.Compare(a.Hash, b.Hash) })
		if query.Get("sort_order") != "asc" {
			slices.Reverse(keys)
		}
	} else if sortBy != "" && sortBy != "token" {
		return nil, badRequest("sort_by", "Invalid sort column: "+sortBy)
	}
	var items []any
	for _, k := range keys {
		if query.Get("return_full_object") == "true" {
			items = append(items, k.with(object{"token": k.Hash}))
		} else {
			items = append(items, k.Hash)
		}
	}
	return c.page(query, items)
}

// fits reports whether a list that is filtered so shows a key.
func (k *key) fits(filter func(string) string) bool {
	for name, have := range map[string]string{"user_id": k.UserID, "team_id": k.TeamID, "key_hash": k.Hash, "key_alias": k.Alias} {
		if want := filter(name); want != "" && want != have {
			return false
		}
	}
	return true
}
