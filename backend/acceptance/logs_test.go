package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file looks for secrets where none may be.

func (s *script) cmdClean(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return usage("clean FILE...")
	}
	for _, file := range args {
		text := ts.ReadFile(file)
		if text == "" {
			return usage("clean: " + file + " is empty, so it proves nothing")
		}
		if err := s.checkText(file, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// logs are all files that must hold no secret.
func (s *script) logs() []string {
	if s.server == nil {
		return []string{s.cliLog}
	}
	return append(s.server.logs(), s.server.auditFile, s.cliLog)
}

// pluginLine is what every plugin says at first.
const pluginLine = "configuring server automatic mTLS"

// checkLogs looks for secrets in all that was logged, answered as an error, or
// sent in a URL. It fails too where there is nothing to look at: a check that
// reads the wrong file passes for ever.
func (s *script) checkLogs() error {
	var failures []error
	for name, sim := range s.sims {
		var urls bytes.Buffer
		for _, r := range sim.arrived() {
			fmt.Fprintf(&urls, "%s?%s\n", r.path, r.query)
		}
		failures = append(failures, s.checkText("the URL of a request to "+name, urls.Bytes()))
	}
	if s.server == nil {
		return errors.Join(failures...)
	}
	pluginSpoke := false // only nodes that have led have run the plugin
	for _, file := range s.logs() {
		text, err := os.ReadFile(file)
		if file == s.cliLog && errors.Is(err, os.ErrNotExist) {
			continue // no command has failed
		}
		switch file {
		case s.cliLog:
		case s.server.auditFile:
			err = errors.Join(err, wantText(file, text, `"type":"request"`))
		default:
			err = errors.Join(err, wantText(file, text, "[TRACE]"))
			pluginSpoke = pluginSpoke || bytes.Contains(text, []byte(pluginLine))
		}
		failures = append(failures, err, s.checkText(file, text))
	}
	if !pluginSpoke {
		failures = append(failures, fmt.Errorf("no server's log holds %q, so that a look for secrets proves nothing", pluginLine))
	}
	return errors.Join(failures...)
}

func wantText(file string, text []byte, want string) error {
	if bytes.Contains(text, []byte(want)) {
		return nil
	}
	return fmt.Errorf("%s does not hold %q, so that a look for secrets proves nothing", file, want)
}

// checkText looks for every secret that there ever was.
func (s *script) checkText(name string, text []byte) error {
	at, size := findSecret(text, s.secrets())
	if size == 0 {
		return nil
	}
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := bytes.Cut(text[start:], []byte("\n"))
	return unmetf("%s holds a secret: %s", name, bytes.ReplaceAll(line, text[at:at+size], []byte("<SECRET>")))
}

// secretPrefixes begin the secrets of which there may be thousands: keys and tokens
// of every provider, and assertions, which are JWTs.
var secretPrefixes = []string{"sk-", "eyJ"}

// findSecret returns where one of the secrets is, and its size; none has no size. It
// reads the text once for each prefix, and once for each secret that has none.
func findSecret(text []byte, secrets []string) (at, size int) {
	byPrefix := map[string][]string{}
	for _, secret := range secrets {
		i := slices.IndexFunc(secretPrefixes, func(prefix string) bool { return strings.HasPrefix(secret, prefix) })
		if i >= 0 {
			byPrefix[secretPrefixes[i]] = append(byPrefix[secretPrefixes[i]], secret)
		} else if at := bytes.Index(text, []byte(secret)); at >= 0 && secret != "" {
			return at, len(secret)
		}
	}
	for prefix, secrets := range byPrefix {
		if at, size := findPrefixed(text, prefix, secrets); size > 0 {
			return at, size
		}
	}
	return 0, 0
}

// findPrefixed is findSecret for those with a prefix.
func findPrefixed(text []byte, prefix string, secrets []string) (at, size int) {
	known, sizes := map[string]bool{}, map[int]bool{}
	for _, secret := range secrets {
		known[secret], sizes[len(secret)] = true, true
	}
	for rest := text; ; rest = rest[len(prefix):] {
		i := bytes.Index(rest, []byte(prefix))
		if i < 0 {
			return 0, 0
		}
		rest = rest[i:]
		for size := range sizes {
			if size <= len(rest) && known[string(rest[:size])] {
				return len(text) - len(rest), size
			}
		}
	}
}
