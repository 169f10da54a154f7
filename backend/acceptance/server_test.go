package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// A server is one Vault: a single node with raft storage, sealed with one share,
// the audit log on, the plugin registered and mounted at llm/. It may be ended
// and started again over the same storage.
type server struct {
	dir       string
	tmp       string // for the plugins' sockets, whose paths must be short
	addr      string
	logFile   string
	auditFile string
	client    *api.Client
	unsealKey string

	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has ended
	groups []int         // process groups that may still have members
}

const (
	startTimeout = 90 * time.Second // two processors, many servers
	stopTimeout  = 30 * time.Second
)

// startSlots bounds how many servers start at the same time: a start is the one
// thing here that costs, and an election lost to a busy machine costs more.
var startSlots = make(chan struct{}, 3)

const serverConfig = `
storage "raft" {
  path                   = %[1]q
  node_id                = "one"
  performance_multiplier = 1
}
listener "tcp" {
  address         = "127.0.0.1:%[2]d"
  cluster_address = "127.0.0.1:%[3]d"
  tls_disable     = true
}
api_addr             = "http://127.0.0.1:%[2]d"
cluster_addr         = "https://127.0.0.1:%[3]d"
plugin_directory     = %[4]q
log_level            = "trace"
disable_mlock        = true
raw_storage_endpoint = true
`

func newServer(dir string) (*server, error) {
	data, err := realDir(filepath.Join(dir, "raft"))
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "vault")
	if err != nil {
		return nil, err
	}
	port, clusterPort := freePort(), freePort()
	sv := &server{
		dir:       dir,
		tmp:       tmp,
		addr:      fmt.Sprintf("http://127.0.0.1:%d", port),
		logFile:   filepath.Join(dir, "server.log"),
		auditFile: filepath.Join(dir, "audit.log"),
	}
	conf := api.DefaultConfig()
	conf.Address, conf.MaxRetries, conf.Timeout = sv.addr, 0, startTimeout
	if sv.client, err = api.NewClient(conf); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(serverConfig, data, port, clusterPort, plugin.dir)
	return sv, os.WriteFile(sv.configFile(), []byte(config), 0o600)
}

func (sv *server) configFile() string { return filepath.Join(sv.dir, "server.hcl") }

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freePort returns a loopback port that nothing listens on. It lies below those
// that systems hand out by themselves, so that it is still free after a restart.
func freePort() int {
	ports.Lock()
	defer ports.Unlock()
	for {
		port := 20000 + rand.IntN(12000)
		if ports.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		if ports.taken == nil {
			ports.taken = map[int]bool{}
		}
		ports.taken[port] = true
		return port
	}
}

// launch starts the process.
func (sv *server) launch() error {
	logFile, err := os.OpenFile(sv.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command(vault, "server", "-config", sv.configFile(), "-log-level=trace")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + sv.dir, "TMPDIR=" + sv.tmp}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	ownGroup(cmd)
	if err := spawn(cmd); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	sv.cmd, sv.ended = cmd, ended
	sv.groups = append(sv.groups, cmd.Process.Pid)
	return nil
}

func (sv *server) running() bool {
	if sv.cmd == nil {
		return false
	}
	select {
	case <-sv.ended:
		return false
	default:
		return true
	}
}

// first makes a new server ready for use.
func (sv *server) first() error {
	startSlots <- struct{}{}
	defer func() { <-startSlots }()
	if err := sv.launch(); err != nil {
		return err
	}
	if err := sv.until("answers", func(*api.HealthResponse) bool { return true }); err != nil {
		return err
	}
	made, err := sv.client.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	sv.unsealKey = made.KeysB64[0]
	sv.client.SetToken(made.RootToken)
	if err := sv.unseal(); err != nil {
		return err
	}
	return sv.equip()
}

// again starts it over its old storage.
func (sv *server) again() error {
	startSlots <- struct{}{}
	defer func() { <-startSlots }()
	if err := sv.launch(); err != nil {
		return err
	}
	if err := sv.until("answers", func(h *api.HealthResponse) bool { return h.Initialized }); err != nil {
		return err
	}
	return sv.unseal()
}

