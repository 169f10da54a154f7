package acceptance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// These come from TestMain and do not change.
var (
	vault  string // the Vault to start
	plugin pluginBinary
)

// scriptsAtOnce is how many scripts run at the same time, unless -parallel says
// otherwise: many more than there are processors, for most of them wait for
// Vault's next sweep. See startSlots for what does cost.
const scriptsAtOnce = 44

// scriptsDir is where TestScripts finds its scripts. Those in snapshot make the backups
// that upgrade_restore_*.txtar restore, with an earlier plugin: see scripts/snapshot.sh.
var scriptsDir = flag.String("scripts", "testdata", "directory of the scripts to run")

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		_ = flag.Set("test.parallel", fmt.Sprint(scriptsAtOnce))
	}
	dir, err := os.MkdirTemp("", "acceptance")
	if err == nil {
		err = findBinaries(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 *scriptsDir,
		Setup:               setUp,
		Cmds:                commandTable(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// A script is one running script with its world.
type script struct {
	t      testing.TB
	dir    string                // $WORK
	sims   map[string]*simulator // by the provider
	other  *stranger
	server *server // nil until vaultd start
	place  surroundings
	cliLog string // what the CLI said on stderr, and on stdout when it failed

	signing []string      // private keys of the engine's that were seen in the storage
	stormed []*stormLease // of the last storm
}

type scriptKey struct{}

func setUp(env *testscript.Env) error {
	s := &script{
		t:      env.T().(testing.TB),
		dir:    env.WorkDir,
		cliLog: filepath.Join(env.WorkDir, "cli.log"),
	}
	env.Values[scriptKey{}] = s
	s.startSimulators(env)
	s.other = newStranger()
	env.Defer(s.finish)

	bootstrap, err := filepath.Abs(bootstrapDir)
	if err != nil {
		return err
	}
	env.Setenv("BOOTSTRAP", bootstrap)
	env.Setenv("OTHER_URL", s.other.http.URL+"/v1")
	env.Setenv("CLI_LOG", s.cliLog)
	env.Setenv("PORT", fmt.Sprint(freePort()))
	env.Setenv("PLUGIN", pluginName)
	env.Setenv("PLUGIN_SHA256", plugin.sha256)
	env.Setenv("PLUGIN_VERSION", plugin.version)
	snapshots, err := filepath.Abs("snapshot")
	if err != nil {
		return err
	}
	env.Setenv("SNAPSHOTS", snapshots)
	env.Setenv("NO_COLOR", "1")
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := writeShim(bin, s.cliLog, false); err != nil {
		return err
	}
	if err := s.setUpTerraform(env, bin); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return nil
}

// finish ends a script's world, and checks what must hold at the end of every
// script: every live key is known to the ledger, nothing was deleted by two at
// once, and no secret is in any log.
func (s *script) finish() {
	defer s.closeSimulators()
	defer s.other.http.Close()
	if s.server != nil {
		if s.server.running() && !s.t.Failed() {
			if err := s.knownAtLast(); err != nil {
				s.t.Errorf("at the end of the script: %v", err)
			}
		}
		s.server.destroy()
	}
	if err := errors.Join(s.deletedApart(), s.checkLogs()); err != nil {
		s.t.Errorf("at the end of the script: %v", err)
	}
	if s.t.Failed() && s.server != nil {
		s.keepLogs()
	}
}

// knownAtLast is known, of a cluster that may be about to elect a leader. It learns
// what the logs must not hold, too.
func (s *script) knownAtLast() error {
	if _, err := s.server.active(); err != nil {
		return err
	}
	return errors.Join(s.known(), s.learnSigning())
}

// keepLogs shows the end of the server's log, and keeps all logs where the -artifacts
// flag of go test wants them.
func (s *script) keepLogs() {
	const lines = 60
	for _, file := range s.server.logs() {
		s.t.Logf("the last of %s, without traces:\n%s", filepath.Base(file), tail(file, lines))
	}
	dir := s.t.ArtifactDir()
	for _, from := range s.logs() {
		if data, err := os.ReadFile(from); err == nil {
			_ = os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600)
		}
	}
}

// tail returns the last lines of a server's log above debug level.
func tail(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	var kept []string
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, "[TRACE]") && !strings.Contains(line, "[DEBUG]") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-n):], "")
}
