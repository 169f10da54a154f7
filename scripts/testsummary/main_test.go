package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		events   []string
		required []string
		ok       bool
		want     []string
	}{
		"passed": {
			events: []string{
				`{"Action":"output","Package":"m/a","Test":"TestA","Output":"noise\n"}`,
				`{"Action":"pass","Package":"m/a","Test":"TestA"}`,
				`{"Action":"pass","Package":"m/a"}`,
				`{"Action":"skip","Package":"m/none"}`,
			},
			required: []string{"m/a"},
			ok:       true,
			want:     []string{"1 passed, 0 failed\n"},
		},
		"a package that is run twice": {
			events: []string{
				`{"Action":"pass","Package":"m/a","Test":"TestA"}`,
				`{"Action":"pass","Package":"m/a"}`,
				`{"Action":"pass","Package":"m/a","Test":"TestB"}`,
				`{"Action":"pass","Package":"m/a"}`,
			},
			required: []string{"m/a"},
			ok:       true,
			want:     []string{"2 passed, 0 failed\n"},
		},
		"subtests are counted, their parents are not": {
			events: []string{
				`{"Action":"output","Package":"m/a","Test":"TestA/x","Output":"x broke\n"}`,
				`{"Action":"fail","Package":"m/a","Test":"TestA/x"}`,
				`{"Action":"pass","Package":"m/a","Test":"TestA/y"}`,
				`{"Action":"fail","Package":"m/a","Test":"TestA"}`,
				`{"Action":"fail","Package":"m/a"}`,
			},
			want: []string{"    x broke\n", "1 passed, 1 failed\n"},
		},
		"a parent that fails alone is counted": {
			events: []string{
				`{"Action":"pass","Package":"m/a","Test":"TestA/x"}`,
				`{"Action":"fail","Package":"m/a","Test":"TestA"}`,
				`{"Action":"fail","Package":"m/a"}`,
			},
			want: []string{"1 passed, 1 failed\n"},
		},
		"skipped, with its reason": {
			events: []string{
				`{"Action":"pass","Package":"m/a","Test":"TestA"}`,
				`{"Action":"output","Package":"m/a","Test":"TestB","Output":"no raft\n"}`,
				`{"Action":"skip","Package":"m/a","Test":"TestB"}`,
				`{"Action":"pass","Package":"m/a"}`,
			},
			ok:   true,
			want: []string{"    no raft\n", "1 passed, 0 failed, 1 skipped\n"},
		},
		"does not build": {
			events: []string{
				`{"ImportPath":"m/a [m/a.test]","Action":"build-output","Output":"undefined: x\n"}`,
				`{"ImportPath":"m/a [m/a.test]","Action":"build-fail"}`,
				`{"Action":"fail","Package":"m/a","FailedBuild":"m/a [m/a.test]"}`,
			},
			want: []string{"    undefined: x\n", "0 passed, 1 failed\n"},
		},
		"timed out": {
			events: []string{
				`{"Action":"output","Package":"m/a","Test":"TestA","Output":"panic: test timed out\n"}`,
				`{"Action":"fail","Package":"m/a"}`,
			},
			want: []string{"    panic: test timed out\n", "0 passed, 1 failed\n"},
		},
		"test files without a test": {
			events: []string{`{"Action":"pass","Package":"m/a"}`},
			want:   []string{"ran no test", "0 passed, 1 failed\n"},
		},
		"a required package is missing": {
			events: []string{
				`{"Action":"pass","Package":"m/a","Test":"TestA"}`,
				`{"Action":"pass","Package":"m/a"}`,
			},
			required: []string{"m/b"},
			want:     []string{"passed  m/b\n    ran no test", "1 passed, 1 failed\n"},
		},
		"nothing ran":  {want: []string{"0 passed, 0 failed\n"}},
		"not an event": {events: []string{"go: no such thing"}, want: []string{"go: no such thing\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if ok := summarise(strings.NewReader(strings.Join(c.events, "\n")), &out, c.required); ok != c.ok {
				t.Errorf("got ok = %v, want %v", ok, c.ok)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got\n%s\nwant it to contain\n%s", out.String(), want)
				}
			}
		})
	}
}
