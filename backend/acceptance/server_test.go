package acceptance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// A server is one Vault: a node, or several as a cluster, with raft storage, sealed
// with one share, the audit log on, the plugin registered and mounted at llm/. Its
// nodes may be ended and started again over the same storage.
type server struct {
	nodes     []*node
	addr      string // of the node, or of the front before several
	auditFile string // of all nodes
	client    *api.Client
	unsealKey string
	front     *front // nil before a single node

	releaseSlot func()
}

// clusterSlots bounds how many clusters there are at the same time: a node that is
// kept from the processor for a second is taken for dead by the others.
var clusterSlots = make(chan struct{}, 3)

// newServer makes what a server of so many nodes needs below dir.
func newServer(dir string, nodes int, place surroundings) (*server, error) {
	sv := &server{auditFile: filepath.Join(dir, "audit.log"), releaseSlot: func() {}}
	if nodes == 1 {
		n, err := newNode(dir, "one", filepath.Join(dir, "server.log"), place)
		if err != nil {
			return nil, err
		}
		sv.nodes, sv.addr, sv.client = []*node{n}, n.addr, n.client
		return sv, nil
	}
	for i := range nodes {
		name := fmt.Sprintf("node%d", i+1)
		n, err := newNode(filepath.Join(dir, name), name, filepath.Join(dir, name+".log"), place)
		if err != nil {
			return nil, err
		}
		sv.nodes = append(sv.nodes, n)
	}
	clusterSlots <- struct{}{}
	sv.releaseSlot = sync.OnceFunc(func() { <-clusterSlots })
	sv.front = newFront(sv.nodes)
	sv.addr = sv.front.http.URL
	var err error
	sv.client, err = newClient(sv.addr)
	return sv, err
}

func (sv *server) alone() bool { return len(sv.nodes) == 1 }

// running reports whether any node runs.
func (sv *server) running() bool {
	for _, n := range sv.nodes {
		if n.running() {
			return true
		}
	}
	return false
}

// first makes a new server ready for use.
func (sv *server) first() error {
	if err := sv.found(sv.nodes[0]); err != nil {
		return err
	}
	if err := sv.equip(); err != nil {
		return err
	}
	if sv.alone() {
		return nil
	}
	for _, n := range sv.nodes[1:] {
		if err := sv.join(n); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return sv.awaitVoters()
}

// found starts the first node, and makes a Vault of it.
func (sv *server) found(n *node) error {
	startSlots <- struct{}{}
	defer func() { <-startSlots }()
	if err := n.launch(); err != nil {
		return err
	}
	if err := n.until("answers", func(*api.HealthResponse) bool { return true }); err != nil {
		return err
	}
	made, err := n.client.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	sv.unsealKey = made.KeysB64[0]
	sv.client.SetToken(made.RootToken)
	return n.unseal(sv.unsealKey, true)
}

// join starts another node, and makes it one of the first one's cluster.
func (sv *server) join(n *node) error {
	startSlots <- struct{}{}
	defer func() { <-startSlots }()
	if err := n.launch(); err != nil {
		return err
	}
	if err := n.until("answers", func(*api.HealthResponse) bool { return true }); err != nil {
		return err
	}
	joined, err := n.client.Sys().RaftJoin(&api.RaftJoinRequest{LeaderAPIAddr: sv.nodes[0].addr})
	if err != nil || !joined.Joined {
		return fmt.Errorf("join: %v, %w", joined, err)
	}
	return n.unseal(sv.unsealKey, false)
}

// awaitVoters waits until every node has a vote: a cluster in which only one has
// does not outlive it.
func (sv *server) awaitVoters() error {
	return retried("every node has a vote", func() error {
		state, err := sv.client.Sys().RaftAutopilotState()
		switch {
		case err != nil:
			return err
		case state == nil || len(state.Voters) < len(sv.nodes):
			return fmt.Errorf("autopilot says %+v", state)
		}
		return nil
	})
}

// retried waits until try succeeds.
func retried(what string, try func() error) error {
	for started := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Since(started) > startTimeout {
			return fmt.Errorf("not within %s: %s: %w", startTimeout, what, err)
		}
	}
}

