package acceptance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

const pluginName = "vault-plugin-secrets-llm"

// testPendingAge is how soon the plugin under test settles a create whose outcome
// it does not know. It is longer than any script keeps a create waiting.
const testPendingAge = "20s"

// A pluginBinary is the plugin under test, in a directory of its own.
type pluginBinary struct {
	dir     string
	sha256  string
	version string
}

// findBinaries finds or builds what is under test, in dir.
func findBinaries(dir string) error {
	var err error
	if vault, err = findVault(); err != nil {
		return err
	}
	plugin.dir = filepath.Join(dir, "plugins")
	if plugin.dir, err = realDir(plugin.dir); err != nil { // Vault wants no symlink
		return err
	}
	file := filepath.Join(plugin.dir, pluginName)
	if built := os.Getenv("PLUGIN_BINARY"); built != "" {
		err = copyFile(built, file)
	} else {
		err = buildPlugin(file, "v0.0.0-test")
	}
	if err != nil {
		return err
	}
	if plugin.sha256, err = sumOf(file); err != nil {
		return err
	}
	if plugin.version, err = versionOf(file); err != nil {
		return err
	}
	return nil
}

// findVault returns the Vault that scripts/vault.sh would, but builds none.
func findVault() (string, error) {
	if path := os.Getenv("VAULT_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	if path, err := exec.LookPath("vault"); err == nil {
		return filepath.Abs(path)
	}
	path, err := filepath.Abs("../../bin/vault")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("there is no Vault to test with; run make vault")
	}
	return path, nil
}

// buildPlugin builds the plugin as scripts/build.sh does, for tests.
func buildPlugin(file, version string) error {
	const vars = pluginName + "/backend."
	cmd := exec.Command("go", "build", "-trimpath",
		"-ldflags", "-s -w -X "+vars+"version="+version+" -X "+vars+"pendingAgeText="+testPendingAge+" -X "+vars+"tokenGraceText="+testPendingAge,
		"-o", file, pluginName+"/cmd/"+pluginName)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the plugin: %w\n%s", err, out)
	}
	return nil
}

// versions are the plugins that scripts have built, by version. They lie beside the one
// under test, as the versions of an upgrade do, and differ from it in nothing else.
var versions struct {
	sync.Mutex
	sums map[string]string
}

// cmdBuild builds the plugin as another version, once for all scripts.
func (s *script) cmdBuild(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 || !strings.HasPrefix(args[0], "v") {
		return usage("build VERSION VAR, of a version such as v0.9.0")
	}
	version := args[0]
	versions.Lock()
	defer versions.Unlock()
	if versions.sums[version] == "" {
		file := filepath.Join(plugin.dir, pluginName+"_"+version)
		if err := buildPlugin(file, version); err != nil {
			return err
		}
		if said, err := versionOf(file); err != nil || said != version {
			return fmt.Errorf("%s says that it is %q, %w", file, said, err)
		}
		sum, err := sumOf(file)
		if err != nil {
			return err
		}
		if versions.sums == nil {
			versions.sums = map[string]string{}
		}
		versions.sums[version] = sum
	}
	ts.Setenv(args[1], versions.sums[version])
	return nil
}

// versionOf asks a plugin for its version.
func versionOf(file string) (string, error) {
	out, err := exec.Command(file, "-version").Output()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w", file, err)
	}
	words := strings.Fields(string(out))
	if len(words) < 2 || !strings.HasPrefix(words[1], "v") {
		return "", fmt.Errorf("%s -version says %q, which holds no version", file, out)
	}
	return words[1], nil
}

func sumOf(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// realDir makes a directory and returns its path without symlinks.
func realDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// shim is the vault of the scripts. It runs the real one, and keeps what must
// hold no secret: all that it says on stderr, and on stdout when it fails. An
// agent says what it does on stdout; all of that is kept, and the script does
// not see it. There the shim becomes the real one, so that signals reach it, and
// leaves a watch behind that ends it should the test die.
const shim = `#!/bin/sh
case "$1 $2" in
'agent -'* | 'proxy -'*)
	(while kill -0 $PPID && kill -0 $$; do sleep 1; done; kill $$) </dev/null >/dev/null 2>&1 &
	exec '%[1]s' "$@" %[4]s
	;;
esac
'%[1]s' "$@" >'%[3]s/out.'$$ 2>'%[3]s/err.'$$
status=$?
cat '%[3]s/err.'$$ >>'%[2]s'
[ $status -eq 0 ] || cat '%[3]s/out.'$$ >>'%[2]s'
cat '%[3]s/out.'$$
cat '%[3]s/err.'$$ >&2
rm -f '%[3]s/out.'$$ '%[3]s/err.'$$
exit $status
`

// writeShim writes the shim. Where agents are heard, nothing of theirs is kept.
func writeShim(dir, log string, heard bool) error {
	agents := fmt.Sprintf(">>'%s' 2>&1", log)
	if heard {
		agents = ""
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf(shim, vault, log, dir, agents)
	return os.WriteFile(filepath.Join(dir, "vault"), []byte(text), 0o755)
}
