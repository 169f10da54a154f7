package provider

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A network is a base transport made of a function.
type network func(*http.Request) (*http.Response, error)

func (n network) RoundTrip(req *http.Request) (*http.Response, error) { return n(req) }

// connect tells the trace of a request that it has a connection.
func connect(req *http.Request) {
	trace := httptrace.ContextClientTrace(req.Context())
	trace.GetConn("provider.test:443")
	trace.GotConn(httptrace.GotConnInfo{})
}

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// always answers every request alike.
func always(status int, header ...string) network {
	return func(req *http.Request) (*http.Response, error) {
		connect(req)
		return answer(status, "{}", header...), nil
	}
}

// hang answers nothing until the request's time is up.
func hang(req *http.Request) (*http.Response, error) {
	connect(req)
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func newTransport(t *testing.T, base network) *Transport {
	t.Helper()
	transport, err := NewTransport(TransportConfig{Timeout: 30 * time.Second, MaxConcurrency: 2, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

func newRequest(ctx context.Context, method, body string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "https://provider.test/v1/keys", strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return req
}

func TestTransportRepeats(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	broken := func(req *http.Request) (*http.Response, error) { connect(req); return nil, io.ErrUnexpectedEOF }
	unconnected := func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("provider.test:443")
		return nil, errors.New("tls: handshake failure")
	}
	untraced := func(*http.Request) (*http.Response, error) { return nil, errors.New("something broke") }
	cut := func(req *http.Request) (*http.Response, error) {
		connect(req)
		body := io.MultiReader(strings.NewReader(`{"id":`), errReader{io.ErrUnexpectedEOF})
		return &http.Response{StatusCode: 200, Body: io.NopCloser(body)}, nil
	}
	for _, test := range []struct {
		name   string
		method string
		base   network
		sent   int64
	}{
		{"a success is kept", "GET", always(200), 1},
		{"a redirect is kept", "GET", always(307, "Location", "/elsewhere"), 1},
		{"a refusal is kept", "GET", always(404), 1},
		{"a conflict is kept", "DELETE", always(409), 1},
		{"a GET may be repeated", "GET", always(500), 4},
		{"a HEAD may be repeated", "HEAD", always(502), 4},
		{"a DELETE may be repeated", "DELETE", always(503), 4},
		{"a GET that took too long may be repeated", "GET", always(408), 4},
		{"a POST may not", "POST", always(500), 1},
		{"a POST that took too long may not", "POST", always(408), 1},
		{"a PUT may not", "PUT", always(500), 1},
		{"a PATCH may not", "PATCH", always(500), 1},
		{"a POST that is marked may be", "REPEATABLE", always(500), 4},
		{"a GET on a broken connection may be", "GET", broken, 4},
		{"a POST on a broken connection may not", "POST", broken, 1},
		{"a GET with a cut answer may be", "GET", cut, 4},
		{"a POST with a cut answer may not", "POST", cut, 1},
		{"a POST that never left may be", "POST", func(*http.Request) (*http.Response, error) { return nil, refused }, 4},
		{"a POST without a connection may be", "POST", unconnected, 4},
		{"a POST without proof may not", "POST", untraced, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, method := t.Context(), test.method
				if method == "REPEATABLE" {
					ctx, method = Repeatable(ctx), "POST"
				}
				transport := newTransport(t, test.base)
				start := time.Now()
				_, _ = transport.RoundTrip(newRequest(ctx, method, "{}"))
				if got := transport.sent.Load(); got != test.sent {
					t.Errorf("sent %d times, want %d", got, test.sent)
				}
				if took := time.Since(start); took > 2*time.Second || test.sent > 1 && took < 800*time.Millisecond {
					t.Errorf("took %s, want one backoff after the other", took)
				}
			})
		})
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// A rate limit was not processed, so that anything may be sent again, as long as
// the caller has time.
func TestTransportWaitsForRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
			connect(req)
			body, _ := io.ReadAll(req.Body)
			bodies = append(bodies, string(body))
			if len(bodies) < 6 {
				return answer(429, "{}", "Retry-After", "5"), nil
			}
			return answer(200, "{}"), nil
		})
		start := time.Now()
		resp, err := transport.RoundTrip(newRequest(t.Context(), "POST", `{"name":"x"}`))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		if took := time.Since(start); took != 25*time.Second {
			t.Errorf("took %s, want 25s", took)
		}
		for _, body := range bodies {
			if body != `{"name":"x"}` {
				t.Errorf("sent body %q", body)
			}
		}
	})
}

func TestTransportTellsRateLimitThatOutlastsTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, always(429, "Retry-After", "90"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		resp, err := transport.RoundTrip(newRequest(ctx, "POST", "{}"))
		if err != nil || resp.StatusCode != 429 {
			t.Fatalf("got %v, %v, want the provider's own answer", resp, err)
		}
		_, err = transport.RoundTrip(newRequest(ctx, "GET", ""))
		if !IsKind(err, RateLimited) || RetryAfter(err) != 90*time.Second {
			t.Errorf("got %v, want to be told of the pause", err)
		}
		if took := time.Since(start); took != 0 || transport.sent.Load() != 1 {
			t.Errorf("took %s and sent %d, want no wait and one request", took, transport.sent.Load())
		}
	})
}