func (sv *server) unseal() error {
	if _, err := sv.client.Sys().Unseal(sv.unsealKey); err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	return sv.until("is active", func(h *api.HealthResponse) bool { return !h.Sealed && !h.Standby })
}

// equip turns on the audit log, and registers and mounts the plugin.
func (sv *server) equip() error {
	sys := sv.client.Sys()
	audit := &api.EnableAuditOptions{Type: "file", Options: map[string]string{"file_path": sv.auditFile}}
	if err := sys.EnableAuditWithOptions("file", audit); err != nil {
		return fmt.Errorf("enable audit: %w", err)
	}
	err := sys.RegisterPlugin(&api.RegisterPluginInput{
		Name: pluginName, Type: api.PluginTypeSecrets, Command: pluginName,
		SHA256: plugin.sha256, Version: plugin.version,
	})
	if err != nil {
		return fmt.Errorf("register the plugin: %w", err)
	}
	err = sys.Mount("llm", &api.MountInput{Type: pluginName, Config: api.MountConfigInput{PluginVersion: plugin.version}})
	if err != nil {
		return fmt.Errorf("mount the plugin: %w", err)
	}
	return nil
}

// until waits for a state of the server.
func (sv *server) until(what string, reached func(*api.HealthResponse) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		health, err := sv.client.Sys().HealthWithContext(ctx)
		if err == nil && reached(health) {
			return nil
		}
		select {
		case <-sv.ended:
			return fmt.Errorf("vault ended before it %s:\n%s", what, tail(sv.logFile, 20))
		case <-ctx.Done():
			return fmt.Errorf("vault does not get so far that it %s within %s (%v)", what, startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the server as its operator would.
func (sv *server) stop() error {
	if err := sv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-sv.ended:
		sv.forgetGroup(sv.cmd.Process.Pid) // its plugins have ended before it
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("vault does not stop within %s", stopTimeout)
	}
}

func (sv *server) forgetGroup(group int) {
	sv.groups = slices.DeleteFunc(sv.groups, func(g int) bool { return g == group })
}

// kill is kill -9 of the server alone. Its plugins live on for as long as they
// would anywhere, at most to the end of the script.
func (sv *server) kill() error {
	err := sv.cmd.Process.Kill()
	<-sv.ended
	return err
}

// destroy ends the server and all that it has ever started.
func (sv *server) destroy() {
	for _, group := range sv.groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	if sv.cmd != nil {
		<-sv.ended
	}
	sv.groups = nil
	os.RemoveAll(sv.tmp)
}

// plugins returns the pids of the plugin's processes.
func (sv *server) plugins() ([]int, error) {
	if !sv.running() {
		return nil, errors.New("vault does not run")
	}
	return childrenOf(sv.cmd.Process.Pid, pluginName)
}

func (s *script) cmdVaultd(ts *testscript.TestScript, args []string) error {
	word, args := first(args)
	if len(args) > 0 {
		return usage("vaultd kill|restart|start|stop")
	}
	switch {
	case word == "start" && s.server == nil:
		return s.firstStart(ts)
	case word == "start" && !s.server.running():
		return s.server.again()
	case word == "start":
		return usage("vaultd start: it runs already")
	case s.server == nil || !s.server.running():
		return usage("vaultd " + word + ": it does not run")
	case word == "stop":
		return s.server.stop()
	case word == "kill":
		return s.server.kill()
	case word == "restart":
		if err := s.server.stop(); err != nil {
			return err
		}
		return s.server.again()
	}
	return usage("vaultd kill|restart|start|stop")
}

func (s *script) firstStart(ts *testscript.TestScript) error {
	var err error
	if s.server, err = newServer(s.dir); err != nil {
		return err
	}
	ts.Setenv("VAULT_ADDR", s.server.addr)
	if err := s.server.first(); err != nil {
		return err
	}
	ts.Setenv("VAULT_TOKEN", s.server.client.Token())
	ts.Setenv("ROOT_TOKEN", s.server.client.Token())
	ts.Setenv("SERVER_LOG", s.server.logFile)
	ts.Setenv("AUDIT_LOG", s.server.auditFile)
	return nil
}
