package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// This file is what the demo shows.

const (
	mount      = "llm"
	pluginName = "vault-plugin-secrets-llm"
	creds      = mount + "/creds/agent"

	leaseTTL  = 15 * time.Minute
	increment = time.Hour
	shortTTL  = 10 * time.Second
)

// A step is one line of the story, and what it does.
type step struct {
	title string
	do    func(context.Context) error
}

// tour is everything but the end.
func (d *demo) tour() []step {
	var long, short lease
	return []step{
		{"Register the plugin", d.register},
		{"Mount it", d.enable},
		{"Connect it to OpenAI with an admin key, which is never read back", d.connect},
		{"Make a role", d.writeRole},
		{"Read a key: OpenAI makes it now, for this lease alone", func(ctx context.Context) (err error) {
			long, err = d.read(ctx, leaseTTL)
			return err
		}},
		{"The key works", func(ctx context.Context) error { return d.call(ctx, long, http.StatusOK) }},
		{"Renew: OpenAI's own expiry of the key moves first", func(ctx context.Context) error { return d.renew(ctx, long) }},
		{"Revoke: OpenAI has deleted the key when this returns", func(ctx context.Context) error { return d.revoke(ctx, long) }},
		{"The key is dead", func(ctx context.Context) error { return d.call(ctx, long, http.StatusUnauthorized) }},
		{"Read a key for ten seconds", func(ctx context.Context) (err error) {
			if short, err = d.read(ctx, shortTTL, "ttl=10s"); err != nil {
				return err
			}
			return d.call(ctx, short, http.StatusOK)
		}},
		{"Leave it alone: the lease ends by itself, and with it the key", func(ctx context.Context) error {
			return d.outlive(ctx, short)
		}},
	}
}

// leaving is the end.
func (d *demo) leaving() []step {
	return []step{{"Disable the engine: what it made at OpenAI goes with it", d.disable}}
}

func (d *demo) register(ctx context.Context) error {
	return d.vaultSays(ctx, "plugin", "register", "-sha256="+d.vault.pluginSum, "secret", pluginName)
}

func (d *demo) enable(ctx context.Context) error {
	if err := d.vaultSays(ctx, "secrets", "enable", "-path="+mount, pluginName); err != nil {
		return err
	}
	d.mounted = true
	return nil
}

// connect writes the connection. The admin key travels by standard input, so
// that no list of processes shows it.
func (d *demo) connect(ctx context.Context) error {
	path := mount + "/config/openai"
	args := []string{"write", path, "provider=openai", "admin_key=-"}
	if d.org.baseURL != "" {
		args = append(args, "base_url="+d.org.baseURL)
	}
	d.command(`printf %s "$OPENAI_ADMIN_KEY" | vault`, args...)
	said, err := d.vault.runWith(ctx, d.org.adminKey, args...)
	if err != nil {
		return err
	}
	d.text(said)

	got, err := d.vaultReads(ctx, "read", path)
	if err != nil {
		return err
	}
	for field, value := range got.Data {
		if text, ok := value.(string); field == "admin_key" || ok && strings.Contains(text, d.org.adminKey) {
			return fmt.Errorf("%s shows the admin key in %s", path, field)
		}
	}
	if got.field("provider") != "openai" || got.field("base_url") != d.org.baseURL {
		return fmt.Errorf("%s does not hold what was written", path)
	}
	d.rows(got, "provider", "base_url", "live_keys")
	return nil
}

func (d *demo) writeRole(ctx context.Context) error {
	return d.vaultSays(ctx, "write", mount+"/roles/agent",
		"config_name=openai", "project_id="+d.org.projectID, "ttl="+human(leaseTTL))
}

// A lease is a key that was read.
type lease struct {
	answer
	key  string
	read time.Time // when its command returned
}

