package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// An internet is a proxy behind which the hosts of the pages are simulated, under
// their real names. Whoever has its environment reaches them as an engine behind a
// company's proxy reaches the providers: nothing else has to be told of a test, and
// the commands of a page run as they stand. There is no way to any other host.
type internet struct {
	hosts map[string]http.Handler
	tls   *httptest.Server // all hosts, by the name in the request
	proxy *httptest.Server
	ca    string // file of the certificate that speaks for all hosts

	mu      sync.Mutex
	refused []string // hosts that somebody wanted to reach, and that are not here
}

// newInternet starts one. dir is for its certificate.
func newInternet(dir string, hosts map[string]http.Handler) (*internet, error) {
	in := &internet{hosts: hosts, ca: filepath.Join(dir, "ca.pem")}
	cert, err := certify(slices.Sorted(maps.Keys(hosts)))
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	if err := os.WriteFile(in.ca, text, 0o600); err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	in.tls = httptest.NewUnstartedServer(http.HandlerFunc(in.host))
	in.tls.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	in.tls.Config.ErrorLog = quiet
	in.tls.StartTLS()
	in.proxy = httptest.NewUnstartedServer(http.HandlerFunc(in.connect))
	in.proxy.Config.ErrorLog = quiet
	in.proxy.Start()
	return in, nil
}

// certify makes a certificate for all hosts, signed by itself.
func certify(hosts []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "acceptance tests"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              hosts,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// env is the environment of whoever is to be behind the proxy.
func (in *internet) env() []string {
	return []string{"HTTPS_PROXY=" + in.proxy.URL, "SSL_CERT_FILE=" + in.ca, "CURL_CA_BUNDLE=" + in.ca}
}

// host answers as the host of a request.
func (in *internet) host(w http.ResponseWriter, r *http.Request) {
	in.hosts[r.Host].ServeHTTP(w, r)
}

// connect is the proxy's one method.
func (in *internet) connect(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || in.hosts[host] == nil {
		in.mu.Lock()
		in.refused = append(in.refused, r.Host)
		in.mu.Unlock()
		http.Error(w, "there is no way to "+r.Host, http.StatusForbidden)
		return
	}
	there, err := net.Dial("tcp", in.tls.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		here.Close()
		there.Close()
		return
	}
	join(here, there)
}

// join hands everything over, in both directions, until either side ends.
func join(a, b net.Conn) {
	both := sync.OnceFunc(func() {
		a.Close()
		b.Close()
	})
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			defer both()
			_, _ = io.Copy(way[0], way[1])
		}()
	}
}

// close ends it, and reports hosts that a page names and that nobody simulates.
func (in *internet) close() error {
	in.proxy.Close()
	in.tls.CloseClientConnections()
	in.tls.Close()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.refused) > 0 {
		return fmt.Errorf("no such hosts are simulated: %v", in.refused)
	}
	return nil
}

// issuerOf is an OpenID provider that nobody has logged in to: all that an auth
// method asks when it is configured.
func issuerOf(url string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q, "authorization_endpoint": %q, "token_endpoint": %q, `+
			`"response_types_supported": ["id_token"], "subject_types_supported": ["public"], `+
			`"id_token_signing_alg_values_supported": ["RS256"]}`, url, url+"/keys", url+"/login", url+"/token")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"keys": []}`)
	})
	return mux
}
