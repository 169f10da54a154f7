package acceptance

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
)

// A stranger is a host that is none of the providers'. It counts who connects.
type stranger struct {
	http        *httptest.Server
	connections atomic.Int64
}

func newStranger() *stranger {
	o := &stranger{}
	o.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	o.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	o.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			o.connections.Add(1)
		}
	}
	o.http.Start()
	return o
}

// fakeOther wants so many connections to the stranger.
func (s *script) fakeOther(args []string) error {
	if len(args) != 1 {
		return usage("fake other N")
	}
	return wantNumber("connections to $OTHER_URL", int(s.other.connections.Load()), args[0], nil)
}
