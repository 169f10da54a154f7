package backend

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDsSortByTheirMaking(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 1000 {
		ids = append(ids, newID(at.Add(time.Duration(i)*time.Millisecond)))
	}
	if !slices.IsSorted(ids) {
		t.Error("ids do not sort by time")
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 1000 || len(ids[0]) != 26 {
		t.Errorf("ids repeat, or have another length than 26: %s", ids[0])
	}
}

func TestKeyNamesKeepTagAndID(t *testing.T) {
	id := newID(time.Now())
	for _, limit := range []int{45, 60, 100} {
		name := keyName("4k2p0q7m", strings.Repeat("long-", 60), id, limit)
		if len(name) > limit || !strings.HasPrefix(name, "vault-4k2p0q7m-") || !strings.HasSuffix(name, "-"+id) {
			t.Errorf("limit %d: %q (%d)", limit, name, len(name))
		}
	}
}

func TestPrincipalNamesAreOnePerRole(t *testing.T) {
	seen := map[string]string{}
	long := strings.Repeat("x", 120)
	m := &mountEntry{Tag: "4k2p0q7m", Salt: []byte("salt")}
	for _, role := range []string{"a", "a-", "-a", "a/b", "a-b", "a/b/c", "a-b/c", long, long + "y", "a/" + long} {
		name := principalName(m, "openai", role, 100)
		if other, taken := seen[name]; taken {
			t.Errorf("roles %q and %q share the name %q", role, other, name)
		}
		seen[name] = role
		if len(name) > 100 || !strings.HasPrefix(name, "vault-4k2p0q7m-") {
			t.Errorf("role %q has the name %q", role, name)
		}
		if name != principalName(m, "openai", role, 100) {
			t.Errorf("role %q has more than one name", role)
		}
		if name == principalName(m, "second", role, 100) {
			t.Errorf("role %q has one name under two connections", role)
		}
	}
}

func FuzzPointer(f *testing.F) {
	f.Add("openai", "team-a/bot", "0337ju6a00aaaaaaaaaaaaaaaa")
	f.Add("c", "a", "p-75f5d83ea8a9b9a1")
	f.Fuzz(func(t *testing.T, config, role, id string) {
		if checkName(role) != nil || !segment.MatchString(config) || !segment.MatchString(id) {
			return // not names that get into storage
		}
		p := pointer{config: config, role: role, id: id}
		minute := minutePrefix(time.Now())
		got, err := parsePointer(strings.TrimPrefix(p.dueKey(time.Now()), minute))
		if err != nil || got != p {
			t.Errorf("time index: got %+v, %v; want %+v", got, err, p)
		}
		if got, err = parseStored(p.key()); err != nil || got != p {
			t.Errorf("stored key: got %+v, %v; want %+v", got, err, p)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{.RoleName}}", "{{.EntityName | truncate 5}}", "{{random 8}}", "{{", "{{.Metadata.x}}", "{{range .Metadata}}{{.}}{{end}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := checkTemplate(text); err != nil {
			return
		}
		role := &keyRole{name: "team/bot", NameTemplate: text}
		if name := role.renderName(owner{}); name == "" || unclean.MatchString(name) {
			t.Errorf("template %q gives %q", text, name)
		}
	})
}

func FuzzLeaseData(f *testing.F) {
	f.Add("id", "config", "role")
	f.Fuzz(func(t *testing.T, id, config, role string) {
		for _, data := range []map[string]any{
			{"id": id, "config": config, "role": role},
			{"id": 1, "config": []any{config}, "role": nil},
			nil,
		} {
			p, err := leaseData(secretWith(data))
			if err == nil && (p.id == "" || p.config == "" || p.role == "") {
				t.Errorf("%v gives %+v", data, p)
			}
		}
	})
}
