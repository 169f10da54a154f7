package backend

import (
	"context"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file stores static roles. A static role has one key, which everybody who may
// read it shares, and which is replaced by a schedule.
//
//   - The stored role alone says which key it has; the records of its keys follow.
//   - What is stored has an entry in the time index, as records do: when the next
//     rotation is due, or when the sweep has to finish something.
//   - A role that is being deleted is stored as leaving until its key is marked for
//     deletion. To everybody else it is gone.

// A staticEntry is a stored static role.
//
//	{"version":1,"config_name":"openai","fields":{"project_id":"proj_…"},"verify":true,
//	 "rotation":{"rotation_period":2592000,"rotation_overlap":86400,…},
//	 "key":{"config":"openai","record":"…","api_key":"…","key_id":"key_…","name":"vault-…"},"due":"…"}
type staticEntry struct {
	Version int `json:"version"`
	keyRole
	Rotation rotationEntry `json:"rotation"`
	// Verify says that a new key must answer a call before it is handed out.
	Verify bool `json:"verify"`

	// Key is what is handed out; nil if it was revoked, until there is a new one.
	Key *staticKeyEntry `json:"key,omitempty"`
	// Candidate is a new key that is not handed out yet.
	Candidate *staticKeyEntry `json:"candidate,omitempty"`
	// Previous is the key that the present one has replaced.
	Previous *replacedKey `json:"previous,omitempty"`
	// Interval is the time from the last rotation to the next as it was planned then:
	// it does not change in between.
	Interval seconds `json:"interval"`
	// VacantSince is since when there is no key; zero if there is one.
	VacantSince time.Time `json:"vacant_since,omitzero"`

	// ImportedID and ImportedHash are the key that an operator brought, which a
	// client may write again for ever.
	ImportedID   string `json:"imported_id,omitempty"`
	ImportedHash string `json:"imported_hash,omitempty"`

	// Leaving is until when the key of a role that is being deleted stays valid; zero
	// for one that stays.
	Leaving time.Time `json:"leaving,omitzero"`
	// AtOnce says that all keys of a role that is being deleted die at once.
	AtOnce bool `json:"at_once,omitempty"`
	// Due names the entry in the time index.
	Due time.Time `json:"due,omitzero"`
}

// A staticKeyEntry is a key of a static role, and what is handed out with it.
type staticKeyEntry struct {
	Config   string            `json:"config"` // where it was minted
	Provider string            `json:"provider"`
	Record   string            `json:"record"`
	Key      string            `json:"api_key"`
	KeyID    string            `json:"key_id"`
	Name     string            `json:"name"`
	Data     map[string]string `json:"data,omitempty"`
	Expires  time.Time         `json:"expires,omitzero"` // if that may come before the next rotation
	Made     time.Time         `json:"made"`
}

// A replacedKey stays valid until its time is over.
type replacedKey struct {
	Config string    `json:"config"`
	Record string    `json:"record"`
	Until  time.Time `json:"until"`
	// Marked says that its record is marked for deletion.
	Marked bool `json:"marked,omitempty"`
}

const (
	staticVersion = 1

	defaultStaticOverlap seconds = 24 * 3600

	// staticSlack is by how much the provider's own expiry of a static key lies
	// behind the overlap that follows its next rotation: so long may rotations fail
	// without the provider, and so long does the key of an abandoned mount live on.
	staticSlack = 7 * 24 * time.Hour
	// leastStaticSlack is what must be left of it below the provider's longest
	// lifetime.
	leastStaticSlack = 24 * time.Hour
	// overdueTTL is the least ttl of a role whose rotation is overdue.
	overdueTTL = 5 * time.Second
)

func newStaticEntry(name string) *staticEntry {
	return &staticEntry{
		Version:  staticVersion,
		keyRole:  keyRole{Fields: provider.Values{}, name: name},
		Rotation: rotationEntry{Overlap: defaultStaticOverlap},
		Verify:   true,
	}
}

func (e *staticEntry) clone() *staticEntry {
	next := *e
	next.keyRole = e.keyRole.clone()
	return &next
}

func (e *staticEntry) leaving() bool { return !e.Leaving.IsZero() }

// configs are the connections of the role and of its keys.
func (e *staticEntry) configs() []string {
	configs := []string{e.Config}
	for _, key := range []*staticKeyEntry{e.Key, e.Candidate} {
		if key != nil {
			configs = append(configs, key.Config)
		}
	}
	if e.Previous != nil {
		configs = append(configs, e.Previous.Config)
	}
	return configs
}

// record is what is told of the key's record.
func (k *staticKeyEntry) record(role string) record {
	return record{ID: k.Record, KeyID: k.KeyID, Name: k.Name, Kind: static, Config: k.Config, Role: role, Provider: k.Provider}
}

func (k *staticKeyEntry) pointer(role string) pointer {
	return pointer{config: k.Config, role: role, id: k.Record}
}

// loadStatic returns a static role; nil if there is none, or if it is being deleted.
func loadStatic(ctx context.Context, s logical.Storage, name string) (*staticEntry, error) {
	e, err := loadAnyStatic(ctx, s, name)
	if e != nil && e.leaving() {
		return nil, nil
	}
	return e, err
}

// loadAnyStatic is loadStatic with those that are being deleted.
func loadAnyStatic(ctx context.Context, s logical.Storage, name string) (*staticEntry, error) {
	e, err := load[staticEntry](ctx, s, staticKey(name))
	if e != nil {
		e.name = name
	}
	return e, err
}

// walkStatics calls visit with every static role, but for those that are being
// deleted, and with what is wrong with one that cannot be read.
func walkStatics(ctx context.Context, s logical.Storage, visit func(e *staticEntry, err error) error) error {
	return walk(ctx, s, staticPrefix, func(key string) error {
		e, err := loadStatic(ctx, s, strings.TrimPrefix(key, staticPrefix))
		if err == nil && e == nil {
			return nil
		}
		return visit(e, err)
	})
}

// rotateAt is when the sweep rotates next. A role without a key is due since it lost
// it.
func (e *staticEntry) rotateAt() time.Time {
	if e.Key == nil {
		if e.Rotation.RetryAt.After(e.VacantSince) {
			return e.Rotation.RetryAt
		}
		return e.VacantSince
	}
	return e.Rotation.at(e.rotateBefore())
}

// rotateBefore is when a key that expires too early, because it was imported or the
// provider allows no more, must have been replaced: so that those who have it have
// the overlap to change, or, if it does not live for that long, when two thirds of
// its life are over. Zero for all others.
func (e *staticEntry) rotateBefore() time.Time {
	if e.Key == nil || e.Key.Expires.IsZero() {
		return time.Time{}
	}
	rest := min(e.Rotation.Overlap.duration()+leastStaticSlack, e.Key.Expires.Sub(e.Key.Made)/3)
	return e.Key.Expires.Add(-rest)
}

func (e *staticEntry) missedWindow(now time.Time) bool {
	return e.Key != nil && e.Rotation.missed(e.rotateBefore(), now)
}

// rotateDue is when the next rotation should be made, however often it has failed.
func (e *staticEntry) rotateDue() time.Time {
	if e.Key == nil {
		return e.VacantSince
	}
	return e.Rotation.due(e.rotateBefore())
}

// ttl is how many seconds after now a reader should ask again: at the next rotation,
// or, if that is overdue, at the next try. It is never above the time between two
// rotations, whatever the clock does.
func (e *staticEntry) ttl(now time.Time) int64 {
	left := e.rotateAt().Sub(now)
	if e.rotateDue().Before(now) {
		left = max(left, overdueTTL)
	} else {
		left = min(left, e.period().duration())
	}
	return max(1, int64(math.Ceil(left.Seconds())))
}

// period is the time between two rotations; of a schedule, from the last one to the
// next.
func (e *staticEntry) period() seconds {
	if e.Rotation.Period > 0 {
		return e.Rotation.Period
	}
	return e.Interval
}

// planned notes the time to the next rotation.
func (e *staticEntry) planned() {
	e.Interval = max(1, seconds(math.Ceil(e.Rotation.Next.Sub(e.Rotation.Last).Seconds())))
}

// nextDue is when the sweep has to look at the role.
func (e *staticEntry) nextDue(now time.Time) time.Time {
	switch {
	case e.leaving(), e.Previous != nil && !e.Previous.Marked:
		return now
	case e.Candidate != nil:
		return now.Add(candidateRetry)
	}
	return e.rotateAt()
}

// expiryFor is when the provider is to refuse a key that is the role's until the next
// rotation at next.
func (e *staticEntry) expiryFor(conn *connection, next, now time.Time) time.Time {
	if next.Before(now) {
		next = now
	}
	end := next.Add(e.Rotation.Overlap.duration() + staticSlack)
	if last := now.Add(conn.provider.Limits().Lifetime); end.After(last) {
		return last
	}
	return end
}

// checkLifetime refuses a schedule that the provider's keys do not live long enough
// for.
func (e *staticEntry) checkLifetime(conn *connection, now time.Time) error {
	_, longest := e.Rotation.intervals(now.UTC())
	most := conn.provider.Limits().Lifetime - leastStaticSlack
	if longest+e.Rotation.Overlap.duration() <= most {
		return nil
	}
	field := "rotation_period"
	if e.Rotation.Schedule != "" {
		field = "rotation_schedule"
	}
	return badField(field, "the time between two rotations and the overlap make %s, and no key of provider %q lives longer than %s; rotate more often", longest+e.Rotation.Overlap.duration(), conn.provider.Name(), most)
}

// staticFields are the fields of a write.
func (b *backend) staticFields() map[string]*framework.FieldSchema {
	fields := b.keyRoleFields()
	fields["rotation_period"] = &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: "How often the key is rotated: 1m or more. Either this or rotation_schedule is required."}
	fields["rotation_schedule"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the key is rotated, as five fields of cron in UTC, such as 0 3 * * SAT."}
	fields["rotation_window"] = &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: "How long after a time of rotation_schedule the rotation may still be made: 1h or more; 0 = however late."}
	fields["overlap"] = &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: "How long the replaced key stays valid after a rotation, and the key after the role is deleted: shorter than the time between two rotations. A delete may give a shorter one.", Default: int(defaultStaticOverlap), Query: true}
	fields["verify"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "A new key must answer a cheap call before it is handed out.", Default: true}
	fields["api_key"] = &framework.FieldSchema{Type: framework.TypeString, Description: "A key that exists already, which the new role begins with; its first rotation replaces it. Needs key_id. Never read back.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}}
	fields["key_id"] = &framework.FieldSchema{Type: framework.TypeString, Description: "The provider's id of api_key."}
	return fields
}

func staticSlot(name string) string { return "role " + name }

// errNoStaticRole is the answer to a request that needs a static role.
func errNoStaticRole(name string) error {
	return refuse(http.StatusNotFound, "static role %q does not exist; write static-roles/%s", name, name)
}

func errRotatingStatic(name string) error {
	return refuse(http.StatusConflict, "static role %q is being written or rotated; ask again in a minute if another rotation is needed", name)
}

// errVacant is the answer while there is no key.
func errVacant(name string) error {
	return refuse(http.StatusServiceUnavailable, "the key of static role %q was revoked, and a new one is made within a minute or so; Retry-After: %d (or write rotate-role/%s)", name, int(overdueTTL.Seconds()), name)
}