// read reads a key whose lease must last ttl.
func (d *demo) read(ctx context.Context, ttl time.Duration, args ...string) (lease, error) {
	got, err := d.vaultReads(ctx, append([]string{"read", creds}, args...)...)
	if err != nil {
		return lease{}, err
	}
	l := lease{answer: got, key: got.field("api_key"), read: time.Now()}
	switch {
	case l.key == "" || l.LeaseID == "" || !l.Renewable:
		return lease{}, fmt.Errorf("%s: the answer is not a renewable lease with a key", creds)
	case !near(l.duration(), ttl):
		return lease{}, fmt.Errorf("%s: the lease lasts %s, want %s", creds, human(l.duration()), human(ttl))
	case l.field("base_url") != d.org.baseURL || l.field("project_id") != d.org.projectID:
		return lease{}, fmt.Errorf("%s: the key is not of the role's project", creds)
	}
	d.rows(got, "lease_id", "lease_duration", "api_key", "expires_at")
	return l, nil
}

// call uses the key until the answer is the wanted one, or patience ends.
func (d *demo) call(ctx context.Context, l lease, want int) error {
	d.command(d.org.curl())
	r, err := d.org.modelsUntil(ctx, l.key, want, time.Now().Add(d.org.patience))
	if err != nil {
		return err
	}
	d.columns(indent, [][]string{{fmt.Sprintf("HTTP %d", r.status), r.detail}})
	return nil
}

func (d *demo) renew(ctx context.Context, l lease) error {
	before := d.org.expiry(l.field("key_id"))
	got, err := d.vaultReads(ctx, "lease", "renew", "-increment="+human(increment), l.LeaseID)
	if err != nil {
		return err
	}
	if !near(got.duration(), increment) {
		return fmt.Errorf("the renewed lease lasts %s, want %s", human(got.duration()), human(increment))
	}
	d.rows(got, "lease_duration")
	if !d.org.simulated() {
		return nil
	}
	expires := d.org.expiry(l.field("key_id"))
	if !expires.After(time.Now().Add(got.duration())) {
		return errors.New("OpenAI ends the key before the renewed lease ends")
	}
	d.columns(indent, [][]string{{"at OpenAI", fmt.Sprintf("expires_at %s, was %s", rfc3339(expires), rfc3339(before))}})
	return nil
}

// revoke waits until Vault has revoked the lease, which -sync asks for.
func (d *demo) revoke(ctx context.Context, l lease) error {
	return d.vaultSays(ctx, "lease", "revoke", "-sync", l.LeaseID)
}

// expiryDelay is how late Vault may be in ending a lease.
const expiryDelay = 20 * time.Second

// outlive waits until Vault has ended the lease.
func (d *demo) outlive(ctx context.Context, l lease) error {
	d.print("%s$ sleep %d", indent, int(shortTTL.Seconds()))
	end := l.read.Add(shortTTL)
	if err := sleep(ctx, time.Until(end)); err != nil {
		return err
	}
	d.command(d.org.curl())
	r, err := d.org.modelsUntil(ctx, l.key, http.StatusUnauthorized, end.Add(expiryDelay+d.org.patience))
	if err != nil {
		return err
	}
	after := time.Since(l.read).Round(100 * time.Millisecond)
	d.columns(indent, [][]string{{fmt.Sprintf("HTTP %d", r.status), fmt.Sprintf("%s, %s after it was read", r.detail, after)}})
	return nil
}

func (d *demo) disable(ctx context.Context) error {
	if err := d.vaultSays(ctx, "secrets", "disable", mount); err != nil {
		return err
	}
	d.mounted = false
	if !d.org.simulated() {
		return nil
	}
	keys, accounts := d.org.left()
	d.columns(indent, [][]string{{"at OpenAI", fmt.Sprintf("%d keys, %d service accounts", keys, accounts)}})
	if keys+accounts > 0 {
		return errors.New("something is left at OpenAI")
	}
	return nil
}

// vaultSays shows a command of vault, runs it, and shows what it says.
func (d *demo) vaultSays(ctx context.Context, args ...string) error {
	d.command("vault", args...)
	said, err := d.vault.run(ctx, args...)
	if err != nil {
		return err
	}
	d.text(said)
	return nil
}

// vaultReads shows a command of vault and runs it for its data.
func (d *demo) vaultReads(ctx context.Context, args ...string) (answer, error) {
	d.command("vault", args...)
	return d.vault.read(ctx, args...)
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// near allows for the time that a command takes.
func near(got, want time.Duration) bool { return got <= want && got >= want-2*time.Second }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
