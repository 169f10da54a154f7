package backend

import (
	"encoding/pem"
	"net/http/httptest"
	"testing"
)

// selfSigned is a certificate in PEM.
func selfSigned(t *testing.T) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}
