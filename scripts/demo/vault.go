package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startBudget = time.Minute
	stopBudget  = 15 * time.Second
)

// A vaultServer is a Vault dev server, and the vault that talks to it.
type vaultServer struct {
	address   string
	token     string
	version   string
	pluginSum string // SHA-256 of the plugin, in hexadecimal

	binary  string // scratch/bin/vault
	scratch string
	process *exec.Cmd
	exited  chan struct{} // closed once the process has ended
	exit    error         // why; to be read after exited
}

// startVault starts a dev server that knows the plugin. All that it writes is in
// scratch.
func startVault(ctx context.Context, binary, plugin, scratch string) (*vaultServer, error) {
	v := &vaultServer{scratch: scratch, token: "demo-" + strings.ToLower(rand.Text())}
	var err error
	if v.binary, err = linkVault(binary, scratch); err != nil {
		return nil, err
	}
	// Vault registers everything in this directory, so it holds nothing else.
	if v.pluginSum, err = copyPlugin(plugin, filepath.Join(scratch, "plugins")); err != nil {
		return nil, err
	}
	version, err := v.run(ctx, "version")
	if err != nil {
		return nil, err
	}
	v.version = versionOf(version)

	for range 3 {
		if err = v.start(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// errPortTaken is when somebody else was faster to listen on a free port.
var errPortTaken = errors.New("vault: the port was taken meanwhile")

// start starts the server on a free port and waits until it serves.
func (v *vaultServer) start(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	free := listener.Addr().String()
	listener.Close()
	log, err := os.Create(v.logPath())
	if err != nil {
		return err
	}
	defer log.Close()

	v.address = "http://" + free
	v.process = exec.Command(v.binary, "server", "-dev", "-dev-no-store-token",
		"-dev-listen-address="+free, "-dev-plugin-dir="+filepath.Join(v.scratch, "plugins"))
	// The token is not an argument: arguments are everybody's to read.
	v.process.Env = v.environment("VAULT_DEV_ROOT_TOKEN_ID="+v.token, "BAO_DEV_ROOT_TOKEN_ID="+v.token)
	v.process.Stdout, v.process.Stderr = log, log
	v.process.SysProcAttr = attributes()
	if err := v.process.Start(); err != nil {
		return fmt.Errorf("start vault: %w", err)
	}
	v.exited = make(chan struct{})
	go func() {
		v.exit = v.process.Wait()
		close(v.exited)
	}()
	if err := v.waitUntilServing(ctx); err != nil {
		return cmp.Or(v.stop(), err)
	}
	return nil
}

// waitUntilServing waits until the server knows the plugin: the last thing that
// it does at its start.
func (v *vaultServer) waitUntilServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startBudget, fmt.Errorf("vault does not serve after %s", human(startBudget)))
	defer cancel()
	for {
		if v.knowsPlugin(ctx) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-v.exited:
			if log, _ := os.ReadFile(v.logPath()); bytes.Contains(log, []byte("address already in use")) {
				return errPortTaken
			}
			return v.exitError()
		}
	}
}

func (v *vaultServer) knowsPlugin(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.address+"/v1/sys/plugins/catalog", nil)
	if err != nil {
		return false
	}
	req.Header.Set("X-Vault-Token", v.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	catalog, err := io.ReadAll(resp.Body)
	return err == nil && bytes.Contains(catalog, []byte(`"`+pluginName+`"`))
}

// stop ends the server, by force if need be, and what it has started.
func (v *vaultServer) stop() error {
	_ = v.process.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-v.exited:
	case <-time.After(stopBudget):
	}
	// The server leads a process group, in which its plugins are.
	_ = syscall.Kill(-v.process.Process.Pid, syscall.SIGKILL)
	select {
	case <-v.exited:
		return nil
	case <-time.After(stopBudget):
		return fmt.Errorf("vault, process %d, does not end", v.process.Process.Pid)
	}
}

func (v *vaultServer) hasExited() bool {
	select {
	case <-v.exited:
		return true
	default:
		return false
	}
}

// exitError tells why a server has ended that should not have.
func (v *vaultServer) exitError() error {
	log, _ := os.ReadFile(v.logPath())
	err := fmt.Errorf("vault has ended: %w", cmp.Or(v.exit, errors.New("exit status 0")))
	if logged := lastError(string(log)); logged != "" {
		return fmt.Errorf("%w: %s", err, logged)
	}
	return err
}

func (v *vaultServer) logPath() string { return filepath.Join(v.scratch, "vault.log") }

// pathEntry is the directory where a shell finds this vault; empty if it does
// so already.
func (v *vaultServer) pathEntry() string {
	target, _ := filepath.EvalSymlinks(v.binary)
	if found, err := exec.LookPath("vault"); err == nil {
		if found, _ = filepath.EvalSymlinks(found); found == target {
			return ""
		}
	}
	return filepath.Dir(v.binary)
}

// linkVault gives the server's binary the name vault.
func linkVault(binary, scratch string) (string, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(scratch, "bin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	link := filepath.Join(dir, "vault")
	return link, os.Symlink(binary, link)
}

// copyPlugin copies the plugin to a directory of its own and returns its SHA-256.
func copyPlugin(from, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	in, err := os.Open(from)
	if err != nil {
		return "", fmt.Errorf("the plugin is not built: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, pluginName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, out.Close())
}

// lastError is the last line of a log that speaks of an error, with the first
// item of the list that may follow it; empty if no line does.
func lastError(log string) string {
	found, item := "", ""
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		switch text, listed := strings.CutPrefix(line, "* "); {
		case listed:
			item = cmp.Or(item, text)
		case strings.Contains(strings.ToLower(line), "error"):
			found, item = line, ""
		}
	}
	if item != "" {
		return found + " " + item
	}
	return found
}
