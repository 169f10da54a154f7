package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// knowEntity gives the entity of every request a name and aliases.
func (m *testMount) knowEntity() {
	m.sys.set(func(v *logical.StaticSystemView) {
		v.EntityVal = &logical.Entity{ID: "entity-1", Name: "agent-7", Aliases: []*logical.Alias{
			{MountType: "approle", Name: "role-id-1", Metadata: map[string]string{"team": "search"}},
			{MountType: "oidc", Name: "ada@example.com"},
		}}
	})
}

// ids are the ids on a page of keys.
func ids(resp *logical.Response) []string {
	if resp == nil || resp.Data["keys"] == nil {
		return nil
	}
	return stringList(resp.Data["keys"])
}

// stringList reads a list that may have crossed the plugin protocol.
func stringList(value any) []string {
	switch v := value.(type) {
	case []string:
		return v
	case []any:
		var list []string
		for _, item := range v {
			list = append(list, fmt.Sprint(item))
		}
		return list
	}
	return nil
}

func TestKeyIsReadWithItsOwner(t *testing.T) {
	both(t, func(m *testMount) {
		m.knowEntity()
		m.configure()
		m.do("write", "roles/bot", "metadata", "owner=ada")
		l := m.lease("creds/bot")
		id := m.records()[0].ID
		data := m.do("read", "keys/"+id).Data
		want := map[string]any{
			"id": id, "role": "bot", "config": "openai", "provider": "openai", "kind": "lease", "state": "active",
			"key_id": l.data["key_id"], "name": l.data["name"], "scope": "proj_demo",
			"entity_id": "entity-1", "entity_name": "agent-7", "display_name": "approle-bot", "request_id": "request-1",
			"expires_at": l.data["expires_at"], "last_error": "", "next_attempt": "",
		}
		for field, value := range want {
			if data[field] != value {
				m.t.Errorf("%s: got %v, want %v", field, data[field], value)
			}
		}
		for field, want := range map[string]string{
			"attempts": "0", "metadata": "map[owner:ada]",
			"aliases": "[approle/role-id-1 oidc/ada@example.com]", "alias_metadata": "map[approle/role-id-1/team:search]",
		} {
			if got := fmt.Sprint(data[field]); got != want {
				m.t.Errorf("%s: got %s, want %s", field, got, want)
			}
		}
		if _, err := time.Parse(time.RFC3339, fmt.Sprint(data["created_at"])); err != nil {
			m.t.Error(err)
		}
		if strings.Contains(fmt.Sprint(data), l.key()) {
			m.t.Error("the key is read back")
		}
		if fields := recordFields(); len(fields) != len(data) {
			m.t.Errorf("described are %v, read were %v", slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(data)))
		}
		if resp := m.do("read", "keys/nothere"); resp != nil {
			m.t.Errorf("a key that is not there: %v", resp.Data)
		}
		l.revoke()
		if resp := m.do("read", "keys/"+id); resp != nil {
			m.t.Errorf("a key that is gone: %v", resp.Data)
		}
	})
}

func TestKeysAreListedByPagesAndFilters(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		for _, role := range []string{"team-a/x", "team-a/y/z", "team-ab"} {
			m.do("create", "roles/"+role, "config_name", "openai", "project_id", "proj_demo")
		}
		var all []string
		for i := range 12 {
			m.advance(time.Second)
			role := []string{"bot", "team-a/x", "team-a/y/z", "team-ab"}[i%4]
			all = append(all, m.lease("creds/"+role).id())
		}
		admin := m.adminRecords()[0].ID

		listed := ids(m.do("list", "keys/"))
		if want := append([]string{admin}, all...); !slices.Equal(listed, want) {
			m.t.Fatalf("list: got %v, want %v, the oldest first", listed, want)
		}
		info := m.do("list", "keys").Data["key_info"].(map[string]any)[all[1]].(map[string]any)
		if info["role"] != "team-a/x" || info["state"] != "active" || info["kind"] != "lease" || info["owner"] != "approle-bot" {
			m.t.Errorf("key_info: %v", info)
		}

		var paged []string
		after := ""
		for range 20 {
			resp := m.do("list", "keys/", "limit", 5, "after", after)
			paged = append(paged, ids(resp)...)
			if resp.Data["next"] == nil {
				break
			}
			after = resp.Data["next"].(string)
		}
		if !slices.Equal(paged, listed) {
			m.t.Errorf("pages: got %v, want %v", paged, listed)
		}

		every4 := func(from ...int) []string {
			var want []string
			for i, id := range all {
				if slices.Contains(from, i%4) {
					want = append(want, id)
				}
			}
			return want
		}
		for name, c := range map[string]struct {
			pairs []any
			want  []string
		}{
			"role":              {[]any{"role", "team-a/x"}, every4(1)},
			"role with others":  {[]any{"role", "bot"}, every4(0)},
			"subtree":           {[]any{"role", "team-a/"}, every4(1, 2)},
			"deeper subtree":    {[]any{"role", "team-a/y/"}, every4(2)},
			"no such role":      {[]any{"role", "team"}, nil},
			"entity":            {[]any{"entity_id", "entity-1", "role", "team-ab"}, every4(3)},
			"other entity":      {[]any{"entity_id", "entity-2"}, nil},
			"state":             {[]any{"state", "active", "role", "bot"}, every4(0)},
			"state without any": {[]any{"state", "revoking"}, nil},
		} {
			for _, op := range []string{"list", "read"} {
				if got := ids(m.do(op, "keys", c.pairs...)); !slices.Equal(got, c.want) {
					m.t.Errorf("%s of %s: got %v, want %v", op, name, got, c.want)
				}
			}
		}
		if got := ids(m.do("read", "keys", "after", all[10])); !slices.Equal(got, all[11:]) {
			m.t.Errorf("after: got %v, want %v", got, all[11:])
		}

		m.refused(400, []string{"state", "pending, active or revoking"}, "list", "keys/", "state", "dead")
		m.refused(400, []string{"limit", "1 to 1000"}, "list", "keys/", "limit", 0)
		m.refused(400, []string{"role"}, "list", "keys/", "role", "a//b")
	})
}

