package fakeopenai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// A faultCase is a fault on the creation of a service account with its key, and
// what becomes of it.
type faultCase struct {
	name    string
	fault   Fault
	effect  bool          // the key exists afterwards
	status  int           // 0 for none
	err     error         // instead of an answer, or in its body
	took    time.Duration // on the client's side
	headers map[string]string
	raw     string // part of the body
}

func (c faultCase) check(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c.fault.Op, c.fault.Times = OpCreateServiceAccount, 1
		w.Inject(c.fault)
		start := time.Now()
		r := w.tryFor(10*time.Second, "POST", accountsPath, `{"name":"bot"}`)
		if !errors.Is(r.err, c.err) || (r.err == nil) != (c.err == nil) {
			t.Errorf("error = %v, want %v", r.err, c.err)
		}
		if r.status != c.status || !strings.Contains(r.raw, c.raw) {
			t.Errorf("answer = %d %.200s; want %d with %q", r.status, r.raw, c.status, c.raw)
		}
		if got := time.Since(start); got != c.took {
			t.Errorf("took %s, want %s", got, c.took)
		}
		if got := len(w.Keys()) == 1 && len(w.ServiceAccounts(DefaultProject)) == 1; got != c.effect {
			t.Errorf("keys = %v; want an effect to be %t", w.Keys(), c.effect)
		}
		for name, want := range c.headers {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		w.ok("POST", accountsPath, `{"name":"next"}`) // used up
		if n := w.Count(OpCreateServiceAccount); !c.fault.Refuse && (n != 2 || w.Requests()[0].Fault != c.fault.String()) {
			t.Errorf("%d requests logged, the first with %q; want 2, %q", n, w.Requests()[0].Fault, c.fault)
		}
	})
}

func TestFaults(t *testing.T) {
	dropped, late := io.ErrUnexpectedEOF, context.DeadlineExceeded
	cases := []faultCase{
		{name: "nothing", effect: true, status: 200},
		{name: "latency", fault: Fault{Latency: 3 * time.Second}, effect: true, status: 200, took: 3 * time.Second},
		{name: "latency beyond patience", fault: Fault{Latency: time.Minute}, err: late, took: 10 * time.Second},
		{name: "latency after", fault: Fault{LatencyAfter: 3 * time.Second}, effect: true, status: 200, took: 3 * time.Second},
		{name: "latency after, beyond patience", fault: Fault{LatencyAfter: time.Minute}, effect: true, err: late, took: 10 * time.Second},
		{name: "hang before", fault: Fault{Hang: HangBefore}, err: late, took: 10 * time.Second},
		{name: "hang after", fault: Fault{Hang: HangAfter}, effect: true, err: late, took: 10 * time.Second},
		{name: "hang mid-body", fault: Fault{Hang: HangMidBody}, effect: true, status: 200, err: late, took: 10 * time.Second},
		{name: "drop", fault: Fault{Drop: true}, err: dropped},
		{name: "drop after", fault: Fault{Drop: true, AfterEffect: true}, effect: true, err: dropped},
		{name: "refuse", fault: Fault{Refuse: true}, err: syscall.ECONNREFUSED},
		{name: "status", fault: Fault{Status: 503}, status: 503, raw: `"server_error"`},
		{name: "status after", fault: Fault{Status: 500, AfterEffect: true}, effect: true, status: 500, raw: `"error"`},
		{name: "401", fault: Fault{Status: 401}, status: 401, raw: "Incorrect API key provided: sk-admi***"},
		{name: "204 after", fault: Fault{Status: 204, AfterEffect: true}, effect: true, status: 204},
		{name: "202", fault: Fault{Status: 202}, status: 202, raw: "{}"},
		{
			name: "rate limit", fault: Fault{Status: 429, RetryAfter: 1500 * time.Millisecond}, status: 429,
			headers: map[string]string{"Retry-After": "2"}, raw: "rate_limit_exceeded",
		},
		{name: "rate limit without a time", fault: Fault{Status: 429}, status: 429, headers: map[string]string{"Retry-After": ""}},
		{name: "own body", fault: Fault{Status: 400, Body: `{"error":{"message":"because"}}`}, status: 400, raw: "because"},
		{
			name: "own success", fault: Fault{Body: `{"id":"key_1"}`, ContentType: new("text/plain")}, effect: true, status: 200,
			headers: map[string]string{"Content-Type": "text/plain"}, raw: `{"id":"key_1"}`,
		},
		{name: "no content type", fault: Fault{Status: 500, ContentType: new("")}, status: 500, headers: map[string]string{"Content-Type": ""}},
		{
			name: "html", fault: Fault{Status: 502, Corrupt: HTMLBody}, status: 502, raw: "<html>",
			headers: map[string]string{"Content-Type": "text/html; charset=utf-8"},
		},
		{name: "error string", fault: Fault{Status: 400, Corrupt: ErrorString}, status: 400, raw: `{"error":"`},
		{name: "empty error", fault: Fault{Status: 500, Corrupt: EmptyBody, AfterEffect: true}, effect: true, status: 500},
		{name: "redirect", fault: Fault{Redirect: true}, status: 307, headers: map[string]string{"Location": fake.MovedPrefix + accountsPath}},
		{
			name: "all at once", fault: Fault{Latency: time.Second, LatencyAfter: 2 * time.Second, Status: 500, AfterEffect: true},
			effect: true, status: 500, took: 3 * time.Second,
		},
	}
	for _, c := range cases {
		t.Run(c.name, c.check)
	}
}

