// Command demo shows the engine at work on a Vault dev server: a key is read,
// used, renewed and revoked, and another one dies when its lease of ten seconds
// ends. Every step prints the command that an operator would type, runs it, and
// fails the demo if its result is not what it should be. Then all stays up until
// Ctrl-C.
//
//	demo PLUGIN
//
// PLUGIN is the built plugin. The environment says the rest:
//
//	VAULT_BINARY       the Vault to start
//	DEMO_ONESHOT=1     end after the last step
//	OPENAI_ADMIN_KEY   run against OpenAI itself, if both are set; otherwise
//	OPENAI_PROJECT_ID  OpenAI is simulated
//	DEMO_REAL=yes      do so without asking
//
// It leaves nothing behind: neither process nor file, nor a key at OpenAI.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	ctx, stop := untilStopped(context.Background())
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin *os.File, stdout io.Writer) (err error) {
	vaultBinary := os.Getenv("VAULT_BINARY")
	if len(args) != 1 || vaultBinary == "" {
		return errors.New("give the plugin as the only argument, and VAULT_BINARY in the environment")
	}
	org, err := openOrganization(ctx, os.Getenv, stdin, stdout)
	if err != nil {
		return err
	}
	defer org.close()

	scratch, err := newScratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	server, err := startVault(ctx, vaultBinary, args[0], scratch)
	if err != nil {
		return orStopped(ctx, err)
	}
	defer func() { err = errors.Join(err, server.stop()) }()

	d := &demo{screen: &screen{out: stdout, hidden: org.adminKey}, vault: server, org: org}
	return d.run(ctx, oneshot(os.Getenv("DEMO_ONESHOT")))
}

func oneshot(value string) bool { return value != "" && value != "0" }

// newScratch makes the directory of everything that the demo writes. It returns
// its real path: Vault takes no plugin directory behind a symbolic link.
func newScratch() (string, error) {
	dir, err := os.MkdirTemp("", "llm-demo-")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// A demo is one run.
type demo struct {
	*screen
	vault   *vaultServer
	org     *organization
	mounted bool
}

func (d *demo) run(ctx context.Context, oneshot bool) (err error) {
	defer func() {
		if err != nil {
			d.giveUp(ctx)
		}
	}()
	started := time.Now()
	d.introduce()
	if err := d.steps(ctx, d.tour()); err != nil {
		return err
	}
	if !oneshot {
		d.invite()
		select {
		case <-ctx.Done():
			d.print("")
		case <-d.vault.exited:
			return d.vault.exitError()
		}
	}
	// What ended the wait must not end the tidying up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveBudget)
	defer cancel()
	if err := d.steps(ctx, d.leaving()); err != nil {
		return err
	}
	if oneshot {
		d.print("\nAll as it should be, in %s.", human(time.Since(started).Round(time.Second)))
	}
	return nil
}

// leaveBudget bounds the tidying up.
const leaveBudget = 2 * time.Minute

// steps takes steps until one fails.
func (d *demo) steps(ctx context.Context, steps []step) error {
	for _, s := range steps {
		n := d.title(s.title)
		err := s.do(ctx)
		if err != nil && d.vault.hasExited() {
			err = d.vault.exitError()
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", n, orStopped(ctx, err))
		}
	}
	return nil
}

// orStopped is why ctx has ended, which explains any error, or else err.
func orStopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("stopped: %w", cause)
	}
	return err
}

// giveUp deletes what a demo that failed has left at the real OpenAI.
func (d *demo) giveUp(ctx context.Context) {
	if d.org.simulated() || !d.mounted {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveBudget)
	defer cancel()
	d.print("\nDeleting what is left at OpenAI.")
	if _, err := d.vault.run(ctx, "secrets", "disable", mount); err != nil {
		d.print("It could not be deleted: %v", err)
		d.print("Look for service accounts named vault-… in project %s; their keys expire by themselves.", d.org.projectID)
	}
}

func (d *demo) introduce() {
	d.print("Vault   %s, a dev server: all in memory", d.vault.version)
	if d.org.simulated() {
		d.print("OpenAI  simulated; OPENAI_ADMIN_KEY and OPENAI_PROJECT_ID make it the real one")
	} else {
		d.print("OpenAI  the real one, project %s", d.org.projectID)
	}
}

// invite tells how to go on by hand.
func (d *demo) invite() {
	d.print("\nYour turn, in another terminal. Ctrl-C here ends it all.\n")
	d.print("  export VAULT_ADDR=%s", d.vault.address)
	d.print("  export VAULT_TOKEN=%s", d.vault.token)
	if dir := d.vault.pathEntry(); dir != "" {
		d.print("  export PATH=%s:$PATH", dir)
	}
	d.print("")
	d.columns("  ", [][]string{
		{"vault read llm/creds/agent ttl=1m", "# a key for a minute"},
		{"vault read llm/config/openai", "# live_keys: how many there are"},
		{"vault lease revoke -sync -prefix llm/creds", "# all of them, now"},
		{"vault path-help llm", "# what else there is"},
	})
}
