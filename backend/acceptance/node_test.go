package acceptance

import (
	"cmp"
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
)

// A node is one process of Vault with its storage. It may be ended and started
// again.
type node struct {
	name    string
	dir     string
	tmp     string // for the plugins' sockets, whose paths must be short
	addr    string
	logFile string
	client  *api.Client
	env     []string // of its process, beside what every process needs

	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has ended
	groups []int         // process groups that may still have members
	paused bool
}

const (
	startTimeout = 90 * time.Second // two processors, many servers
	stopTimeout  = 30 * time.Second
)

// startSlots bounds how many nodes start at the same time: a start is the one
// thing here that costs, and an election lost to a busy machine costs more.
var startSlots = make(chan struct{}, 3)

const nodeConfig = `
storage "raft" {
  path                   = %[1]q
  node_id                = %[5]q
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

// Surroundings are what the nodes of a Vault find on their machine. The zero value is
// that of most scripts: the plugin under test, and a network without a way out.
type surroundings struct {
	plugins string   // the plugin directory; empty means the common one
	env     []string // of Vault, and so of its plugins
}

// newNode makes what a node needs below dir. Its log is beside that, so that the
// logs of several have names of their own.
func newNode(dir, name, logFile string, place surroundings) (*node, error) {
	data, err := realDir(filepath.Join(dir, "raft"))
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "vault")
	if err != nil {
		return nil, err
	}
	port, clusterPort := freePort(), freePort()
	n := &node{
		name:    name,
		dir:     dir,
		tmp:     tmp,
		addr:    fmt.Sprintf("http://127.0.0.1:%d", port),
		logFile: logFile,
		env:     place.env,
	}
	if n.client, err = newClient(n.addr); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(nodeConfig, data, port, clusterPort, cmp.Or(place.plugins, plugin.dir), name)
	return n, os.WriteFile(n.configFile(), []byte(config), 0o600)
}

// newClient returns a client that repeats nothing.
func newClient(addr string) (*api.Client, error) {
	conf := api.DefaultConfig()
	conf.Address, conf.MaxRetries, conf.Timeout = addr, 0, startTimeout
	return api.NewClient(conf)
}

func (n *node) configFile() string { return filepath.Join(n.dir, "server.hcl") }

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
func (n *node) launch() error {
	logFile, err := os.OpenFile(n.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command(vault, "server", "-config", n.configFile(), "-log-level=trace")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.dir, "TMPDIR=" + n.tmp}, n.env...)
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
	n.cmd, n.ended = cmd, ended
	n.groups = append(n.groups, cmd.Process.Pid)
	return nil
}

func (n *node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// until waits for a state of the node.
func (n *node) until(what string, reached func(*api.HealthResponse) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		health, err := n.client.Sys().HealthWithContext(ctx)
		if err == nil && reached(health) {
			return nil
		}
		select {
		case <-n.ended:
			return fmt.Errorf("vault ended before it %s:\n%s", what, tail(n.logFile, 20))
		case <-ctx.Done():
			return fmt.Errorf("vault does not get so far that it %s within %s (%v)", what, startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// leads reports whether the node is unsealed and active, as far as it knows. It may
// be asked while the node is being ended or started.
func (n *node) leads(ctx context.Context) bool {
	health, err := n.client.Sys().HealthWithContext(ctx)
	return err == nil && health.Initialized && !health.Sealed && !health.Standby
}

// unseal opens the storage. A node that is the first of its cluster then leads; one
// of several follows whoever does.
func (n *node) unseal(key string, alone bool) error {
	if _, err := n.client.Sys().Unseal(key); err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	if alone {
		return n.until("is active", func(h *api.HealthResponse) bool { return !h.Sealed && !h.Standby })
	}
	return n.until("has found its cluster", func(h *api.HealthResponse) bool {
		follows := h.HAConnectionHealthy != nil && *h.HAConnectionHealthy
		return h.Initialized && !h.Sealed && (!h.Standby || follows)
	})
}

// again starts it over its old storage.
func (n *node) again(key string, alone bool) error {
	startSlots <- struct{}{}
	defer func() { <-startSlots }()
	if err := n.launch(); err != nil {
		return err
	}
	if err := n.until("answers", func(h *api.HealthResponse) bool { return h.Initialized }); err != nil {
		return err
	}
	return n.unseal(key, alone)
}

// stop ends the node as its operator would.
func (n *node) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.ended:
		n.forgetGroup(n.cmd.Process.Pid) // its plugins have ended before it
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("vault does not stop within %s", stopTimeout)
	}
}

func (n *node) forgetGroup(group int) {
	n.groups = slices.DeleteFunc(n.groups, func(g int) bool { return g == group })
}

// kill is kill -9 of the server alone. Its plugins live on for as long as they
// would anywhere, at most to the end of the script.
func (n *node) kill() error {
	err := n.cmd.Process.Kill()
	<-n.ended
	return err
}

// crash is kill -9 of the server and its plugins, as when their machine dies.
func (n *node) crash() error {
	err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL)
	<-n.ended
	n.forgetGroup(n.cmd.Process.Pid)
	return err
}

// pause stops the server and its plugins, as when their machine hangs; resume lets
// them go on, and they do not know for how long they stood still. Should the test
// die meanwhile, the kernel wakes the group, for it is nobody's then.
func (n *node) pause() error {
	n.paused = true
	if err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		return err
	}
	return retried(n.name+" stands still", func() error { // not all threads stop at once
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if _, err := n.client.Sys().HealthWithContext(ctx); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
}

func (n *node) resume() error {
	n.paused = false
	return syscall.Kill(-n.cmd.Process.Pid, syscall.SIGCONT)
}

// destroy ends the node and all that it has ever started.
func (n *node) destroy() {
	for _, group := range n.groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	if n.cmd != nil {
		<-n.ended
	}
	n.groups = nil
	os.RemoveAll(n.tmp)
}

// plugins returns the pids of the plugin's processes.
func (n *node) plugins() ([]int, error) {
	if !n.running() {
		return nil, errors.New("vault does not run")
	}
	return childrenOf(n.cmd.Process.Pid, pluginName)
}
