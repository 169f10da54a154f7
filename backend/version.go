package backend

import "time"

// version is set by the build: empty, or a semantic version with a leading v.
// Vault refuses a plugin whose running version is anything else.
var version string

// pendingAgeText and tokenGraceText override defaultPendingAge and clockTolerance, for
// tokens. Only a build for tests sets them.
var pendingAgeText, tokenGraceText string

// defaultPendingAge is how old a pending record must be before its key is
// looked up by name and, if the provider does not list it, held to be never
// made. It is longer than the longest create that the engine waits for.
const defaultPendingAge = 5 * time.Minute

// Version returns the version of this build; empty if it has none.
func Version() string { return version }

// pendingAge returns the age in force.
func pendingAge() time.Duration { return overridden(defaultPendingAge, pendingAgeText) }

// tokenGrace is how long after its expiry a token may still live: the clocks differ.
func tokenGrace() time.Duration { return overridden(clockTolerance, tokenGraceText) }

func overridden(usual time.Duration, text string) time.Duration {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d
	}
	return usual
}
