package backend

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// Each test here is an attack that once worked: on a key, on its holder, on
// another team, or on the process.

// A routed transport sends the admin key of a second organization there.
type routed struct{ first, second *fakeopenai.Server }

func (r routed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") == "Bearer "+r.second.AdminKey() {
		return r.second.RoundTripper().RoundTrip(req)
	}
	return r.first.RoundTripper().RoundTrip(req)
}

func TestAdminKeyOfAnotherOrganizationForgetsNoKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		other := fakeopenai.New(fakeopenai.WithProject("proj_other"))
		m.engine.baseTransport = routed{m.fake, other}
		m.configure()
		l := m.lease("creds/bot")
		m.advance(10 * time.Minute)
		m.do("write", "config/openai", "admin_key", other.AdminKey())
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("a revoke at another organization succeeded")
		}
		m.wantRecords(1)
		m.do("write", "config/openai", "admin_key", m.fake.AdminKey())
		m.sweepFor(5 * time.Minute)
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
	})
}

func TestArchivedProjectBlocksNothing(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.advance(5 * time.Minute)
		m.fake.ArchiveProject("proj_demo")
		l.revoke()
		m.wantRecords(0)
		m.do("delete", "roles/bot")
		m.sweepFor(15 * time.Minute)
		m.do("delete", "config/openai")
	})
}

// TestRolesDoNotShareAServiceAccount tries names that are alike once cleaned.
func TestRolesDoNotShareAServiceAccount(t *testing.T) {
	for _, pair := range [][2]string{{"a", "a-"}, {"a", "-a"}, {"team/bot", "team-bot"}} {
		both(t, func(m *testMount) {
			m.configure()
			m.do("create", "roles/"+pair[0], "config_name", "openai", "project_id", "proj_demo")
			m.do("create", "roles/"+pair[1], "config_name", "openai", "project_id", "proj_demo")
			l := m.lease("creds/" + pair[0])
			m.lease("creds/" + pair[1]).revoke()
			m.do("delete", "roles/"+pair[1])
			m.sweepFor(15 * time.Minute)
			m.wantAlive(l.key(), true)
		})
	}
}

func TestRoleThatMovesToAnotherConnectionKeepsItsKeys(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.do("create", "config/second", "provider", "openai", "admin_key", m.fake.AdminKey())
		m.do("write", "roles/bot", "config_name", "second")
		l := m.lease("creds/bot")
		m.sweepFor(15 * time.Minute)
		m.wantAlive(l.key(), true)
		if got := m.fake.ServiceAccounts("proj_demo"); len(got) != 1 {
			m.t.Errorf("service accounts: %v, want the new one alone", got)
		}
	})
}

func TestTemplatesAreBounded(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for text, part := range map[string]string{
			`{{"\\"` + strings.Repeat("|js", 20) + `}}`:   "may not use js",
			`{{$a := "xx"}}{{$a = print $a $a}}`:          "variables",
			`{{"x"` + strings.Repeat("|base64", 9) + `}}`: "may not use base64",
			`{{(printf "%1000000d" 1).X}}`:                "may only use",
			`{{(random 100).X}}`:                          "may only use",
			`{{with .RoleName}}x{{end}}`:                  "may only print",
			"{{range 20000000}}x{{end}}":                  "may only print",
			"{{random 50000000}}":                         "give at most 128",
			`{{printf "%1000000d" 1}}`:                    "printf",
			`{{define "x"}}y{{end}}`:                      "defines another",
			`{{block "x" .}}y{{end}}`:                     "defines another",
			`{{template "x"}}`:                            "may only print",
			strings.Repeat("x", 513):                      "longer than 512",
			`{{"a" | replace "a" "` + strings.Repeat("b", 200) + `" | replace "b" "cccccccccc"}}`: "longer than 1024",
		} {
			m.refused(400, []string{"name_template:", part}, "write", "roles/bot", "name_template", text)
		}
		m.do("write", "roles/bot", "name_template", `{{if .EntityName}}{{.EntityName | truncate 8}}{{else}}{{.RoleName | uppercase}}-{{random 4}}{{end}}`)
		m.lease("creds/bot")
	})
}

