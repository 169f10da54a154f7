package acceptance

import (
	"net/http"
	"strings"
	"sync"
)

// deletions watches for deletions of one thing that are under way at once: by two
// sweeps, or a sweep and a revoke, that do not know of each other.
type deletions struct {
	mu       sync.Mutex
	underWay map[string]int // by what is deleted
	doubled  []string       // once for each deletion that came too early
}

// deletedPath is what a request deletes at a provider whose API does that by DELETE.
func deletedPath(r *http.Request) string {
	if r.Method != http.MethodDelete {
		return ""
	}
	return r.URL.Path
}

// watched is a simulation under watch.
func (d *deletions) watched(next simulation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if what := next.deletes(r); what != "" {
			d.begin(what)
			defer d.end(what)
		}
		next.ServeHTTP(w, r)
	})
}

func (d *deletions) begin(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay == nil {
		d.underWay = map[string]int{}
	}
	if d.underWay[what] > 0 {
		d.doubled = append(d.doubled, what)
	}
	d.underWay[what]++
}

func (d *deletions) end(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay[what]--; d.underWay[what] == 0 {
		delete(d.underWay, what)
	}
}

// apart reports deletions that began while one of the same thing was under way.
func (d *deletions) apart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.doubled) == 0 {
		return nil
	}
	return unmetf("deleted by two at once:\n%s", strings.Join(d.doubled, "\n"))
}
