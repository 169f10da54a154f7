package provider

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// This file is about the transport that a connection has of its own, with real
// sockets.

func TestNewTransportRefuses(t *testing.T) {
	good := TransportConfig{Timeout: time.Second, MaxConcurrency: 1}
	for name, spoil := range map[string]func(*TransportConfig){
		"timeout":     func(c *TransportConfig) { c.Timeout = 0 },
		"concurrency": func(c *TransportConfig) { c.MaxConcurrency = 0 },
		"ca_cert":     func(c *TransportConfig) { c.CACert = "not PEM" },
		"ca_cert, whatever the base": func(c *TransportConfig) {
			c.CACert, c.Base = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", always(200)
		},
	} {
		cfg := good
		spoil(&cfg)
		_, err := NewTransport(cfg)
		if _, isField := errors.AsType[*FieldError](err); err == nil || isField != strings.HasPrefix(name, "ca_cert") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTransportTrustsCACert(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for caCert, patience := range map[string]time.Duration{cert: 10 * time.Second, "": 100 * time.Millisecond} {
		want := caCert != ""
		transport, err := NewTransport(TransportConfig{Timeout: 10 * time.Second, MaxConcurrency: 1, CACert: caCert})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		req, _ := http.NewRequestWithContext(ctx, "POST", server.URL, bytes.NewReader([]byte("{}")))
		_, err = transport.RoundTrip(req)
		if (err == nil) != want {
			t.Errorf("with the certificate %t: got %v", want, err)
		}
		if _, unsent := errors.AsType[*notSentError](err); !want && !unsent {
			t.Errorf("got %v, want proof that nothing was sent", err)
		}
		cancel()
		transport.Close()
	}
}

// The proxy variables are read once in a process, hence one of its own.
func TestTransportHonoursProxy(t *testing.T) {
	if os.Getenv("TEST_PROXIED") != "" {
		transport, err := NewTransport(TransportConfig{Timeout: 10 * time.Second, MaxConcurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://provider.invalid/v1/keys", nil)
		if resp, err := transport.RoundTrip(req); err != nil || resp.StatusCode != http.StatusTeapot {
			t.Errorf("got %v, %v, want the proxy's answer", resp, err)
		}
		return
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "provider.invalid" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer proxy.Close()
	self := exec.Command(os.Args[0], "-test.run=^TestTransportHonoursProxy$", "-test.count=1")
	self.Env = append(os.Environ(), "TEST_PROXIED=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
