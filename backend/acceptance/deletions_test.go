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
	underWay map[string]int // by path
	doubled  []string       // paths, once for each deletion that came too early
}

// probePath ends the path of what never is: whether it may delete, the engine asks
// by deleting that.
const probePath = "/vault_probe"

func (d *deletions) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && !strings.HasSuffix(r.URL.Path, probePath) {
			d.begin(r.URL.Path)
			defer d.end(r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
}

func (d *deletions) begin(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay == nil {
		d.underWay = map[string]int{}
	}
	if d.underWay[path] > 0 {
		d.doubled = append(d.doubled, path)
	}
	d.underWay[path]++
}

func (d *deletions) end(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underWay[path]--; d.underWay[path] == 0 {
		delete(d.underWay, path)
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