func TestKeyMadeLateInItsRequestIsYoung(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "request_timeout", 60)
		m.lease("creds/bot").revoke()
		m.fake.SetKnobs(fakeopenai.Knobs{YoungNotFoundFor: 10 * time.Second})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Latency: 58 * time.Second, Times: 1})
		l := m.lease("creds/bot")
		m.advance(3 * time.Second)
		if err := l.tryRevoke(); err == nil {
			m.t.Fatal("not found was believed of a key that is 3 s old")
		}
		m.sweepFor(5 * time.Minute)
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
	})
}

func TestDisableCatchesTheMintUnderWay(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Latency: 5 * time.Second, Times: 1})
		var wg sync.WaitGroup
		wg.Go(func() {
			if resp, err := m.try("read", "creds/bot"); err == nil {
				m.t.Errorf("a lease was handed out on a mount that is being disabled: %v", resp)
			}
		})
		time.Sleep(time.Second)
		m.sys.taint(true)
		m.sweep()
		wg.Wait()
		m.wantLive(0)
	})
}

func TestDisableEndsKeysThatAreNotListedYet(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Hour})
		m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 1))
		m.refused(502, nil, "read", "creds/bot")
		m.wantLive(1)
		m.sys.taint(true)
		m.sweep()
		m.wantLive(0) // by the deletion of its service account
	})
}

func TestDisableGoesOnAfterFailures(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		for range 10 {
			m.lease("creds/bot")
		}
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpDeleteKey, 403, 5))
		m.sys.taint(true)
		m.sweep()
		m.wantLive(0)
		m.wantRecords(0)
	})
}

// TestManyPendingsStayWithinTheSweepsTime has a slow storage and a provider that
// is down.
func TestManyPendingsStayWithinTheSweepsTime(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpCreateKey, 500, 0))
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpListKeys, 500, 0))
		for range 300 {
			m.refused(502, nil, "read", "creds/bot")
		}
		m.advance(pendingAge())
		before := m.fake.Count(fakeopenai.OpListKeys)
		slow := &slowStorage{Storage: m.storage.Storage, delay: 100 * time.Millisecond}
		m.storage.Storage = slow
		start := time.Now()
		m.sweep()
		if took := time.Since(start); took > sweepBudget+time.Second {
			m.t.Errorf("the sweep took %s", took)
		}
		if lists := m.fake.Count(fakeopenai.OpListKeys) - before; lists == 0 || lists > 4 {
			m.t.Errorf("lists: %d, want one and its repeats", lists)
		}
		m.storage.Storage = slow.Storage
		m.fake.ClearFaults()
		m.sweepFor(10 * time.Minute)
		m.wantRecords(0)
	})
}

// A slowStorage takes its time to write.
type slowStorage struct {
	logical.Storage
	delay time.Duration
}

func (s *slowStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	time.Sleep(s.delay)
	return s.Storage.Put(ctx, entry)
}

func TestPendingsAreSettledBesideSlowDeletes(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Minute})
		for range 60 {
			m.lease("creds/bot", "ttl", "60s")
		}
		m.advance(15 * time.Minute)
		m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 1))
		m.refused(502, nil, "read", "creds/bot")
		m.advance(pendingAge())
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Times: 40, Latency: 25 * time.Second})
		before := m.fake.Count(fakeopenai.OpListKeys)
		m.sweep()
		if m.fake.Count(fakeopenai.OpListKeys) == before {
			m.t.Error("the sweep did not look for the key of the lost create")
		}
	})
}

