package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file is for the scripts about operators: what their command line cannot say.

// cmdHTTP sends one request, as curl would: nothing tidies up its path.
func (s *script) cmdHTTP(ts *testscript.TestScript, args []string) error {
	const form = "http STATUS METHOD PATH [FIELD=VALUE]..., after vaultd start"
	if len(args) < 3 || s.server == nil {
		return usage(form)
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return usage(form)
	}
	req, err := request(args[1], ts.Getenv("VAULT_ADDR")+"/v1/"+args[2], args[3:])
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", ts.Getenv("VAULT_TOKEN"))
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if _, err := ts.Stdout().Write(body); err != nil {
		return err
	}
	if resp.StatusCode != want {
		return unmetf("http: status %d, want %d", resp.StatusCode, want)
	}
	return nil
}

// request makes a request. Its fields go where Vault reads them: into the body of a
// POST or PUT, else into the query.
func request(method, address string, args []string) (*http.Request, error) {
	fields, query := map[string]string{}, url.Values{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usage(fmt.Sprintf("http: %q is not FIELD=VALUE", arg))
		}
		fields[name] = value
		query.Set(name, value)
	}
	if method != http.MethodPost && method != http.MethodPut {
		if len(query) > 0 {
			address += "?" + query.Encode()
		}
		return http.NewRequest(method, address, nil)
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return http.NewRequest(method, address, bytes.NewReader(body))
}