func TestTransportHonoursRetryAfterOfOutage(t *testing.T) {
	for seconds, want := range map[string]struct {
		sent int64
		took time.Duration
	}{
		"10": {4, 30 * time.Second},
		"31": {1, 0}, // longer than it waits
		"25": {3, 50 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			transport := newTransport(t, always(503, "Retry-After", seconds))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			resp, err := transport.RoundTrip(newRequest(ctx, "GET", ""))
			if err != nil || resp.StatusCode != 503 {
				t.Fatalf("got %v, %v", resp, err)
			}
			if transport.sent.Load() != want.sent || time.Since(start) != want.took {
				t.Errorf("Retry-After %s: sent %d in %s, want %d in %s", seconds, transport.sent.Load(), time.Since(start), want.sent, want.took)
			}
		})
	}
}

func TestTransportWithoutBodyToRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport(t, always(429, "Retry-After", "1"))
		req := newRequest(t.Context(), "POST", "{}")
		req.GetBody = nil
		resp, err := transport.RoundTrip(req)
		if err != nil || resp.StatusCode != 429 || transport.sent.Load() != 1 {
			t.Errorf("got %v, %v after %d requests, want the first answer", resp, err, transport.sent.Load())
		}
	})
}

func TestTransportBoundsAnswers(t *testing.T) {
	var read atomic.Int64
	transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
		connect(req)
		return &http.Response{StatusCode: 200, Body: io.NopCloser(countReader{&read})}, nil
	})
	resp, err := transport.RoundTrip(newRequest(t.Context(), "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if len(body) != maxAnswer || read.Load() > 2*maxAnswer {
		t.Errorf("got %d bytes, read %d, want %d", len(body), read.Load(), maxAnswer)
	}
}

// countReader never ends.
type countReader struct{ n *atomic.Int64 }

func (r countReader) Read(p []byte) (int, error) { r.n.Add(int64(len(p))); return len(p), nil }

func TestTransportTimeout(t *testing.T) {
	slowBody := func(req *http.Request) (*http.Response, error) {
		connect(req)
		return &http.Response{StatusCode: 200, Body: io.NopCloser(waitReader{req.Context()})}, nil
	}
	for name, base := range map[string]network{"no answer": hang, "no end of the answer": slowBody} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := newTransport(t, base)
				start := time.Now()
				_, err := transport.RoundTrip(newRequest(t.Context(), "POST", "{}"))
				if err == nil || err.Error() != "no answer within the request_timeout of 30s" {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took != 30*time.Second {
					t.Errorf("took %s, want 30s", took)
				}
				_, err = transport.RoundTrip(newRequest(t.Context(), "GET", ""))
				if took := time.Since(start); err == nil || took < 150*time.Second || transport.sent.Load() != 5 {
					t.Errorf("got %v after %s and %d requests, want three repeats", err, took, transport.sent.Load())
				}
			})
		})
	}
}

// waitReader waits for the end of its context.
type waitReader struct{ ctx context.Context }

func (r waitReader) Read([]byte) (int, error) { <-r.ctx.Done(); return 0, r.ctx.Err() }

// A failure needs no body to be one: a 403 that breaks off is not an unknown
// outcome.
func TestTransportKeepsStatusOfBrokenFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		statuses := []int{429, 403}
		transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
			connect(req)
			status := statuses[0]
			statuses = statuses[1:]
			return &http.Response{StatusCode: status, Body: io.NopCloser(errReader{io.ErrUnexpectedEOF})}, nil
		})
		resp, err := transport.RoundTrip(newRequest(t.Context(), "POST", "{}"))
		if err != nil || resp.StatusCode != 403 {
			t.Errorf("got %v, %v, want 403", resp, err)
		}
	})
}

func TestTransportLimitsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		transport := newTransport(t, func(req *http.Request) (*http.Response, error) {
			connect(req)
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return answer(200, "{}"), nil
		})
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _, _ = transport.RoundTrip(newRequest(t.Context(), "GET", "")) })
		}
		wg.Wait()
		if most.Load() != 2 || time.Since(start) != 5*time.Second {
			t.Errorf("got %d at once and %s, want 2 and 5s", most.Load(), time.Since(start))
		}
	})
}

func TestTransportClosesBodyOfRequestWithoutTurn(t *testing.T) {
	transport := newTransport(t, always(200))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := newRequest(ctx, "POST", "{}")
	body := &closeWatch{Reader: strings.NewReader("{}")}
	req.Body = body
	if _, err := transport.RoundTrip(req); !errors.Is(err, context.Canceled) || !body.closed || transport.sent.Load() != 0 {
		t.Errorf("got %v, closed %t, sent %d", err, body.closed, transport.sent.Load())
	}
}

type closeWatch struct {
	io.Reader
	closed bool
}

func (c *closeWatch) Close() error { c.closed = true; return nil }

func TestTransportFollowsNoRedirect(t *testing.T) {
	transport := newTransport(t, always(307, "Location", "https://elsewhere.test/"))
	resp, err := transport.HTTPClient().Do(newRequest(t.Context(), "POST", "{}"))
	if err != nil || resp.StatusCode != 307 || transport.sent.Load() != 1 {
		t.Errorf("got %v, %v after %d requests, want the redirect", resp, err, transport.sent.Load())
	}
}
