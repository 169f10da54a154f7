package provider

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01 00:00:00 UTC
		for value, want := range map[string]time.Duration{
			"":                                 0,
			"7":                                7 * time.Second,
			"0":                                0,
			"-3":                               0,
			"1.5":                              0,
			"soon":                             0,
			"86400":                            time.Hour,
			"9223372036854775807":              time.Hour,
			"99999999999999999999":             0,
			"Sat, 01 Jan 2000 00:00:40 GMT":    40 * time.Second,
			"Saturday, 01-Jan-00 00:01:00 GMT": time.Minute,
			"Sun, 02 Jan 2000 00:00:00 GMT":    time.Hour,
			"Fri, 31 Dec 1999 23:59:59 GMT":    0,
		} {
			if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
				t.Errorf("Retry-After %q: got %s, want %s", value, got, want)
			}
		}
		if got := retryAfter(http.Header{}); got != 0 {
			t.Errorf("no Retry-After: got %s", got)
		}
	})
}

func TestBackoffGrows(t *testing.T) {
	for repeats, full := range []time.Duration{250, 500, 1000} {
		full *= time.Millisecond
		for range 100 {
			if d := backoff(repeats, nil); d <= full/2 || d > full {
				t.Fatalf("repeat %d: got %s, want more than %s and at most %s", repeats, d, full/2, full)
			}
		}
	}
}
