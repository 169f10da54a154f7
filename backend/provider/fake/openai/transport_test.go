package fakeopenai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// traced sends a request, and reports whether it got a connection.
func traced(w *world, req *http.Request) (got bool, r result) {
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { got = true },
	})
	r = w.do(req.WithContext(ctx))
	return got, r
}

func TestGotConn(t *testing.T) {
	w := newWorld(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if got, r := traced(w, w.request(over, "GET", demo, w.AdminKey(), "")); got || !errors.Is(r.err, context.Canceled) {
		t.Errorf("ended context: connected %t, %v", got, r.err)
	}
	w.Inject(Fault{Op: OpGetProject, Times: 1, Refuse: true})
	if got, r := traced(w, w.request(t.Context(), "GET", demo, w.AdminKey(), "")); got || r.err == nil {
		t.Errorf("refused: connected %t, %v", got, r.err)
	}
	if n := w.Count(OpAny); n != 0 {
		t.Errorf("%d requests arrived, want none", n)
	}
	w.Inject(DropBefore(OpGetProject, 1))
	if got, r := traced(w, w.request(t.Context(), "GET", demo, w.AdminKey(), "")); !got || !errors.Is(r.err, io.ErrUnexpectedEOF) {
		t.Errorf("dropped: connected %t, %v", got, r.err)
	}
	if got, r := traced(w, w.request(t.Context(), "GET", demo, w.AdminKey(), "")); !got || r.status != 200 {
		t.Errorf("connected %t, %d", got, r.status)
	}
}

func TestClosingTheBodyEndsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
		w := newWorld(t, WithFault(Fault{Hang: HangMidBody}))
		resp, err := w.RoundTripper().RoundTrip(w.request(t.Context(), "GET", demo, w.AdminKey(), ""))
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1)
		if _, err := io.ReadFull(resp.Body, part); err != nil || part[0] != '{' {
			t.Errorf("body starts with %q, %v", part, err)
		}
		resp.Body.Close()
	})
}

func TestCauseOfTheContextIsTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithFault(Fault{Hang: HangBefore}))
		cause := errors.New("budget spent")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		resp, err := w.RoundTripper().RoundTrip(w.request(ctx, "GET", demo, w.AdminKey(), ""))
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, cause) {
			t.Errorf("error = %v, want %v", err, cause)
		}
	})
}

func TestRequestBodyIsClosed(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{accountsPath, "/nothing"} {
		req := w.request(t.Context(), "POST", path, w.AdminKey(), `{"name":"x"}`)
		body := &closeCounter{Reader: strings.NewReader(`{"name":"x"}`)}
		req.Body = body
		resp, err := w.RoundTripper().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if body.closed == 0 {
			t.Errorf("POST %s: body left open", path)
		}
	}
}

type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

// Over a real socket it is the same: the handler, not the transport, misbehaves.
func TestOverASocket(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(w.Server)
	defer srv.Close()
	send := func(f Fault) result {
		w.Inject(f)
		req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+accountsPath, strings.NewReader(`{"name":"bot"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.AdminKey())
		req.Header.Set("Content-Type", "application/json")
		resp, err := srv.Client().Do(req)
		if err != nil {
			return result{err: err}
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return result{status: resp.StatusCode, header: resp.Header, raw: string(raw), err: err}
	}
	if r := send(DropAfter(OpCreateServiceAccount, 1)); r.err == nil {
		t.Errorf("drop: %d %s", r.status, r.raw)
	}
	if r := send(Spoiled(OpCreateServiceAccount, CutOff, 1)); r.status != 200 || !errors.Is(r.err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %d, %v", r.status, r.err)
	}
	if r := send(Spoiled(OpCreateServiceAccount, NoContentType, 1)); r.status != 200 || r.header.Values("Content-Type") != nil {
		t.Errorf("no content type: %d %v", r.status, r.header)
	}
	if r := send(Fault{Op: OpCreateServiceAccount, Times: 1, Status: 204}); r.status != 204 || r.err != nil {
		t.Errorf("204: %d, %v", r.status, r.err)
	}
	w.wantLive(3)
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	create := accountsPath + "/" + w.account("bot") + "/api_keys"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				r := w.try("POST", create, `{}`)
				w.wantAlive(r.text("value"), true)
				if list := w.try("GET", keysPath+"?owner_project_access=any", ""); list.status != 200 {
					t.Errorf("list = %d", list.status)
				}
				if gone := w.try("DELETE", keysPath+"/"+r.text("id"), ""); gone.status != 200 {
					t.Errorf("delete = %d", gone.status)
				}
				w.wantAlive(r.text("value"), false)
				w.Requests()
				w.Secrets()
			}
		})
	}
	wg.Wait()
	w.wantLive(0)
	if got := len(w.Keys()); got != 160 {
		t.Errorf("%d keys were made, want 160", got)
	}
}
