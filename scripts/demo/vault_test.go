package main

import (
	"testing"
	"time"
)

func TestReason(t *testing.T) {
	tests := []struct{ stderr, want string }{
		{"", ""},
		{"No value found at llm/nothing\n", "No value found at llm/nothing"},
		{
			"Error writing data to llm/roles/x: Error making API request.\n\n" +
				"URL: PUT http://127.0.0.1:8200/v1/llm/roles/x\nCode: 400. Errors:\n\n" +
				"* unknown field \"projectid\"; did you mean \"project_id\"?\n",
			`unknown field "projectid"; did you mean "project_id"?`,
		},
		{"Code: 500. Errors:\n\n* one\n* two\n", "one; two"},
	}
	for _, tt := range tests {
		if got := reason(tt.stderr); got != tt.want {
			t.Errorf("reason(%q) = %q, want %q", tt.stderr, got, tt.want)
		}
	}
}

func TestLastError(t *testing.T) {
	tests := []struct{ log, want string }{
		{"", ""},
		{"all is well\nindeed\n\n", ""},
		{"Error enabling plugin x: 2 errors occurred:\n\t* this\n\t* and that\n\nbye\n", "Error enabling plugin x: 2 errors occurred: this"},
		{"Error parsing listener configuration.\nError initializing listener: busy\nbye\n", "Error initializing listener: busy"},
	}
	for _, tt := range tests {
		if got := lastError(tt.log); got != tt.want {
			t.Errorf("lastError(%q) = %q, want %q", tt.log, got, tt.want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	tests := []struct{ line, want string }{
		{"Vault v1.21.2, built 2025-11-21T01:41:11Z\n", "v1.21.2"},
		{"Vault v1.21.2 (0123abc), built 2025-11-21T01:41:11Z", "v1.21.2"},
		{"", "of an unknown version"},
	}
	for _, tt := range tests {
		if got := versionOf(tt.line); got != tt.want {
			t.Errorf("versionOf(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestEnvironmentOfVaultHoldsNoKey(t *testing.T) {
	for _, name := range []string{"OPENAI_ADMIN_KEY", "VAULT_NAMESPACE", "BAO_ADDR"} {
		if !foreign(name) {
			t.Errorf("%s is handed on to vault", name)
		}
	}
	for _, name := range []string{"PATH", "HTTPS_PROXY"} {
		if foreign(name) {
			t.Errorf("%s is not handed on to vault", name)
		}
	}
}

func TestNear(t *testing.T) {
	tests := []struct {
		got  time.Duration
		want bool
	}{
		{time.Minute, true},
		{59 * time.Second, true},
		{57 * time.Second, false},
		{61 * time.Second, false},
	}
	for _, tt := range tests {
		if got := near(tt.got, time.Minute); got != tt.want {
			t.Errorf("near(%s, 1m) = %t, want %t", tt.got, got, tt.want)
		}
	}
}
