package fakeopenai

import "time"

// A bucket is a token bucket. Its zero value admits everything.
type bucket struct {
	perSecond float64
	burst     int
	tokens    float64
	filled    time.Time
}

// SetRate limits all admin calls together to perSecond, with bursts of up to
// burst; 0 lifts the limit. A call beyond it is answered 429 with Retry-After: 1
// and is otherwise not processed.
func (s *Server) SetRate(perSecond float64, burst int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	burst = max(burst, 1)
	s.bucket = bucket{perSecond: perSecond, burst: burst, tokens: float64(burst), filled: s.clock()}
}

// take reports whether a call may pass now, and counts it if so.
func (b *bucket) take(now time.Time) bool {
	if b.perSecond <= 0 {
		return true
	}
	if passed := now.Sub(b.filled); passed > 0 {
		b.tokens = min(float64(b.burst), b.tokens+passed.Seconds()*b.perSecond)
		b.filled = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