func TestDeletedConnectionLeavesNoGhost(t *testing.T) {
	for _, how := range []storageFault{failBefore, failAfter} {
		both(t, func(m *testMount) {
			m.configure()
			m.do("delete", "roles/bot")
			m.do("read", "config/openai") // cached
			m.storage.spoilOp("delete config/openai", how)
			_, err := m.try("delete", "config/openai")
			if ops := m.storage.heal(); err == nil {
				m.t.Fatalf("the deletion was not spoiled: %v", ops)
			}
			gone := m.do("read", "config/openai") == nil
			status, _ := outcome(m.try("create", "roles/new", "config_name", "openai", "project_id", "proj_demo"))
			if gone && status < 400 {
				m.t.Errorf("%s: a role was written on a connection that is gone", how)
			}
		})
	}
}

func TestLeaseNeverOutlivesItsKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{MaxExpiry: time.Hour})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, LatencyAfter: 25 * time.Second, Times: 1})
		l := m.lease("creds/bot")
		if end := m.fake.LiveKeys()[0].ExpiresAt; l.end.After(end) {
			m.t.Errorf("the lease ends %s after its key", l.end.Sub(end))
		}
	})
}

func TestPanicInASweepIsContained(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot", "ttl", "60s")
		conn, err := m.engine.connection(m.t.Context(), m.storage, "openai")
		if err != nil {
			m.t.Fatal(err)
		}
		good := conn.client
		conn.client = nil // the next call panics
		m.advance(15 * time.Minute)
		m.sweep()
		if !strings.Contains(m.log.String(), "bug: panic") {
			m.t.Error("the log does not tell of the panic")
		}
		conn.client = good
		m.sweepFor(2 * time.Minute)
		m.wantRecords(0)
	})
}

func TestSlowStorageOfOneConnectionHoldsUpNoOther(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("create", "config/second", "provider", "openai", "admin_key", m.fake.AdminKey())
		m.restart()
		stuck := &stuckStorage{Storage: m.storage, key: configKey("openai"), release: make(chan struct{})}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = m.engine.connection(m.t.Context(), stuck, "openai") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		defer cancel()
		if _, err := m.engine.connection(ctx, m.storage, "second"); err != nil {
			m.t.Error(err)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			m.t.Error("another connection's storage held this one up")
		}
		close(stuck.release)
		wg.Wait()
	})
}

// A stuckStorage does not answer a read of one key until it is released.
type stuckStorage struct {
	logical.Storage
	key     string
	release chan struct{}
}

func (s *stuckStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if key == s.key {
		<-s.release
	}
	return s.Storage.Get(ctx, key)
}

func TestVerifyOfNullVerifies(t *testing.T) {
	both(t, func(m *testMount) {
		m.refused(400, []string{"admin_key: is refused"}, "create", "config/x",
			"provider", "openai", "admin_key", "sk-admin-aaaaaaaaaaaaaaaaaaaaaaaa", "verify", nil)
	})
}

func TestCapHoldsAcrossConnections(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "max_active_keys", 1)
		m.lease("creds/bot")
		m.do("create", "config/second", "provider", "openai", "admin_key", m.fake.AdminKey())
		m.do("write", "roles/bot", "config_name", "second")
		m.refused(429, []string{"max_active_keys"}, "read", "creds/bot")
	})
}

func TestOddNamesAreRefusedEverywhere(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for _, path := range []string{"roles/a..b", "roles/../x", "config/a..b"} {
			for _, op := range []string{"read", "write", "delete"} {
				m.refused(400, []string{"name:"}, op, path)
			}
		}
		m.refused(400, []string{"name:"}, "list", "roles/a..b/")
		m.refused(400, []string{"name: is a part of the path"}, "write", "roles/bot", "name", "other")
		m.refused(400, []string{"organization_id:"}, "write", "config/openai", "organization_id", "sk-admin-aaaaaaaaaaaaaaaa")
		m.do("write", "roles/bot", "max_active_keys", float64(1_000_000))
	})
}

func TestRenewOfAYoungKeyThatIsNotFoundIsCovered(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "expiry_grace", "2m")
		m.fake.SetKnobs(fakeopenai.Knobs{YoungNotFoundFor: 30 * time.Second})
		l := m.lease("creds/bot")
		m.advance(2 * time.Second)
		if _, err := l.tryRenew(0); err != nil {
			m.t.Errorf("renew: %v", err)
		}
	})
}