// startAll starts every node that does not run.
func (sv *server) startAll() error {
	for _, n := range sv.nodes {
		if n.running() {
			continue
		}
		if err := n.again(sv.unsealKey, sv.alone()); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func (sv *server) stopAll() error {
	var failures []error
	for _, n := range sv.nodes {
		if n.running() {
			failures = append(failures, n.stop())
		}
	}
	return errors.Join(failures...)
}

// equip turns on the audit log, and registers and mounts the plugin.
func (sv *server) equip() error {
	sys := sv.client.Sys()
	if !sv.alone() {
		// Autopilot gives a node its vote once it was well for so long.
		quick := map[string]any{"server_stabilization_time": "1s"}
		if _, err := sv.client.Logical().Write("sys/storage/raft/autopilot/configuration", quick); err != nil {
			return fmt.Errorf("configure autopilot: %w", err)
		}
	}
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

// leader waits until a node leads.
func (sv *server) leader() (*node, error) {
	var found *node
	err := retried("a node leads", func() error {
		found = leaderOf(context.Background(), sv.nodes)
		if found == nil {
			return errors.New("none does")
		}
		return nil
	})
	return found, err
}

// leaderOf returns the node that leads; nil if none says so at once.
func leaderOf(ctx context.Context, nodes []*node) *node {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	leads := make(chan *node, len(nodes))
	for _, n := range nodes {
		go func() {
			if n.leads(ctx) {
				leads <- n
			} else {
				leads <- nil
			}
		}()
	}
	for range nodes {
		if n := <-leads; n != nil {
			return n
		}
	}
	return nil
}

// active returns the node that leads, or the only one.
func (sv *server) active() (*node, error) {
	if sv.alone() {
		return sv.nodes[0], nil
	}
	return sv.leader()
}

// plugins returns the pids of the plugin's processes of the node that leads.
func (sv *server) plugins() ([]int, error) {
	n, err := sv.active()
	if err != nil {
		return nil, err
	}
	return n.plugins()
}

// destroy ends all nodes, and all that they have ever started.
func (sv *server) destroy() {
	for _, n := range sv.nodes {
		n.destroy()
	}
	if sv.front != nil {
		sv.front.close()
	}
	sv.releaseSlot()
}

const vaultdUsage = "vaultd kill|leader VAR|pause|restart|restore NAME|resume|save NAME|start [NODES]|step-down|stop"

func (s *script) cmdVaultd(ts *testscript.TestScript, args []string) error {
	word, args := first(args)
	if word == "start" && s.server == nil {
		return s.firstStart(ts, args)
	}
	if word == "start" && len(args) == 0 {
		return s.vaultdStart()
	}
	if s.server == nil || !s.server.running() {
		return usage("vaultd " + word + ": it does not run")
	}
	if word == "leader" {
		return s.vaultdLeader(ts, args)
	}
	if word == "save" || word == "restore" {
		return s.vaultdBackup(ts, word, args)
	}
	if len(args) > 0 {
		return usage(vaultdUsage)
	}
	switch word {
	case "stop":
		return s.server.stopAll()
	case "restart":
		return errors.Join(s.server.stopAll(), s.server.startAll())
	case "resume":
		return s.vaultdResume()
	case "kill", "pause", "step-down":
		return s.vaultdLead(word)
	}
	return usage(vaultdUsage)
}

func (s *script) vaultdStart() error {
	for _, n := range s.server.nodes {
		if !n.running() {
			return s.server.startAll()
		}
	}
	return usage("vaultd start: it runs already")
}

func (s *script) vaultdLeader(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return usage(vaultdUsage)
	}
	n, err := s.server.leader()
	if err != nil {
		return err
	}
	ts.Setenv(args[0], n.name)
	return nil
}

// vaultdLead does something to the node that leads.
func (s *script) vaultdLead(word string) error {
	n, err := s.server.active()
	if err != nil {
		return err
	}
	switch word {
	case "kill":
		return n.kill()
	case "pause":
		return n.pause()
	}
	return s.server.stepDown(n)
}

// stepDown makes a node resign, and waits until it has: it answers before that.
func (sv *server) stepDown(n *node) error {
	if err := sv.client.Sys().StepDown(); err != nil || sv.alone() {
		return err
	}
	return retried(n.name+" leads no more", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if n.leads(ctx) {
			return errors.New("it does")
		}
		return nil
	})
}

func (s *script) vaultdResume() error {
	resumed := 0
	for _, n := range s.server.nodes {
		if n.paused {
			resumed++
			if err := n.resume(); err != nil {
				return err
			}
		}
	}
	return usageUnless(resumed > 0, "vaultd resume: no node is paused")
}

func (s *script) firstStart(ts *testscript.TestScript, args []string) error {
	word, rest := first(args)
	nodes, err := strconv.Atoi(cmp.Or(word, "1"))
	if err != nil || nodes < 1 || len(rest) > 0 {
		return usage(vaultdUsage)
	}
	if s.server, err = newServer(s.dir, nodes, s.place); err != nil {
		return err
	}
	ts.Setenv("VAULT_ADDR", s.server.addr)
	if err := s.server.first(); err != nil {
		return err
	}
	ts.Setenv("VAULT_TOKEN", s.server.client.Token())
	ts.Setenv("ROOT_TOKEN", s.server.client.Token())
	ts.Setenv("SERVER_LOG", s.server.nodes[0].logFile)
	ts.Setenv("AUDIT_LOG", s.server.auditFile)
	return nil
}

// logs are the logs of all nodes.
func (sv *server) logs() []string {
	var files []string
	for _, n := range sv.nodes {
		files = append(files, n.logFile)
	}
	return files
}
