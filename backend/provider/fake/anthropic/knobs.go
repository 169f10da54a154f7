package fakeanthropic

import (
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// Knobs choose how the simulator behaves where no source says how Anthropic does,
// and what it is slow at. The zero value of each is the default.
type Knobs struct {
	// ActiveDelay is how long the data plane refuses keys that were activated.
	ActiveDelay time.Duration
	// InactiveDelay is how long the data plane accepts keys that were deactivated.
	InactiveDelay time.Duration
	// JWKSCache is how long the exchange goes on with the keys that an issuer had
	// before an update: it knows no new one, and takes those that were removed.
	JWKSCache time.Duration

	// RemovalKillsTokens ends the tokens of a service account that leaves their
	// workspace.
	RemovalKillsTokens bool
	// ArchivedIsReversible lets an archived key become active again.
	ArchivedIsReversible bool
	// UnknownWorkspaceRefused answers 404 to a list of keys of a workspace that does
	// not exist, instead of an empty list.
	UnknownWorkspaceRefused bool
	// IgnoreFilters lists keys of all workspaces and states.
	IgnoreFilters bool
	// IgnoreCursor answers the first page, whichever is asked for.
	IgnoreCursor bool
	// PageSize is the longest page; 0 means what is asked for.
	PageSize int
	// IgnoreName leaves a key's name as it was, IgnoreStatus its status.
	IgnoreName, IgnoreStatus bool
	// KeyCreateStatus is what an attempt to create a key is answered; 0 means 405.
	KeyCreateStatus int
	// LoseIssuerUpdate answers an update of an issuer as if it was done.
	LoseIssuerUpdate bool

	// NoGrease leaves out the unknown members and headers, for demonstrations.
	NoGrease bool
}

// A Request is one that arrived.
type Request struct {
	Op                     fake.Op
	Method, Path, RawQuery string
	Body                   string
	Status                 int // what was answered; 0 while it is under way, and if the connection was dropped
	At                     time.Time
	Fault                  string // which one it met; empty for none
	// Denied says why an exchange was denied, which its answer does not.
	Denied string
}
