// Command testsummary reads the output of "go test -json" and prints a line per
// package, the output of what failed or was skipped, and last, on a line of its
// own, "N passed, M failed". It fails if anything failed, if a package with test
// files ran no test, or if a package given as argument ran none.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if !summarise(os.Stdin, os.Stdout, os.Args[1:]) {
		os.Exit(1)
	}
}

// An event is a line of "go test -json"; "go doc test2json" explains it.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	ImportPath                    string // of build-output
	FailedBuild                   string // of a package's fail: what did not build
}

type summary struct {
	out     io.Writer
	results map[string]map[string]string // by package and test: pass, fail or skip
	output  map[string]string            // by package and test, or by ImportPath
	total   map[string]int               // by result
	ran     map[string]bool              // packages that ran a test
}

// summarise reads all events and says whether everything passed.
func summarise(in io.Reader, out io.Writer, required []string) bool {
	s := summary{out, map[string]map[string]string{}, map[string]string{}, map[string]int{}, map[string]bool{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text())
		}
		s.add(e)
	}
	for _, pkg := range required {
		if !s.ran[pkg] {
			s.add(event{Action: "pass", Package: pkg}) // a package that ran no test
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed", s.total["pass"], s.total["fail"])
	if n := s.total["skip"]; n > 0 {
		fmt.Fprintf(out, ", %d skipped", n)
	}
	fmt.Fprintln(out)
	return lines.Err() == nil && s.total["fail"] == 0 && s.total["pass"] > 0
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.output[key] += e.Output
	case "build-output":
		s.output[e.ImportPath] += e.Output
	case "pass", "fail", "skip":
		if e.Action == "pass" {
			delete(s.output, key)
		}
		if s.results[e.Package] == nil {
			s.results[e.Package] = map[string]string{}
		}
		if e.Test != "" {
			s.results[e.Package][e.Test] = e.Action
		} else if e.Action != "skip" { // a package without test files is skipped
			s.endPackage(e)
		}
	}
}

// endPackage prints a package's line, and what output is left: of tests that
// failed, were skipped or never ended, and its own, such as a timeout.
func (s *summary) endPackage(e event) {
	n := count(s.results[e.Package])
	if len(n) == 0 && e.Action == "pass" {
		e.Action, s.output[e.Package+" "] = "fail", "ran no test\n"
	}
	if e.Action == "fail" {
		n["fail"] = max(n["fail"], 1)
	}
	fmt.Fprintf(s.out, "%-4s %7.1f s %5d passed  %s\n", e.Action, e.Elapsed, n["pass"], e.Package)
	for _, key := range slices.Sorted(maps.Keys(s.output)) {
		if key == e.FailedBuild || strings.HasPrefix(key, e.Package+" ") {
			fmt.Fprintln(s.out, "   ", strings.ReplaceAll(strings.TrimSpace(s.output[key]), "\n", "\n    "))
		}
	}
	for result := range n {
		s.total[result] += n[result]
	}
	s.ran[e.Package] = s.ran[e.Package] || len(n) > 0
	delete(s.results, e.Package) // it may be run again, for other tests
}

// count counts results. A test with subtests counts only if it failed and none
// of them did.
func count(tests map[string]string) map[string]int {
	below := map[string][]string{} // by test: the results of its subtests
	for name, result := range tests {
		for i := range len(name) {
			if name[i] == '/' {
				below[name[:i]] = append(below[name[:i]], result)
			}
		}
	}
	n := map[string]int{}
	for name, result := range tests {
		if below[name] == nil || result == "fail" && !slices.Contains(below[name], "fail") {
			n[result]++
		}
	}
	return n
}
