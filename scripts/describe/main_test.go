package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

func sample() *binary {
	return &binary{
		name: "app_v1.2.3_linux_arm64", sha256: strings.Repeat("ab", 32),
		info: &debug.BuildInfo{
			GoVersion: "go1.26.8",
			Main:      debug.Module{Path: "example.test/app", Version: "v0.0.0-1"},
			Deps: []*debug.Module{
				{Path: "example.test/lib", Version: "v2.0.0+incompatible", Sum: "h1:lib"},
				{Path: "example.test/old", Version: "v1.0.0", Sum: "h1:old", Replace: &debug.Module{Path: "example.test/new", Version: "v1.1.0", Sum: "h1:new"}},
			},
			Settings: []debug.BuildSetting{
				{Key: "GOOS", Value: "linux"},
				{Key: "GOARCH", Value: "arm64"},
				{Key: "-trimpath", Value: "true"},
				{Key: "vcs.revision", Value: "c0ffee"},
				{Key: "vcs.modified", Value: "false"},
			},
		},
	}
}

func text(t *testing.T, document any) string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out, document); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(out.Bytes()) {
		t.Fatalf("not JSON:\n%s", out.String())
	}
	return out.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line) {
			t.Errorf("lacks %s:\n%s", line, text)
		}
	}
}

func TestSBOM(t *testing.T) {
	got := text(t, sample().sbom("v1.2.3"))
	wantLines(t, got,
		`"bomFormat": "CycloneDX"`,
		`"name": "app_v1.2.3_linux_arm64"`,
		`"purl": "pkg:golang/example.test/app@v1.2.3?goarch=arm64&goos=linux"`,
		`"content": "`+strings.Repeat("ab", 32)+`"`,
		`"value": "c0ffee"`,
		`"purl": "pkg:golang/stdlib@1.26.8"`,
		`"purl": "pkg:golang/example.test/lib@v2.0.0%2Bincompatible"`,
		`"version": "v2.0.0+incompatible"`,
		`"purl": "pkg:golang/example.test/new@v1.1.0"`,
		`"value": "h1:new"`,
	)
	if strings.Contains(got, "example.test/old") {
		t.Errorf("holds a module that is replaced, so not linked in:\n%s", got)
	}
	if again := text(t, sample().sbom("v1.2.3")); again != got {
		t.Error("two of the same binary differ")
	}
}

func TestProvenance(t *testing.T) {
	got := text(t, sample().provenance("v1.2.3", "https://ci.example.test/release"))
	wantLines(t, got,
		`"version": "v1.2.3"`,
		`"goarch": "arm64"`,
		`"go": "go1.26.8"`,
		`"-trimpath": "true"`,
		`"gitCommit": "c0ffee"`,
		`"id": "https://ci.example.test/release"`,
	)
}

// The binary of this test does not know its commit, as one that was built outside of
// a repository.
func TestRefusals(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "usage"},
		{[]string{"poem", self}, "usage"},
		{[]string{"sbom", self}, "usage"},
		{[]string{"target", os.DevNull}, os.DevNull},
		{[]string{"sbom", "v1.2.3", self, os.DevNull}, "does not know its commit"},
	} {
		if err := run(test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.args, err, test.want)
		}
	}
	if err := checkBuilder("ci"); err == nil {
		t.Error("a builder that is no URI is taken")
	}
}
