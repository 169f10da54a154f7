// Package keyfile reads the key of a provider from a file that somebody else keeps up
// to date, as Vault Agent does, and gives it to the requests of an SDK:
//
//	key := keyfile.OpenAI("/run/vault-agent/openai-key")
//	client := openai.NewClient(option.WithMiddleware(key.Middleware))
//
// It needs the standard library alone: copy it.
package keyfile

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

// A File holds a key, and nothing else but space around it. It is read for each
// request: it is small, and in memory where Agent writes it, so there is nothing to
// watch and nothing to invalidate. Agent replaces it by a rename, so it is never half
// written. A File is safe for concurrent use.
type File struct {
	path           string
	header, scheme string // how a request bears the key
}

// OpenAI is a file with a key of OpenAI, OpenRouter or LiteLLM, or with a token of
// Anthropic.
func OpenAI(path string) File { return File{path, "Authorization", "Bearer "} }

// Anthropic is a file with an API key of Anthropic.
func Anthropic(path string) File { return File{path, "X-Api-Key", ""} }

// Read returns the key that is there now.
func (f File) Read() (string, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("read the key: %s is empty", f.path)
	}
	return key, nil
}

// Middleware sends a request with the key that is there now. After a 401 it reads the
// file once again, and tries once more if there is another key by then: SDKs do not
// retry a 401. A body that can be sent only once is not sent again: the caller gets the
// 401. It is an option.Middleware of openai-go and of anthropic-sdk-go.
func (f File) Middleware(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	key, err := f.Read()
	if err != nil {
		return nil, err
	}
	resp, err := next(f.bearing(req, key))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if retry := f.again(req, key); retry != nil {
		resp.Body.Close()
		return next(retry)
	}
	return resp, nil
}

// again returns what to send after a key was refused: nil if there is no other key, or
// if the body is gone.
func (f File) again(req *http.Request, refused string) *http.Request {
	key, err := f.Read()
	if err != nil || key == refused {
		return nil
	}
	retry := f.bearing(req, key)
	if req.Body == nil || req.Body == http.NoBody {
		return retry
	}
	if req.GetBody == nil {
		return nil
	}
	if retry.Body, err = req.GetBody(); err != nil {
		return nil
	}
	return retry
}

// bearing returns a copy of a request that bears a key.
func (f File) bearing(req *http.Request, key string) *http.Request {
	with := req.Clone(req.Context())
	with.Header.Set(f.header, f.scheme+key)
	return with
}
