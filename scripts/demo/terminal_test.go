package main

import "testing"

func TestIsYes(t *testing.T) {
	for line, want := range map[string]bool{"y\n": true, " YES \n": true, "\n": false, "": false, "n\n": false, "yeah\n": false} {
		if got := isYes(line); got != want {
			t.Errorf("isYes(%q) = %t, want %t", line, got, want)
		}
	}
}
