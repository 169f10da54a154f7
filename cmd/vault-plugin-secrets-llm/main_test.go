package main

import (
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
