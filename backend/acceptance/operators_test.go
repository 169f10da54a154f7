package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file is for the scripts about operators: what their command line cannot
// say, and keys with a past.

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

// fakeAge gives a key, an admin key or a service account another past.
func (s *script) fakeAge(args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return usage("fake age ID CREATED [USED], as durations before now")
	}
	var at [2]time.Time
	for i, arg := range args[1:] {
		ago, err := time.ParseDuration(arg)
		if err != nil {
			return usage("fake age: " + err.Error())
		}
		at[i] = time.Now().Add(-ago)
	}
	return usageUnless(s.fake.Age(args[0], at[0], at[1]), "fake age: there is nothing with the id "+args[0])
}

// idSize is how many characters end a name that the engine gave: the id of a record.
const idSize = 26

// fakeOrphan makes a key beside another, with a name as the same mount gives.
func (s *script) fakeOrphan(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return usage("fake orphan NAME VAR")
	}
	for _, k := range s.fake.Keys() {
		if k.Name != args[0] || len(k.Name) < idSize {
			continue
		}
		name := k.Name[:len(k.Name)-idSize] + anotherID()
		made := s.fake.PlantServiceAccountKey(k.ServiceAccountID, name, 0)
		if made.ID == "" {
			return usage("fake orphan: the key " + k.Name + " is in no service account")
		}
		ts.Setenv(args[1], made.ID)
		return nil
	}
	return usage("fake orphan: there never was a key of the name " + strconv.Quote(args[0]))
}

// anotherID looks like the id of a record.
func anotherID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	id := make([]byte, idSize)
	for i := range id {
		id[i] = digits[rand.IntN(len(digits))]
	}
	return string(id)
}