func TestCorruptions(t *testing.T) {
	tests := map[Corruption]func(r result) bool{
		NoID:     func(r result) bool { return !strings.Contains(r.raw, `"id"`) && r.text("api_key", "value") != "" },
		NoSecret: func(r result) bool { return r.text("api_key", "id") != "" && !strings.Contains(r.raw, `"value"`) },
		NullFields: func(r result) bool {
			return r.at("api_key") != nil && r.at("id") == nil && r.at("api_key", "value") == nil
		},
		EmptyObject:   func(r result) bool { return r.raw == "{}" },
		Null:          func(r result) bool { return r.raw == "null" },
		EmptyBody:     func(r result) bool { return r.raw == "" && r.header.Get("Content-Length") == "0" },
		CutOff:        func(r result) bool { return errors.Is(r.err, io.ErrUnexpectedEOF) && strings.HasPrefix(r.raw, "{") },
		NotJSON:       func(r result) bool { return r.body == nil && r.header.Get("Content-Type") == "application/json" },
		NoContentType: func(r result) bool { return r.text("id") != "" && len(r.header["Content-Type"]) == 0 },
		ErrorString:   func(r result) bool { return r.text("error") != "" },
		HTMLBody:      func(r result) bool { return strings.Contains(r.raw, "<html>") },
		WrongTypes: func(r result) bool {
			_, isString := r.at("api_key", "expires_at").(string)
			_, isObject := r.at("api_key", "value").(map[string]any)
			return isString && isObject
		},
		Oversized: func(r result) bool { return len(r.raw) > 2<<20 && r.text("id") != "" },
	}
	for _, how := range Corruptions() {
		t.Run(string(how), func(t *testing.T) {
			spoiled, known := tests[how]
			if !known {
				t.Fatal("not tested")
			}
			w := newWorld(t, WithKnobs(Knobs{NoGrease: true}), WithFault(Spoiled(OpCreateServiceAccount, how, 1)))
			r := w.try("POST", accountsPath, `{"name":"bot","expires_in_seconds":60}`)
			if r.status != 200 || !spoiled(r) {
				t.Errorf("answer = %d %.300s, %v", r.status, r.raw, r.err)
			}
			w.wantLive(1)
		})
	}
}

func TestRefusalsAreNotCorrupted(t *testing.T) {
	w := newWorld(t)
	for _, how := range Corruptions() {
		w.Inject(Spoiled(OpDeleteKey, how, 1))
		w.refused(404, "DELETE", keysPath+"/key_x", "")
	}
}

func TestListsAreSpoiledItemByItem(t *testing.T) {
	w := newWorld(t, WithFault(Spoiled(OpListKeys, NoID, 1)))
	w.PlantKey(DefaultProject, "k")
	r := w.ok("GET", keysPath, "")
	item, _ := r.at("data", 0).(map[string]any)
	if _, there := item["id"]; there || item["name"] != "k" {
		t.Errorf("item = %v, want no id", item)
	}
}

func TestSkipAndTimes(t *testing.T) {
	w := newWorld(t)
	w.Inject(Fault{Op: OpGetProject, Skip: 1, Times: 2, Status: 500})
	w.Inject(Fault{Status: 503})
	var got []int
	for range 4 {
		got = append(got, w.try("GET", demo, "").status)
	}
	w.ClearFaults()
	got = append(got, w.try("GET", demo, "").status)
	if text, _ := json.Marshal(got); string(text) != "[503,500,500,503,200]" {
		t.Errorf("statuses = %s", text)
	}
	if got := len(w.Requests()); got != 5 {
		t.Errorf("%d requests, want 5", got)
	}
}

func TestFaultsMeetAdmittedRequestsOnly(t *testing.T) {
	w := newWorld(t, WithFault(DropAfter(OpAny, 1)))
	w.refused(404, "GET", "/v1/nothing", "")
	w.refused(405, "PUT", demo, "")
	w.wantRefusal(w.models("sk-nobody"), 401, "unknown key")
	if r := w.try("GET", demo, ""); r.err == nil {
		t.Error("the fault was used up")
	}
}

func TestFaultCallsTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(t.Context())
			fault := Fault{Op: OpCreateServiceAccount, Before: cancel}
			if after {
				fault = Fault{Op: OpCreateServiceAccount, After: cancel}
			}
			w.Inject(fault)
			r := w.do(w.request(ctx, "POST", accountsPath, w.AdminKey(), `{"name":"bot"}`))
			if !errors.Is(r.err, context.Canceled) {
				t.Errorf("error = %v, want canceled", r.err)
			}
			if got := len(w.Keys()) == 1; got != after {
				t.Errorf("effect = %t, want %t", got, after)
			}
		}
	})
}

func TestFollowedRedirectIsSeen(t *testing.T) {
	w := newWorld(t, WithFault(Fault{Op: OpCreateServiceAccount, Redirect: true}))
	r := w.try("POST", accountsPath, `{"name":"bot"}`)
	w.wantLive(0)
	w.ok("POST", r.header.Get("Location"), `{"name":"bot"}`)
	w.wantLive(1)
	if got := w.Count(OpCreateServiceAccount); got != 2 {
		t.Errorf("%d creates, want 2", got)
	}
}
