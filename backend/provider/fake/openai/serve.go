package fakeopenai

import (
	"context"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// ServeHTTP answers one request. It stops when the request's context ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c := s.admit(r)
	c.body = body
	switch {
	case c.refused != nil:
	case err != nil:
		c.refused = badRequest("The request body could not be read.", "")
	default:
		s.send(w, c, s.run(r.Context(), c))
		return
	}
	s.send(w, c, c.refusalReply(c.refused))
}

// run takes an admitted request through its fault and its effect, in the order
// that Fault states.
func (s *Server) run(ctx context.Context, c *call) *reply {
	f := c.fault
	act(f.Before)
	wait(ctx, f.Latency)
	if f.Hang == HangBefore {
		hang(ctx)
	}
	if f.Redirect && !strings.HasPrefix(c.request.URL.Path, movedPrefix) {
		return c.redirectReply()
	}
	if !f.AfterEffect {
		if instead := c.instead(); instead != nil {
			return instead
		}
	}

	answer, refused := s.perform(c)

	act(f.After)
	wait(ctx, f.LatencyAfter)
	if f.Hang == HangAfter {
		hang(ctx)
	}
	if f.AfterEffect {
		if instead := c.instead(); instead != nil {
			return instead
		}
	}
	if refused != nil {
		return c.refusalReply(refused)
	}
	return c.successReply(answer)
}

// instead drops the connection or returns what a fault answers in place of the
// real answer; nil if it leaves that alone.
func (c *call) instead() *reply {
	if c.fault.Drop {
		drop()
	}
	if c.fault.Status != 0 {
		return c.faultReply()
	}
	return nil
}

// drop drops the connection.
func drop() { panic(http.ErrAbortHandler) }

// hang waits until the client has gone.
func hang(ctx context.Context) {
	<-ctx.Done()
	drop()
}

// wait lets d pass; it drops the connection if the client has gone by then.
func wait(ctx context.Context, d time.Duration) {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		drop()
	}
}

// act does what a test wants done at this moment.
func act(do func()) {
	if do != nil {
		do()
	}
}

// send writes a reply. It is what the client sees, whole or in part.
func (s *Server) send(w http.ResponseWriter, c *call, r *reply) {
	header := w.Header()
	c.commonHeaders(header)
	maps.Copy(header, r.header)
	header["Content-Type"] = nil // no sniffing
	if r.contentType != "" {
		header.Set("Content-Type", r.contentType)
	}
	if r.status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	s.answered(c, r.status)
	w.WriteHeader(r.status)
	if !r.cut {
		_, _ = w.Write(r.body) // the client may have gone
		return
	}
	_, _ = w.Write(r.body[:len(r.body)/2])
	_ = http.NewResponseController(w).Flush()
	if c.fault.Hang == HangMidBody {
		hang(c.request.Context())
	}
	drop()
}