// TestKeyInTheWrongFieldIsNotRepeated pastes the admin key everywhere.
func TestKeyInTheWrongFieldIsNotRepeated(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		key := m.fake.AdminKey()
		for _, c := range [][]any{
			{"config/openai", "provider", key},
			{"config/openai", "organization_id", key},
			{"config/openai", "allowed_projects", key},
			{"config/openai", "base_url", key},
			{"config/openai", "request_timeout", key},
			{"config/openai", "max_concurrency", key},
			{"config/openai", key, "x"},
			{"roles/bot", "config_name", key},
			{"roles/bot", "project_id", key},
			{"roles/bot", "scopes", key + " x"},
			{"roles/bot", "metadata", key},
			{"roles/bot", "name_template", "{{" + key},
			{"roles/bot", "name_template", "{{." + key + "}}"},
			{"creds/" + key, "ttl", "1h"},
			{"creds/bot", "ttl", key},
		} {
			status, text := outcome(m.try("write", c[0].(string), c[1:]...))
			if status < 400 {
				m.t.Errorf("%v was accepted", c[:2])
			}
			m.checkText("error", text)
		}
	})
}

func TestTemplateOfMissingMetadataGivesTheRolesName(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.do("write", "roles/bot", "name_template", "{{.RoleName}}{{.Metadata.ticket}}")
		if name := m.lease("creds/bot").data["name"].(string); strings.Contains(name, "value") {
			m.t.Errorf("name: %s", name)
		}
	})
}

// TestFailedDrainLeavesTheRoleAtWorkAfterAMove has the deletion of the service
// account fail while the mount moves.
func TestFailedDrainLeavesTheRoleAtWorkAfterAMove(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		m.sweepFor(30 * time.Minute)
		m.fake.Inject(fakeopenai.Answer(fakeopenai.OpDeleteServiceAccount, 403, 0))
		m.sys.taint(true)
		ctx, cancel := context.WithTimeout(m.t.Context(), 100*time.Millisecond)
		defer cancel()
		req := logical.RollbackRequest("")
		req.Storage = m.storage
		_, _ = m.b.HandleRequest(ctx, req)
		m.fake.ClearFaults()
		m.sys.taint(false)
		m.sweepFor(15 * time.Minute)
		m.wantAlive(m.lease("creds/bot").key(), true)
	})
}

func TestTaintComesBeforeTheMint(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.sys.taint(true)
		m.refused(503, []string{"being disabled or moved"}, "read", "creds/bot")
		if got := m.fake.Count(fakeopenai.OpCreateKey); got != 1 {
			m.t.Errorf("keys made: %d, want only the one before", got)
		}
		m.wantRecords(0)
	})
}

func TestSlowMintDoesNotBlockTheDrain(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.do("write", "config/openai", "request_timeout", 60)
		for range 10 {
			m.lease("creds/bot")
		}
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Latency: 58 * time.Second, Times: 1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = m.try("read", "creds/bot") })
		time.Sleep(time.Second)
		m.sys.taint(true)
		m.sweep()
		m.wantLive(0) // the ten; the eleventh is not made yet
		wg.Wait()
		m.wantLive(0)
	})
}

func TestDisableDuringASweepDrains(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot", "ttl", "60s")
		m.advance(15 * time.Minute)
		l := m.lease("creds/bot")
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Latency: 10 * time.Second, Times: 1})
		var wg sync.WaitGroup
		wg.Go(m.sweep)
		time.Sleep(time.Second)
		m.sys.taint(true)
		wg.Wait()
		m.wantAlive(l.key(), false)
		m.wantRecords(0)
	})
}

func TestRenewDoesNotBelieveABareNotFound(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.advance(10 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Status: 404, Corrupt: fakeopenai.HTMLBody})
		if _, err := l.tryRenew(65 * time.Minute); err != nil {
			m.t.Fatalf("a live key was given up: %v", err)
		}
		if end := m.fake.LiveKeys()[0].ExpiresAt; l.end.After(end) || len(l.warnings) == 0 {
			m.t.Errorf("the lease ends at %s, the key at %s, warnings %v", l.end, end, l.warnings)
		}
	})
}

