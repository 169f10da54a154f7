package fakeopenai

import "time"

// Knobs choose how the simulator behaves where no source says how OpenAI does,
// and what it is slow at. The zero value of each is the default.
type Knobs struct {
	// HideFor keeps new keys and service accounts out of lists for a while.
	HideFor time.Duration
	// YoungNotFoundFor makes get, update and delete of a project key younger than
	// this answer 404. Nothing happens to the key.
	YoungNotFoundFor time.Duration
	// YoungAccountNotFoundFor does so for service accounts; keys cannot be created
	// in them either.
	YoungAccountNotFoundFor time.Duration

	// DataPlaneDelay is how long the data plane refuses new keys.
	DataPlaneDelay time.Duration
	// DeletedAcceptedFor is how long the data plane accepts deleted keys.
	DeletedAcceptedFor time.Duration
	// NoneRoleKeysWork lets keys of accounts without a role work.
	NoneRoleKeysWork bool

	// ExpiryPolicy, if set, makes expires_in_seconds mandatory for new project
	// keys, and refuses longer lives with 400, at updates too.
	ExpiryPolicy time.Duration
	// MaxExpiry, if set, silently shortens lives: the expires_at in the answer is
	// earlier than what was asked. It also gives one to keys without.
	MaxExpiry time.Duration
	// IgnoreExpiry ignores expires_in_seconds: keys do not expire.
	IgnoreExpiry bool
	// UpdateUnsupported answers 405 to key updates, which came in October 2026.
	UpdateUnsupported bool

	// DefaultListHidesServiceAccountKeys hides keys of service accounts from a
	// list without owner_project_access; nil means true. The field's documentation
	// says that such a list "may exclude some enabled keys" (openai-go v3.95.0).
	DefaultListHidesServiceAccountKeys *bool
	// ExpiredKeysUnlisted leaves expired keys out of lists.
	ExpiredKeysUnlisted bool
	// LastIDNull answers last_id null although has_more is true.
	LastIDNull bool
	// PageSizeCap bounds pages, whatever limit asks for; 0 means not.
	PageSizeCap int

	// NameLimit is the longest name of a key or account, in bytes; 0 means none.
	NameLimit int

	// AdminKeyDelay is how long a new admin key is refused with 401.
	AdminKeyDelay time.Duration
	// AdminKeyHideFor keeps new admin keys out of lists for a while.
	AdminKeyHideFor time.Duration
	// AdminKeyMaxExpiry, if set, silently shortens the lives of new admin keys, as
	// MaxExpiry does those of project keys, and gives one to those without.
	AdminKeyMaxExpiry time.Duration
	// AdminKeysOfServiceAccount makes the admin keys that are created from now on
	// belong to a service account each, instead of a person.
	AdminKeysOfServiceAccount bool
	// AdminKeysForbidden answers 403 to all that concerns admin keys, whoever asks,
	// as to a restricted key.
	AdminKeysForbidden bool
	// AdminSelfDeleteForbidden answers 403 to an admin key that deletes itself.
	AdminSelfDeleteForbidden bool
	// WeakerAdminKeys makes the admin keys that are created from now on read-only:
	// 403 for all that writes.
	WeakerAdminKeys bool

	// NoGrease leaves out the unknown fields and headers and keeps fields in their
	// documented order, for demonstrations.
	NoGrease bool
}

// SetKnobs replaces all knobs.
func (s *Server) SetKnobs(k Knobs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knobs = k
}

func (k Knobs) defaultListHides() bool {
	return k.DefaultListHidesServiceAccountKeys == nil || *k.DefaultListHidesServiceAccountKeys
}
