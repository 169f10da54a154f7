package openai_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// A pauseWatch is a network: it sees when requests leave, and when answers that
// are rate limits arrive.
type pauseWatch struct {
	next http.RoundTripper
	trip time.Duration // there and back

	mu     sync.Mutex
	sent   []time.Time
	pauses []pauseSpan
}

type pauseSpan struct{ from, to time.Time }

func (w *pauseWatch) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.sent = append(w.sent, time.Now())
	w.mu.Unlock()
	time.Sleep(w.trip / 2)
	resp, err := w.next.RoundTrip(req)
	time.Sleep(w.trip / 2)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pauses = append(w.pauses, pauseSpan{time.Now(), time.Now().Add(time.Duration(seconds) * time.Second)})
	}
	return resp, err
}

// sentInPause counts the requests that were sent between a rate limit and the
// end of its pause.
func (w *pauseWatch) sentInPause() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, at := range w.sent {
		for _, p := range w.pauses {
			if at.After(p.from) && at.Before(p.to) {
				n++
				break
			}
		}
	}
	return n
}

// Many leases that end at once, at a provider that allows few calls: all is done
// about as fast as it allows, without running into the limit at full width.
func TestDrainAtARateLimit(t *testing.T) {
	const keys, rate = 200, 20
	for _, trip := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(trip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := fakeopenai.New()
				account := server.PlantServiceAccount(project, "bot")
				watch := &pauseWatch{next: server.RoundTripper(), trip: trip}
				client := connect(t, (&world{server}).Settings(), watch)
				server.SetRate(rate, rate)

				start := time.Now()
				var wg sync.WaitGroup
				for range keys {
					key := server.PlantServiceAccountKey(account.ID, "vault-test", time.Hour)
					wg.Go(func() {
						if err := client.Delete(t.Context(), provider.Ref{ID: key.ID, Scope: project}); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				took := time.Since(start)
				t.Logf("%d deletes in %s, %d rate limits", keys, took, len(watch.pauses))
				if took < 8*time.Second || took > 12*time.Second {
					t.Errorf("took %s, want about 10s", took)
				}
				if got := len(server.LiveKeys()); got != 0 {
					t.Errorf("%d keys live on", got)
				}
				if n := watch.sentInPause(); n != 0 {
					t.Errorf("%d requests were sent while the connection was paused", n)
				}
				// Without latency all that may be under way is refused together:
				// 16, 8, 4, 2, and then no more than 2 in each of six pauses.
				if got := len(watch.pauses); got > 42 {
					t.Errorf("got %d rate limits, want 42 at most", got)
				}
			})
		})
	}
}
