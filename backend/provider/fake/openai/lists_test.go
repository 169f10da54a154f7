package fakeopenai

import (
	"fmt"
	"slices"
	"testing"
)

func TestPages(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	var want []string
	for i := range 45 {
		id, _ := w.mint(account, fmt.Sprintf(`{"name":"k%d"}`, i))
		want = append(want, id)
	}
	first := w.ok("GET", keysPath+"?owner_project_access=any", "")
	if data := first.at("data").([]any); len(data) != 20 || first.at("has_more") != true ||
		first.text("first_id") != want[0] || first.text("last_id") != want[19] || first.text("object") != "list" {
		t.Errorf("first page = %d keys, has_more %v, first_id %v, last_id %v", len(data), first.at("has_more"), first.at("first_id"), first.at("last_id"))
	}
	for _, limit := range []int{1, 7, 44, 45, 100} {
		if got := w.list(keysPath, fmt.Sprintf("owner_project_access=any&limit=%d", limit)); !slices.Equal(got, want) {
			t.Errorf("limit %d: got %d keys, want 45 in the order of creation", limit, len(got))
		}
	}
	w.SetKnobs(Knobs{PageSizeCap: 2})
	if got := len(w.ok("GET", keysPath+"?owner_project_access=any&limit=100", "").at("data").([]any)); got != 2 {
		t.Errorf("capped page has %d keys, want 2", got)
	}
}

func TestPagesStayGoodWhileTheWorldChanges(t *testing.T) {
	w := newWorld(t)
	account := w.account("bot")
	var ids []string
	for range 4 {
		id, _ := w.mint(account, `{}`)
		ids = append(ids, id)
	}
	r := w.ok("GET", keysPath+"?owner_project_access=any&limit=2", "")
	w.DeleteKey(ids[1]) // the cursor
	late, _ := w.mint(account, `{}`)
	rest := w.list(keysPath, "owner_project_access=any&after="+r.text("last_id"))
	if want := []string{ids[2], ids[3], late}; !slices.Equal(rest, want) {
		t.Errorf("rest = %v, want %v", rest, want)
	}
}

func TestEmptyPage(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{accountsPath, keysPath} {
		r := w.ok("GET", path, "")
		data, isList := r.at("data").([]any)
		if !isList || len(data) != 0 || r.at("first_id") != nil || r.at("last_id") != nil || r.at("has_more") != false {
			t.Errorf("GET %s = %s", path, r.raw)
		}
	}
}

func TestListRefuses(t *testing.T) {
	w := newWorld(t, WithProject(DefaultProject), WithProject("proj_other"))
	elsewhere := w.PlantKey("proj_other", "k").ID
	for _, query := range []string{
		"limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "after=", "after=key_unknown",
		"after=" + elsewhere, "name=x", "owner_project_access=", "owner_project_access=all", "order=asc", "%zz",
	} {
		w.refused(400, "GET", keysPath+"?"+query, "")
	}
	w.refused(400, "GET", accountsPath+"?owner_project_access=any", "")
	w.refused(400, "GET", projectsPath+"?include_archived=1", "")
	w.refused(400, "GET", adminsPath+"?order=newest", "")
	w.refused(400, "GET", demo+"?limit=1", "")
	w.refused(400, "GET", keysPath, `{}`)
}

func TestFilterByOwnerAccess(t *testing.T) {
	w := newWorld(t)
	member, _ := w.mint(w.account("bot"), `{}`)
	bare := w.ok("POST", accountsPath, `{"name":"bare","create_service_account_only":true}`).text("id")
	none, _ := w.mint(bare, `{}`)
	person := w.PlantKey(DefaultProject, "laptop").ID
	tests := []struct {
		query string
		want  []string
	}{
		{"owner_project_access=any", []string{member, none, person}},
		{"owner_project_access=active", []string{member, person}},
		{"owner_project_access=inactive", []string{none}},
		{"", []string{person}},
	}
	for _, tt := range tests {
		if got := w.list(keysPath, tt.query); !slices.Equal(got, tt.want) {
			t.Errorf("%q = %v, want %v", tt.query, got, tt.want)
		}
	}
	w.SetKnobs(Knobs{DefaultListHidesServiceAccountKeys: new(false)})
	if got := w.list(keysPath, ""); len(got) != 3 {
		t.Errorf("default list = %v, want all", got)
	}
}

func TestLastIDNull(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{LastIDNull: true}))
	account := w.account("bot")
	for range 3 {
		w.mint(account, `{}`)
	}
	r := w.ok("GET", keysPath+"?owner_project_access=any&limit=2", "")
	if r.at("has_more") != true || r.at("last_id") != nil {
		t.Errorf("has_more %v, last_id %v; want true, null", r.at("has_more"), r.at("last_id"))
	}
}

func TestProjects(t *testing.T) {
	w := newWorld(t, WithProject("proj_a"), WithProject("proj_b"))
	w.AddProject("proj_c")
	w.AddProject("proj_a")
	w.ArchiveProject("proj_b")
	for _, query := range []string{"", "limit=1", "include_archived=false"} {
		if got, want := w.list(projectsPath, query), []string{"proj_a", "proj_c"}; !slices.Equal(got, want) {
			t.Errorf("%q: projects = %v, want %v", query, got, want)
		}
	}
	if got, want := w.list(projectsPath, "include_archived=true&limit=1"), []string{"proj_a", "proj_b", "proj_c"}; !slices.Equal(got, want) {
		t.Errorf("all projects = %v, want %v", got, want)
	}
	r := w.ok("GET", projectsPath+"/proj_a", "")
	if r.text("status") != "active" || r.at("archived_at") != nil || r.text("object") != "organization.project" {
		t.Errorf("project = %s", r.raw)
	}
	if r := w.ok("GET", projectsPath+"/proj_b", ""); r.text("status") != "archived" || r.at("archived_at") == nil {
		t.Errorf("project = %s", r.raw)
	}
	w.refused(404, "GET", projectsPath+"/proj_unknown", "")
}