func TestLookUpALeakedKey(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		m.lease("creds/bot")
		id := l.id()
		for name, pairs := range map[string][]any{
			"the key":                  {"api_key", l.key()},
			"the key with a line end":  {"api_key", l.key() + "\n"},
			"the provider's id of it":  {"key_id", l.data["key_id"]},
			"one field beside nothing": {"key_id", l.data["key_id"], "api_key", ""},
		} {
			if got := m.do("write", "lookup", pairs...).Data["id"]; got != id {
				m.t.Errorf("%s: got %v, want %v", name, got, id)
			}
		}
		if data := m.do("write", "lookup", "api_key", m.fake.AdminKey()).Data; data["kind"] != "admin" || data["config"] != "openai" {
			m.t.Errorf("the admin key: %v", data)
		}

		m.refused(404, []string{"no key of this mount"}, "write", "lookup", "api_key", l.key()+"x")
		m.refused(404, nil, "write", "lookup", "key_id", "key_of_somebody")
		m.refused(400, []string{"api_key, key_id"}, "write", "lookup")
		m.refused(400, []string{"exactly one"}, "write", "lookup", "api_key", l.key(), "key_id", "x")
		m.refused(400, []string{"unknown field"}, "write", "lookup", "apikey", "x")
		l.revoke()
		m.refused(404, nil, "write", "lookup", "api_key", l.key())
	})
}

// dropIndex makes the storage as older versions had it.
func (m *testMount) dropIndex() {
	m.t.Helper()
	for _, key := range m.stored(indexPrefix) {
		if err := m.storage.Delete(m.t.Context(), key); err != nil {
			m.t.Fatal(err)
		}
	}
	entry := *m.engine.mountEntry
	entry.Index = 0
	if err := save(m.t.Context(), m.storage, mountKey, entry); err != nil {
		m.t.Fatal(err)
	}
	m.engine.invalidate(m.t.Context(), mountKey)
}

// TestOldRecordsAreFound drops the index, as it is in storage of older versions.
func TestOldRecordsAreFound(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		id := m.records()[0].ID
		m.dropIndex()

		find := func(when string) {
			if got := m.do("write", "lookup", "api_key", l.key()).Data["id"]; got != id {
				m.t.Errorf("%s: got %v, want %v", when, got, id)
			}
			if got := m.do("read", "keys/"+id); got == nil {
				m.t.Errorf("%s: not found by its id", when)
			}
			if got := ids(m.do("read", "keys", "entity_id", "entity-1", "role", "bot")); len(got) != 1 {
				m.t.Errorf("%s: by its entity: %v", when, got)
			}
		}
		find("before the sweep")
		m.sweep()
		if m.engine.mountEntry.Index != indexVersion || len(m.stored(indexPrefix)) == 0 {
			m.t.Error("the sweep has made no index")
		}
		find("after the sweep")
		l.revoke()
		for _, key := range m.stored(indexPrefix) {
			if strings.Contains(key, id) {
				m.t.Errorf("the index still holds %s", key)
			}
		}
	})
}

// TestIndexEntryThatIsNotTrue: an entry is only a reason to look.
func TestIndexEntryThatIsNotTrue(t *testing.T) {
	both(t, func(m *testMount) {
		m.configure()
		l := m.lease("creds/bot")
		rec := m.records()[0]
		wrong := byKeyHash(keyHash(m.engine.mountEntry.Salt, "somebody's key")).prefix() + rec.pointer().name()
		if err := save(m.t.Context(), m.storage, wrong, indexEntry{Version: indexVersion}); err != nil {
			m.t.Fatal(err)
		}
		m.refused(404, nil, "write", "lookup", "api_key", "somebody's key")
		m.refused(404, nil, "write", "revoke", "api_key", "somebody's key")
		m.wantAlive(l.key(), true)
	})
}

// TestKeyOfALostCreateIsFoundByItsID while its deletion fails.
func TestKeyOfALostCreateIsFoundByItsID(t *testing.T) {
	bubble(t, func(m *testMount) {
		m.configure()
		m.lease("creds/bot").revoke()
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpCreateKey, Drop: true, AfterEffect: true, Times: 1})
		m.fake.Inject(fakeopenai.Fault{Op: fakeopenai.OpDeleteKey, Status: 403})
		if _, err := m.try("read", "creds/bot"); err == nil {
			m.t.Fatal("a create without an answer has issued a key")
		}
		keyID := m.fake.LiveKeys()[0].ID
		if data := m.do("write", "lookup", "key_id", keyID).Data; data["state"] != "revoking" {
			m.t.Errorf("record: %v", data)
		}
		m.fake.ClearFaults()
		m.wantKill(m.do("write", "revoke", "key_id", keyID), 1, 0, 0)
		m.wantLive(0)
	})
}
