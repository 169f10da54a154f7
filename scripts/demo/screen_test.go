package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestShorten(t *testing.T) {
	tests := []struct{ key, want string }{
		{"sk-svcacct-abcdefghijklmnopqrstuvwxyz", "sk-svcacct-abcd…"},
		{"sk-proj-Ab-d_fghijklmnopqrstuvwxyz", "sk-proj-Ab-d…"},
		{"sk-Abcdefghijklmnopqrstuvwxyz", "sk-Abcd…"},
		{"0123456789abcdef0123", "0123…"},
		{"sk-svcacct-abcdefgh", "…"},
		{"", "…"},
	}
	for _, tt := range tests {
		if got := shorten(tt.key); got != tt.want {
			t.Errorf("shorten(%q) = %q, want %q", tt.key, got, tt.want)
		}
	}
}

func TestAlign(t *testing.T) {
	got := align([][]string{{"name", "value"}, {"nömé", "x"}, {"alone", ""}})
	want := []string{"name            value", "nömé            x", "alone"}
	if !slices.Equal(got, want) {
		t.Errorf("align = %q, want %q", got, want)
	}
	got = align([][]string{{"a name that is long", "x"}, {"short", "y"}})
	want = []string{"a name that is long  x", "short                y"}
	if !slices.Equal(got, want) {
		t.Errorf("align = %q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	tests := []struct {
		words string
		width int
		want  string
	}{
		{"", 10, ""},
		{"vault", 2, "vault"},
		{"vault read llm", 20, "vault read llm"},
		{"vault read llm/creds", 14, "vault read \\\n  llm/creds"},
		{"a b c d", 5, "a b \\\n  c d"},
	}
	for _, tt := range tests {
		if got := wrap(strings.Fields(tt.words), tt.width, "  "); got != tt.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", tt.words, tt.width, got, tt.want)
		}
	}
}

func TestHuman(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{10 * time.Second, "10s"},
		{15 * time.Minute, "15m"},
		{time.Hour, "1h"},
		{time.Hour - time.Second, "59m59s"},
		{time.Hour + 10*time.Second, "1h0m10s"},
		{20 * time.Hour, "20h"},
		{110 * time.Minute, "1h50m"},
	}
	for _, tt := range tests {
		if got := human(tt.d); got != tt.want {
			t.Errorf("human(%d) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestScreenShowsNoSecret(t *testing.T) {
	const admin, key = "sk-admin-abcdefghijklmnopqrstuvwxyz", "sk-svcacct-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var out strings.Builder
	s := &screen{out: &out, hidden: admin}
	s.title("Read " + admin)
	s.command("vault", "write", "admin_key="+admin, "-sha256="+strings.Repeat("0123456789abcdef", 4))
	s.text("Error: " + admin + "\nis wrong\n")
	s.rows(answer{
		LeaseDuration: 900,
		Data:          map[string]any{"api_key": key, "empty": ""},
		Warnings:      []string{"not " + admin},
	}, "lease_duration", "api_key", "empty", "absent")
	want := `
 1  Read sk-admin-abcd…
    $ vault write admin_key=sk-admin-abcd… -sha256=0123456789ab…
    Error: sk-admin-abcd…
    is wrong
    lease_duration  15m
    api_key         sk-svcacct-ABCD…
    warning         not sk-admin-abcd…
`
	if got := out.String(); got != want {
		t.Errorf("the screen shows:\n%s\nwant:\n%s", got, want)
	}
}
