package backend

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// The storage of each release in testdata/storage, with the organization that it is of,
// and the whole life after it: what a release has issued is renewed, found, rotated and
// killed by this one, and nothing is left at the provider in the end.

// goldenNow is when the mount comes back, half an hour after it was left.
var goldenNow = time.Date(2026, 11, 21, 10, 20, 0, 0, time.UTC)

// goldenSecrets are the keys that the organization has, by id. That of a key which the
// engine stores is stored so; the ids are those of the records.
var goldenSecrets = map[string]string{
	"key_a": "sk-svcacct-golden-lost", "key_b": "sk-svcacct-golden-held", "key_c": "sk-svcacct-golden-revoked",
	"key_h": "sk-svcacct-golden-current", "key_i": "sk-svcacct-golden-previous", "key_j": "sk-svcacct-golden-candidate",
	"key_x": "sk-admin-golden-0000000000000000", "key_y": "sk-admin-golden-1111111111111111", "key_z": "sk-admin-golden-2222222222222222",
}

// goldenWorld is the organization of a stored release. A key that is pending in the
// ledger was made.
func goldenWorld(release goldenRelease) fakeopenai.World {
	const tag, project = "vault-4k2p0q7m-", fakeopenai.DefaultProject
	made := goldenNow.Add(-20 * time.Minute)
	expiry := made.Add(40 * time.Minute)
	w := fakeopenai.World{}
	account := func(id, name string) {
		w.ServiceAccounts = append(w.ServiceAccounts, fakeopenai.ServiceAccount{ID: id, Name: tag + name, ProjectID: project, Role: "member", CreatedAt: made})
	}
	key := func(id, account, name string, expires time.Time) {
		w.Keys = append(w.Keys, fakeopenai.Key{
			ID: id, Secret: goldenSecrets[id], Name: name, ProjectID: project,
			ServiceAccountID: account, CreatedAt: made, ExpiresAt: expires,
		})
	}
	account("svc_acct_x", "team-bot-x")
	key("key_a", "svc_acct_x", tag+"agent-7-0337ju6a00aaaaaaaaaaaaaaaa", expiry)
	key("key_b", "svc_acct_x", tag+"agent-7-0337ju6a00bbbbbbbbbbbbbbbb", expiry)
	key("key_c", "svc_acct_x", tag+"agent-7-0337ju6a00cccccccccccccccc", expiry)
	admins := []string{"key_x"}
	if release.rotates {
		admins = append(admins, "key_y", "key_z")
	}
	for _, id := range admins {
		w.AdminKeys = append(w.AdminKeys, fakeopenai.AdminKey{ID: id, Name: "admin " + id, Secret: goldenSecrets[id], CreatedAt: made})
	}
	if !release.static {
		return w
	}
	account("svc_acct_ops", "ops-app-x")
	key("key_h", "svc_acct_ops", tag+"ops-app-0337ju6a00hhhhhhhhhhhhhhhh", made.AddDate(0, 0, 8))
	key("key_i", "", "ada's", time.Time{})
	key("key_j", "svc_acct_ops", tag+"ops-app-0337ju6a00jjjjjjjjjjjjjjjj", made.AddDate(0, 0, 8))
	return w
}

// A release is what is in the storage of one, beside what all have.
type goldenRelease struct {
	rotates bool // admin keys have records; a rotation is under way, from key_x by key_y to key_z
	static  bool // static roles and suspensions
}

var goldenReleases = map[string]goldenRelease{
	"v0.1": {},
	"v0.2": {rotates: true},
	"v0.3": {rotates: true, static: true},
}

func TestGoldenStorageLivesOn(t *testing.T) {
	dirs, err := filepath.Glob("testdata/storage/v*")
	if err != nil || len(dirs) != len(goldenReleases) {
		t.Fatalf("stored releases: %v (%v), want those of goldenReleases", dirs, err)
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		release, known := goldenReleases[name]
		if !known {
			t.Fatalf("%s is not in goldenReleases", name)
		}
		t.Run(name, func(t *testing.T) {
			storage := goldenStorage(t, dir)
			bubble(t, func(m *testMount) {
				time.Sleep(time.Until(goldenNow))
				m.fake.RevokeAdminKey(m.fake.AdminKeys()[0].ID) // it is another organization's
				m.fake.Restore(goldenWorld(release))
				m.knowEntity()
				m.storage.Storage = storage
				m.restart()
				m.goldenLife(release)
			})
		})
	}
}

// goldenLease is the lease of key_b, as Vault keeps it: its internal data has not
// changed since the first release.
func (m *testMount) goldenLease() *testLease {
	made := goldenNow.Add(-20 * time.Minute)
	secret := secretWith(map[string]any{"secret_type": "llm_key", "version": "1", "id": "0337ju6a00bbbbbbbbbbbbbbbb", "config": "openai", "role": "team/bot"})
	secret.LeaseOptions = logical.LeaseOptions{TTL: 30 * time.Minute, MaxTTL: 24 * time.Hour, Renewable: true}
	return &testLease{
		m: m, secret: secret, path: "creds/team/bot", issued: made, end: made.Add(30 * time.Minute),
		data: map[string]any{"api_key": goldenSecrets["key_b"], "key_id": "key_b"},
	}
}

