package provider

import (
	"net/http"
	"time"
)

// An Attempt is one request that was sent to a provider, for whoever measures.
type Attempt struct {
	Took time.Duration // until the whole answer was read, or it failed
	// Kind is what failed, by the status of the answer alone; empty if nothing did. A
	// create whose outcome is unknown counts as Unavailable.
	Kind Kind
}

// observed returns what became of a request that was sent.
func observed(resp *http.Response, err error, took time.Duration) Attempt {
	switch {
	case err != nil:
		return Attempt{Took: took, Kind: Unavailable}
	case resp.StatusCode < 300:
		return Attempt{Took: took}
	}
	return Attempt{Took: took, Kind: kindOfStatus(resp.StatusCode, false)}
}

// Pauses is how often the provider has had the connection paused so far.
func (t *Transport) Pauses() int64 {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return t.gate.pauses
}

// Paused reports whether nothing may leave now, because the provider said so.
func (t *Transport) Paused() bool {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	return time.Until(t.gate.pausedTo) > 0
}
