package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// An organization is the OpenAI that the demo runs against: a simulated one, or
// the real one.
type organization struct {
	adminKey  string
	projectID string
	baseURL   string // empty for the real one

	// patience is how long it may take until a key that was made or deleted is
	// accepted or refused.
	patience time.Duration

	fake   *fakeopenai.Server // nil for the real one
	server *http.Server
}

// openOrganization returns the organization that the environment asks for. It
// asks before it takes the real one.
func openOrganization(ctx context.Context, env func(string) string, stdin *os.File, stdout io.Writer) (*organization, error) {
	adminKey, project := env("OPENAI_ADMIN_KEY"), env("OPENAI_PROJECT_ID")
	if adminKey == "" || project == "" {
		return simulate()
	}
	fmt.Fprintf(stdout, "OPENAI_ADMIN_KEY and OPENAI_PROJECT_ID are set: this runs against OpenAI itself.\n"+
		"It makes a service account and keys in project %s, lists models with them,\n"+
		"and deletes all of them at its end.\n", project)
	if env("DEMO_REAL") != "yes" {
		if err := confirm(ctx, stdin, stdout); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(stdout)
	return &organization{adminKey: adminKey, projectID: project, patience: time.Minute}, nil
}

// simulate starts an organization on a free loopback port.
func simulate() (*organization, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("simulate OpenAI: %w", err)
	}
	fake := fakeopenai.New(fakeopenai.WithKnobs(fakeopenai.Knobs{NoGrease: true}))
	server := &http.Server{Handler: fake, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return &organization{
		adminKey:  fake.AdminKey(),
		projectID: fakeopenai.DefaultProject,
		baseURL:   "http://" + listener.Addr().String() + "/v1",
		fake:      fake,
		server:    server,
	}, nil
}

func (o *organization) simulated() bool { return o.fake != nil }

func (o *organization) close() {
	if o.server != nil {
		o.server.Close()
	}
}

// expiry is when a live key ends at the simulated OpenAI, whatever Vault does.
func (o *organization) expiry(keyID string) time.Time {
	if !o.simulated() {
		return time.Time{}
	}
	for _, k := range o.fake.LiveKeys() {
		if k.ID == keyID {
			return k.ExpiresAt
		}
	}
	return time.Time{}
}

// left counts what there is at the simulated OpenAI.
func (o *organization) left() (keys, accounts int) {
	return len(o.fake.LiveKeys()), len(o.fake.ServiceAccounts(o.projectID))
}

// A reply is the data plane's answer to a key.
type reply struct {
	status int
	detail string
}

func (o *organization) modelsURL() string {
	return cmp.Or(o.baseURL, "https://api.openai.com/v1") + "/models"
}

// curl is what an operator would type to use a key.
func (o *organization) curl() string {
	return `curl -i -H "Authorization: Bearer $API_KEY" ` + o.modelsURL()
}

// modelsUntil lists models with a key, at least once, until the answer has the
// wanted status. It fails if that is not so by the deadline.
func (o *organization) modelsUntil(ctx context.Context, key string, want int, deadline time.Time) (reply, error) {
	pause := 100 * time.Millisecond
	if !o.simulated() {
		pause = time.Second
	}
	for {
		r, err := o.models(ctx, key)
		if err == nil && r.status == want {
			return r, nil
		}
		if time.Until(deadline) < pause {
			if err != nil {
				return reply{}, err
			}
			return reply{}, fmt.Errorf("GET %s answered %d %s, want %d", o.modelsURL(), r.status, r.detail, want)
		}
		if err := sleep(ctx, pause); err != nil {
			return reply{}, err
		}
	}
}

// models lists models with a key.
func (o *organization) models(ctx context.Context, key string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.modelsURL(), nil)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return reply{}, fmt.Errorf("GET %s: %w", o.modelsURL(), err)
	}
	return reply{resp.StatusCode, detail(body)}, nil
}

// detail is what matters of an answer: how many models, or why not. OpenAI's
// message is left out, for it holds a part of the key.
func detail(body []byte) string {
	var answer struct {
		Data  []json.RawMessage `json:"data"`
		Error *struct {
			Code string `json:"code"`
			Type string `json:"type"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil:
		return "(an answer that is not OpenAI's)"
	case answer.Error != nil:
		return cmp.Or(answer.Error.Code, answer.Error.Type)
	}
	return fmt.Sprintf("%d models", len(answer.Data))
}
