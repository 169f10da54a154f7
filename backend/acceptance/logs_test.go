package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"os"

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
	return []string{s.server.logFile, s.server.auditFile, s.cliLog}
}

// checkLogs looks for secrets in all that was logged, answered as an error, or
// sent in a URL. It fails too where there is nothing to look at: a check that
// reads the wrong file passes for ever.
func (s *script) checkLogs() error {
	var failures []error
	for _, r := range s.fake.Requests() {
		failures = append(failures, s.checkText("the URL of a request to the provider", []byte(r.Path+"?"+r.RawQuery)))
	}
	if s.server == nil {
		return errors.Join(failures...)
	}
	for _, file := range s.logs() {
		text, err := os.ReadFile(file)
		if file == s.cliLog && errors.Is(err, os.ErrNotExist) {
			continue // no command has failed
		}
		switch file {
		case s.server.logFile:
			err = errors.Join(err, wantText(file, text, "[TRACE]"), wantText(file, text, "configuring server automatic mTLS"))
		case s.server.auditFile:
			err = errors.Join(err, wantText(file, text, `"type":"request"`))
		}
		failures = append(failures, err, s.checkText(file, text))
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
	for _, secret := range s.fake.Secrets() {
		before, _, ok := bytes.Cut(text, []byte(secret))
		if !ok {
			continue
		}
		start := bytes.LastIndexByte(before, '\n') + 1
		line, _, _ := bytes.Cut(text[start:], []byte("\n"))
		return unmetf("%s holds a secret: %s", name, bytes.ReplaceAll(line, []byte(secret), []byte("<SECRET>")))
	}
	return nil
}
