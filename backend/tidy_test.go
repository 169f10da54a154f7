package backend

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func (m *testMount) liveIDs() []string {
	var ids []string
	for _, key := range m.fake.LiveKeys() {
		ids = append(ids, key.ID)
	}
	slices.Sort(ids)
	return ids
}

// wantTidy asserts the numbers of a tidy.
func (m *testMount) wantTidy(data map[string]any, found, deleted, skipped, failed int) {
	m.t.Helper()
	got := fmt.Sprint(data["found"], data["deleted"], data["skipped"], data["failed"])
	if want := fmt.Sprint(found, deleted, skipped, failed); got != want {
		m.t.Fatalf("found, deleted, skipped, failed: got %s, want %s: %v\n%s", got, want, data, m.log)
	}
}

// TestTidyRemovesExactlyTheOrphans plants what looks like one and is none, over
// several pages.
func TestTidyRemovesExactlyTheOrphans(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot", "ttl", "10h")
		tag, now := m.engine.mountEntry.Tag, m.clock.now()
		var keep []string
		for i := range 150 {
			keep = append(keep, m.fake.PlantKey("proj_demo", fmt.Sprintf("key %d", i)).ID)
		}
		for _, name := range []string{
			"vault-othertag-bot-" + newID(now),
			"my vault-" + tag + "-bot-" + newID(now),
			"team-vault-" + tag + "-" + newID(now),
			"vault-" + tag + "-bot",
			"vault-" + tag,
			"vault-" + tag + "x-bot-" + newID(now),
			"vault-" + tag + "-bot-" + newID(now) + "-copy",
			"VAULT-" + tag + "-bot-" + newID(now),
			"vault-" + tag + "-bot-" + strings.ToUpper(newID(now)),
		} {
			keep = append(keep, m.fake.PlantKey("proj_demo", name).ID)
		}
		keep = append(keep, keyIDOf(l))
		orphans := []string{m.plantOrphan("proj_demo"), m.plantOrphan("proj_demo"), m.plantOrphan("proj_of_no_role")}
		all := slices.Sorted(slices.Values(append(orphans, keep...)))

		// By default it only says.
		m.wantTidy(m.do("write", "tidy/openai").Data, 3, 0, 3, 0) // too young
		m.advance(2 * time.Hour)
		young := m.plantOrphan("proj_demo")
		all = slices.Sorted(slices.Values(append(all, young)))
		resp := m.do("write", "tidy/openai")
		m.wantTidy(resp.Data, 4, 0, 1, 0)
		if resp.Data["state"] != "finished" || len(resp.Warnings) != 2 || !strings.Contains(resp.Warnings[1], "dry_run=false") {
			m.t.Errorf("dry run: %v %v", resp.Data["state"], resp.Warnings)
		}
		if got := m.liveIDs(); !slices.Equal(got, all) {
			m.t.Fatalf("a dry run has deleted: %d left of %d", len(got), len(all))
		}

		m.fake.ResetRequests()
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 4, 3, 1, 0)
		want := slices.Sorted(slices.Values(append(keep, young)))
		if got := m.liveIDs(); !slices.Equal(got, want) {
			m.t.Fatalf("after the tidy: %d live, want %d", len(got), len(want))
		}
		status := asJSON(m.t, m.do("read", "tidy-status").Data).(map[string]any)["connections"].(map[string]any)["openai"].(map[string]any)
		m.wantTidy(status, 4, 3, 1, 0)
		if status["state"] != "finished" || status["by"] != "approle-bot" || status["dry_run"] != false || len(status["items"].([]any)) != 4 {
			m.t.Errorf("status: %v", status)
		}
		m.refused(400, []string{"safety_buffer", "1m"}, "write", "tidy/openai", "safety_buffer", 0)
		m.refused(404, []string{"config/nowhere"}, "write", "tidy/nowhere")
		l.revoke()
	})
}

// TestTidyOfPendingAndFailing: what the ledger knows is no orphan, and what cannot
// be deleted is found again.
func TestTidyOfPendingAndFailing(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Hang: fakeopenai.HangAfter, Times: 1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := m.try("read", "creds/bot"); err == nil {
				m.t.Error("a create without an answer has issued a key")
			}
		}()
		time.Sleep(time.Second)
		m.wantTidy(m.do("write", "tidy/openai", "safety_buffer", "1m").Data, 0, 0, 0, 0) // its record is pending
		m.fake.ClearFaults()
		<-done

		m.plantOrphan("proj_demo")
		m.advance(2 * time.Hour)
		m.sweepFor(5 * time.Minute)
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: http.StatusForbidden})
		resp := m.do("write", "tidy/openai", "dry_run", false)
		m.wantTidy(resp.Data, 1, 0, 0, 1)
		if resp.Data["state"] != "incomplete" || len(resp.Warnings) != 1 {
			m.t.Errorf("answer: %v %v", resp.Data, resp.Warnings)
		}
		m.fake.ClearFaults()
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 1, 1, 0, 0)
		m.wantLive(0)
	})
}

// TestTidyAfterARestore puts storage back to an earlier state, as a restore of Vault
// from a backup does.
func TestTidyAfterARestore(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		before := m.lease("creds/bot", "ttl", "10h")
		backup := m.backup()
		lost := m.lease("creds/bot", "ttl", "10h")
		m.restore(backup)
		m.restart()
		m.advance(2 * time.Hour)
		m.sweep()
		m.wantAlive(lost.key(), true)
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 1, 1, 0, 0)
		m.wantAlive(lost.key(), false)
		m.wantAlive(before.key(), true)
	})
}

// TestTidyOfServiceAccounts: one that is not on record and owns no key.
func TestTidyOfServiceAccounts(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot")
		mine := m.fake.ServiceAccounts("proj_demo")[0]
		name := principalName(m.engine.mountEntry, "openai", "gone", 100)
		m.fake.PlantServiceAccount("proj_demo", name)
		used := m.fake.PlantServiceAccount("proj_demo", name)
		m.fake.PlantServiceAccountKey(used.ID, "somebody's", 0)
		m.fake.PlantServiceAccount("proj_demo", "vault-other-bot-0123456789abcdef")
		m.advance(2 * time.Hour)
		a := m.audit()
		if a.count(orphaned) != 1 {
			m.t.Errorf("orphaned: %v", a.items(orphaned))
		}
		m.wantTidy(m.do("write", "tidy/openai", "dry_run", false).Data, 1, 1, 0, 0)
		var left []string
		for _, account := range m.fake.ServiceAccounts("proj_demo") {
			if !account.Deleted {
				left = append(left, account.ID)
			}
		}
		if len(left) != 3 || !slices.Contains(left, mine.ID) || !slices.Contains(left, used.ID) {
			m.t.Errorf("service accounts left: %v", left)
		}
	})
}

// TestTidyStatusOfAProcessThatEnded: nobody goes on with it.
func TestTidyStatusOfAProcessThatEnded(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		if err := save(m.t.Context(), m.storage, tidyKey("openai"), tidyEntry{Version: tidyVersion, State: tidyRunning, StartedAt: m.clock.now()}); err != nil {
			m.t.Fatal(err)
		}
		status := m.do("read", "tidy-status").Data["connections"].(map[string]any)["openai"].(map[string]any)
		if status["state"] != "interrupted" {
			m.t.Errorf("state: %v", status["state"])
		}
	})
}
