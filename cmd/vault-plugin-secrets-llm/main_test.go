package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"-version"}, &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^vault-plugin-secrets-llm \S+ \(commit \S+, go\S+, \w+/\w+\)\nproviders: \S.*\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("got %q, want it to match %s", out.String(), want)
	}
}

func TestUnknownFlagIsRefused(t *testing.T) {
	if err := run([]string{"-no-such-flag"}, new(strings.Builder)); err == nil {
		t.Error("got no error")
	}
}

// The reference is made with the providers of a test, which are to be these.
func TestReferenceKnowsTheProviders(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"-version"}, &out); err != nil {
		t.Fatal(err)
	}
	_, providers, _ := strings.Cut(strings.TrimSpace(out.String()), "\nproviders: ")
	page, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "LLM provider: " + providers + "."; providers == "" || !strings.Contains(string(page), want) {
		t.Errorf("docs/reference.md has no %q", want)
	}
}