func (m *testMount) goldenLife(release goldenRelease) {
	m.t.Helper()
	held := m.goldenLease()

	// Before any sweep: whose is it, what is there, and a renewal.
	m.wantGoldenOwner("key_b")
	if got := ids(m.do("list", "keys/", "role", "team/bot")); len(got) != 3 {
		m.t.Errorf("keys of the role: %v, want three", got)
	}
	if release.static {
		if _, err := held.tryRenew(time.Hour); err == nil {
			m.t.Error("a lease of a suspended role is renewed")
		}
		m.refused(403, []string{"suspended"}, "read", "creds/team/bot")
		m.do("write", "resume/team/bot")
		m.do("write", "resume/team", "subtree", true)
	}
	if _, err := held.tryRenew(6 * time.Hour); err != nil {
		m.t.Fatalf("renew: %v\n%s", err, m.log)
	}
	fresh := m.lease("creds/team/bot", "ttl", "6h")

	// The sweep finishes what the release has left: the key whose creation had no
	// answer, the one that was being revoked, and the rotation.
	m.sweepFor(30 * time.Minute)
	m.wantGoldenOwner("key_b") // by the index, which an older release had not
	m.wantAlive(held.key(), true)
	m.wantAlive(fresh.key(), true)
	m.sweepFor(15 * time.Minute)
	m.wantAlive(goldenSecrets["key_a"], false)
	m.wantAlive(goldenSecrets["key_c"], false)
	m.wantAlive(held.key(), true) // past the expiry that the old release gave it
	m.goldenAdmin(release)
	m.audit().want(nil)
	if release.static {
		m.goldenStatics()
	}

	// A second renewal, the end of the lease, and a kill.
	if _, err := held.tryRenew(6 * time.Hour); err != nil {
		m.t.Fatalf("renew: %v\n%s", err, m.log)
	}
	held.revoke()
	m.wantAlive(held.key(), false)
	if _, err := held.tryRenew(time.Hour); err == nil {
		m.t.Error("a revoked lease is renewed")
	}
	m.do("write", "revoke", "role", "team/bot")
	m.wantAlive(fresh.key(), false)
	m.sweepFor(20 * time.Minute)
	m.wantGoldenEnd()
}

// wantGoldenOwner looks a key of the release up.
func (m *testMount) wantGoldenOwner(keyID string) {
	m.t.Helper()
	found := m.do("write", "lookup", "key_id", keyID)
	if found == nil || found.Data["role"] != "team/bot" || found.Data["entity_name"] != "agent-7" {
		m.t.Fatalf("lookup of %s: %v", keyID, found)
	}
}

// goldenAdmin rotates the admin key, once the rotation that was under way has ended.
func (m *testMount) goldenAdmin(release goldenRelease) {
	m.t.Helper()
	before := fmt.Sprint(m.do("read", "config/openai").Data["admin_key_id"])
	if !release.rotates && before != "key_x" {
		m.t.Fatalf("admin key: %s, want key_x", before)
	}
	if release.rotates && before == "key_y" {
		m.t.Errorf("the rotation that was under way has not gone on:\n%s", m.log)
	}
	m.do("write", "rotate-root/openai")
	after := fmt.Sprint(m.do("read", "config/openai").Data["admin_key_id"])
	if after == before {
		m.t.Errorf("admin key after a rotation: %s, as before", after)
	}
	m.sweepFor(30 * time.Minute)
	var live []string
	for _, a := range m.fake.AdminKeys() {
		if m.fake.AdminAlive(a.Secret) {
			live = append(live, a.ID)
		}
	}
	if !slices.Equal(live, []string{after}) {
		m.t.Errorf("live admin keys: %v, want %s\n%s", live, after, m.log)
	}
}

// goldenStatics goes on with the static role, and looks for what is left of the one
// that was deleted.
func (m *testMount) goldenStatics() {
	m.t.Helper()
	key := fmt.Sprint(m.do("read", "static-creds/ops/app").Data["api_key"])
	m.wantAlive(key, true)
	m.do("write", "rotate-role/ops/app", "overlap", "0s")
	next := fmt.Sprint(m.do("read", "static-creds/ops/app").Data["api_key"])
	if next == key {
		m.t.Error("the static key is the same after a rotation")
	}
	m.wantAlive(next, true)
	for _, id := range []string{"key_h", "key_i", "key_j"} {
		m.wantAlive(goldenSecrets[id], false)
	}
	if got := m.do("read", "static-roles/ops/gone"); got != nil {
		m.t.Errorf("the deleted static role reads as %v", got.Data)
	}
	m.do("delete", "static-roles/ops/app", "overlap", "0s")
}

// wantGoldenEnd deletes all, and wants nothing left that is the engine's.
func (m *testMount) wantGoldenEnd() {
	m.t.Helper()
	audit := m.audit()
	audit.wantComplete(true)
	audit.want(nil)
	m.do("delete", "roles/team/bot")
	m.sweepFor(10 * time.Minute)
	m.wantRecords(0)
	m.wantLive(0)
	if got := m.staticRecords(); len(got) != 0 {
		m.t.Errorf("records of static keys: %+v\n%s", got, m.log)
	}
}