// A dated transport answers with a Date, as HTTP servers do.
type dated struct {
	base http.RoundTripper
	now  func() time.Time
}

func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.base.RoundTrip(req)
	if err == nil {
		resp.Header.Set("Date", d.now().UTC().Format(http.TimeFormat))
	}
	return resp, err
}

// TestClockThatJumpsAheadKillsNoHeldKey moves this node's clock by a day, and the
// provider's not.
func TestClockThatJumpsAheadKillsNoHeldKey(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.engine.baseTransport = dated{m.fake.RoundTripper(), time.Now}
		m.configure()
		l := m.lease("creds/bot")
		m.engine.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
		m.sweep()
		m.wantAlive(l.key(), true)
		m.wantRecords(1)
		if !strings.Contains(m.log.String(), "is this node's clock ahead?") {
			m.t.Error("the log does not tell of the clock")
		}
		m.engine.now = time.Now
		m.sweepFor(72 * time.Minute) // the lease's hour, the grace, and a sweep
		m.wantRecords(0)
	})
}

// TestPanicInOneScopeFreesTheOthers has two pending records in two projects.
func TestPanicInOneScopeFreesTheOthers(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.fake.AddProject("proj_two")
		m.configure()
		m.do("create", "roles/two", "config_name", "openai", "project_id", "proj_two")
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Minute})
		m.fake.Inject(fakeopenai.DropAfter(fakeopenai.OpCreateKey, 2))
		m.refused(502, nil, "read", "creds/bot")
		m.refused(502, nil, "read", "creds/two")
		m.advance(pendingAge())
		conn, err := m.engine.connection(m.t.Context(), m.storage, "openai")
		if err != nil {
			m.t.Fatal(err)
		}
		good := conn.client
		conn.client = nil
		m.sweep()
		conn.client = good
		m.sweepFor(2 * time.Minute)
		m.wantLive(0)
		m.wantRecords(0)
		if held := len(m.engine.slots.inUse); held != 0 {
			m.t.Errorf("slots still held: %d", held)
		}
	})
}

// TestServiceAccountMadeWhileItsRoleGoes deletes the role between the start of an
// issue and the making of its service account.
func TestServiceAccountMadeWhileItsRoleGoes(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpListServiceAccounts, Times: 1, After: func() {
			m.do("delete", "roles/bot")
		}})
		l := m.lease("creds/bot")
		l.revoke()
		m.sweepFor(25 * time.Minute)
		if got := m.fake.ServiceAccounts("proj_demo"); len(got) != 0 {
			m.t.Errorf("service accounts left: %v", got)
		}
		m.do("delete", "config/openai")
	})
}

// TestDuplicatesOfALostCreateAreAllDeleted has a proxy that repeats a create.
func TestDuplicatesOfALostCreateAreAllDeleted(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.fake.SetKnobs(fakeopenai.Knobs{HideFor: time.Minute, YoungNotFoundFor: 2 * time.Minute})
		m.engine.baseTransport = repeating{m.fake.RoundTripper()}
		m.do("write", "config/openai", "max_concurrency", 2) // a new transport
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Times: 2, Drop: true, AfterEffect: true})
		m.refused(502, nil, "read", "creds/bot")
		m.wantLive(2)
		m.sweepFor(12 * time.Minute)
		m.wantLive(0)
		m.wantRecords(0)
	})
}

// A repeating transport sends a create again if its answer is lost.
type repeating struct{ base http.RoundTripper }

func (r repeating) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req.Clone(req.Context()))
	if err == nil || req.GetBody == nil || !strings.HasSuffix(req.URL.Path, "/api_keys") {
		return resp, err
	}
	again := req.Clone(req.Context())
	again.Body, _ = req.GetBody()
	return r.base.RoundTrip(again)
}
