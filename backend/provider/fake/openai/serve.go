package fakeopenai

import (
	"io"
	"net/http"

	"vault-plugin-secrets-llm/backend/provider/fake"
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
		s.send(w, c, s.run(c))
		return
	}
	s.send(w, c, c.refusalReply(c.refused))
}

// run takes an admitted request through its fault and its effect.
func (s *Server) run(c *call) *fake.Reply {
	return c.fault.Run(c.request, c.faultReply, func() *fake.Reply {
		answer, refused := s.perform(c)
		if refused != nil {
			return c.refusalReply(refused)
		}
		return c.successReply(answer)
	})
}

// send writes a reply and notes it.
func (s *Server) send(w http.ResponseWriter, c *call, r *fake.Reply) {
	c.commonHeaders(w.Header())
	s.answered(c, r.Status)
	r.Send(c.request.Context(), w, c.fault)
}
