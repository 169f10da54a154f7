package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"syscall"
)

// RoundTripper returns a transport that reaches a handler in memory, whatever the
// host of a request. refuses reports whether a request finds no connection. It needs no sockets and works in a synctest bubble.
//
// It behaves as a real transport does: GotConn of the context's trace is called
// before the handler runs, a dropped connection is io.ErrUnexpectedEOF, in the
// middle of a body too, and the handler's context ends with the request's, or
// when the answer's body is closed. Once the context has ended, RoundTrip returns
// when the handler has: what it did, it has done.
func RoundTripper(h http.Handler, refuses func(*http.Request) bool) http.RoundTripper {
	return &transport{h, refuses}
}

type transport struct {
	server  http.Handler
	refuses func(*http.Request) bool
}

// RoundTrip is described at RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if err := context.Cause(req.Context()); err != nil {
		return nil, err
	}
	if t.refuses(req) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}

	ctx, cancel := context.WithCancel(req.Context())
	x := &exchange{
		ctx: ctx, cancel: cancel, header: http.Header{},
		started: make(chan struct{}), ended: make(chan struct{}), more: make(chan struct{}, 1),
	}
	go x.serve(t.server, serverRequest(ctx, req))
	select {
	case <-x.started:
	case <-x.ended:
	case <-ctx.Done():
	}
	if err := context.Cause(req.Context()); err != nil {
		cancel()
		<-x.ended
		return nil, err
	}
	return x.response(req)
}

// serverRequest is req as a server gets it.
func serverRequest(ctx context.Context, req *http.Request) *http.Request {
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	in.URL.Scheme, in.URL.Host = "", ""
	in.RemoteAddr = "192.0.2.1:1234"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// An exchange is one request under way: the handler writes to it, the client
// reads the answer's body from it.
type exchange struct {
	ctx     context.Context
	cancel  context.CancelFunc
	header  http.Header   // the handler's
	started chan struct{} // closed when the answer's header is on its way
	ended   chan struct{} // closed when the handler has returned
	more    chan struct{} // has an element if there is more to read

	mu     sync.Mutex // guards what follows
	status int
	sent   http.Header
	buf    []byte
	flush  bool
	done   bool // the handler has returned
	broken bool // and dropped the connection
}

func (x *exchange) serve(h http.Handler, r *http.Request) {
	defer func() {
		v := recover()
		if err, ok := v.(error); v != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
			panic(v) // a bug
		}
		x.mu.Lock()
		x.done, x.broken = true, v != nil
		x.mu.Unlock()
		x.notify()
		close(x.ended)
	}()
	h.ServeHTTP(x, r)
	x.WriteHeader(http.StatusOK) // if the handler wrote nothing
}

// response is what the client gets once the answer has started or the handler
// has ended.
func (x *exchange) response(req *http.Request) (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken && !x.flush {
		x.cancel()
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", x.status, http.StatusText(x.status)),
		StatusCode: x.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.sent, Body: x, ContentLength: contentLength(x.sent), Request: req,
	}, nil
}

// Header, WriteHeader, Write and Flush are the handler's side.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader is described at Header.
func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == 0 {
		x.status, x.sent = status, x.header.Clone()
		for name, values := range x.sent {
			if len(values) == 0 {
				delete(x.sent, name)
			}
		}
	}
}

// Write is described at Header.
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	x.buf = append(x.buf, p...)
	x.mu.Unlock()
	x.notify()
	return len(p), nil
}

// Flush is described at Header.
func (x *exchange) Flush() {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.flush {
		x.flush = true
		close(x.started)
	}
}

func (x *exchange) notify() {
	select {
	case x.more <- struct{}{}:
	default:
	}
}

// Read and Close are the client's side. Not for concurrent use.
func (x *exchange) Read(p []byte) (int, error) {
	for {
		x.mu.Lock()
		if len(x.buf) > 0 {
			n := copy(p, x.buf)
			x.buf = x.buf[n:]
			x.mu.Unlock()
			return n, nil
		}
		done, broken := x.done, x.broken
		x.mu.Unlock()
		if done && !broken {
			return 0, io.EOF
		}
		if err := context.Cause(x.ctx); err != nil {
			return 0, err
		}
		if broken {
			return 0, io.ErrUnexpectedEOF
		}
		select {
		case <-x.more:
		case <-x.ctx.Done():
		}
	}
}

// Close is described at Read.
func (x *exchange) Close() error {
	x.cancel()
	<-x.ended
	return nil
}

func contentLength(h http.Header) int64 {
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		return n
	}
	return -1
}
