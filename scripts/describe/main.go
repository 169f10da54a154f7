// Command describe writes what goes beside a released binary, as JSON:
//
//	describe sbom VERSION BINARY FILE             what it is made of, as CycloneDX 1.6
//	describe provenance VERSION BUILDER BINARY    how it was made, as an SLSA 1.0 predicate,
//	                                              on stdout
//	describe target BINARY                        its GOOS, GOARCH, commit, and whether the
//	                                              tree had changes, as words on one line
//
// All of it is read from what Go's linker wrote into the binary, so it is of that
// binary and not of a module that may have changed since, and the same binary gives
// the same bytes. The version is an argument: with -trimpath, Go does not write
// linker flags down. BUILDER is a URI that says who runs the build.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

const usage = "usage: describe sbom VERSION BINARY FILE | describe provenance VERSION BUILDER BINARY | describe target BINARY"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "describe:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	// How many words there are, and which is the binary.
	words := map[string][2]int{"sbom": {4, 2}, "provenance": {4, 3}, "target": {2, 1}}[args[0]]
	if words[0] != len(args) {
		return errors.New(usage)
	}
	b, err := read(args[words[1]])
	if err != nil {
		return err
	}
	switch args[0] {
	case "sbom":
		var document bytes.Buffer
		if err := write(&document, b.sbom(args[1])); err != nil {
			return err
		}
		return os.WriteFile(args[3], document.Bytes(), 0o644)
	case "provenance":
		if err := checkBuilder(args[2]); err != nil {
			return err
		}
		return write(out, b.provenance(args[1], args[2]))
	}
	_, err = fmt.Fprintln(out, b.setting("GOOS"), b.setting("GOARCH"), b.setting("vcs.revision"), b.setting("vcs.modified"))
	return err
}

func checkBuilder(builder string) error {
	if parsed, err := url.Parse(builder); err != nil || parsed.Scheme == "" {
		return fmt.Errorf("builder %q is not a URI", builder)
	}
	return nil
}

// A binary is a built one, and what its linker said of it.
type binary struct {
	name   string
	sha256 string
	info   *debug.BuildInfo
}

// read refuses a binary that does not know its commit: nothing could be said of where
// it comes from.
func read(file string) (*binary, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	sum := sha256.Sum256(data)
	b := &binary{name: filepath.Base(file), sha256: hex.EncodeToString(sum[:]), info: info}
	if b.setting("vcs.revision") == "" {
		return nil, fmt.Errorf("%s does not know its commit; build it in its git repository with -buildvcs=true", file)
	}
	return b, nil
}

func (b *binary) setting(key string) string {
	for _, s := range b.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// goVersion is that of the compiler, without its prefix.
func (b *binary) goVersion() string { return strings.TrimPrefix(b.info.GoVersion, "go") }

func write(out io.Writer, document any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // purls hold &
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}
