package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// commandBudget bounds a command of vault.
const commandBudget = 2 * time.Minute

// run runs a command of vault and returns what it prints.
func (v *vaultServer) run(ctx context.Context, args ...string) (string, error) {
	return v.command(ctx, "", nil, args)
}

// runWith runs a command that is given a secret on its standard input.
func (v *vaultServer) runWith(ctx context.Context, secret string, args ...string) (string, error) {
	return v.command(ctx, secret, nil, args)
}

func (v *vaultServer) command(ctx context.Context, stdin string, env, args []string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandBudget, fmt.Errorf("no answer after %s", human(commandBudget)))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, v.binary, args...)
	cmd.Env = v.environment(append(env, "VAULT_ADDR="+v.address, "VAULT_TOKEN="+v.token)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		name := strings.Join(args[:min(2, len(args))], " ")
		if cause := context.Cause(ctx); cause != nil {
			return "", fmt.Errorf("vault %s: %w", name, cause)
		}
		return "", fmt.Errorf("vault %s: %s", name, redact(cmp.Or(reason(stderr.String()), err.Error()), stdin))
	}
	return stdout.String(), nil
}

// read runs a command of vault for its data.
func (v *vaultServer) read(ctx context.Context, args ...string) (answer, error) {
	out, err := v.command(ctx, "", []string{"VAULT_FORMAT=json"}, args)
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return answer{}, fmt.Errorf("vault %s: the answer is not JSON: %w", args[0], err)
	}
	return a, nil
}

// An answer is Vault's.
type answer struct {
	LeaseID       string         `json:"lease_id"`
	LeaseDuration int64          `json:"lease_duration"` // seconds
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
}

func (a answer) duration() time.Duration { return time.Duration(a.LeaseDuration) * time.Second }

// field is a member of the answer as text; empty if it has none.
func (a answer) field(name string) string {
	switch name {
	case "lease_id":
		return a.LeaseID
	case "lease_duration":
		return human(a.duration())
	}
	if value, ok := a.Data[name]; ok {
		return fmt.Sprint(value)
	}
	return ""
}

// environment is ours without what would lead vault astray or tell it a key that
// it should get otherwise.
func (v *vaultServer) environment(more ...string) []string {
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !foreign(name) {
			env = append(env, entry)
		}
	}
	return append(append(env, "HOME="+v.scratch, "TMPDIR="+v.scratch), more...)
}

func foreign(name string) bool {
	for _, prefix := range []string{"VAULT_", "BAO_", "OPENAI_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// versionOf cuts "Vault v1.21.2, built …" to "v1.21.2".
func versionOf(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "of an unknown version"
	}
	return strings.Trim(fields[1], ",")
}

// reason is the heart of what vault prints when a command fails: the errors of
// the server's answer, or else the last line.
func reason(stderr string) string {
	var errs []string
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "* "); ok {
			errs = append(errs, text)
		}
		last = cmp.Or(line, last)
	}
	return cmp.Or(strings.Join(errs, "; "), last)
}
