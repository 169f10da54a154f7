package acceptance

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// A front is what stands before the nodes of a cluster: it sends each request to
// the node that leads, as a load balancer does. While there is none it answers 503.
type front struct {
	nodes []*node
	http  *httptest.Server
	way   *http.Transport // without connections that a node may close just when one is used

	mu    sync.Mutex
	node  *node     // that led when it was last asked
	asked time.Time // when that was
}

// frontTrust is for how long a node is taken to lead on. What it gets after the end
// of its term it hands on, or refuses, by itself.
const frontTrust = 200 * time.Millisecond

func newFront(nodes []*node) *front {
	f := &front{nodes: nodes, way: &http.Transport{DisableKeepAlives: true}}
	f.http = httptest.NewUnstartedServer(f)
	f.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.http.Start()
	return f
}

// close ends it with all requests that hang.
func (f *front) close() {
	f.http.CloseClientConnections()
	f.http.Close()
}

func (f *front) leader(ctx context.Context) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.node == nil || time.Since(f.asked) > frontTrust {
		f.node, f.asked = leaderOf(ctx, f.nodes), time.Now()
	}
	return f.node
}

func (f *front) forget(n *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.node == n {
		f.node = nil
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.leader(r.Context())
	if n == nil {
		http.Error(w, `{"errors":["no node leads"]}`, http.StatusServiceUnavailable)
		return
	}
	target, err := url.Parse(n.addr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: f.way,
		ErrorLog:  f.http.Config.ErrorLog,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			f.forget(n)
			http.Error(w, fmt.Sprintf(`{"errors":[%q]}`, "the node that led does not answer: "+err.Error()), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}
