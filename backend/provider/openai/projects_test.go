package openai_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func scopesOf(t *testing.T, c provider.Client) (ids []string, err error) {
	t.Helper()
	for id, e := range c.(provider.ScopeLister).Scopes(t.Context()) {
		if err != nil {
			t.Errorf("the list goes on after %v", err)
		}
		if err = e; err == nil {
			ids = append(ids, id)
		}
	}
	return ids, err
}

func principalsOf(t *testing.T, c provider.Client, project string) (all []provider.FoundPrincipal, err error) {
	t.Helper()
	for p, e := range c.(provider.PrincipalKeeper).FindPrincipals(t.Context(), project) {
		if err != nil {
			t.Errorf("the list goes on after %v", err)
		}
		if err = e; err == nil {
			all = append(all, p)
		}
	}
	return all, err
}

// pages answers by the cursor that is asked for, and keeps what was asked.
func pages(byAfter map[string]string) (w *wire, asked *[]string) {
	asked = new([]string)
	return &wire{answer: func(r *http.Request) string {
		*asked = append(*asked, r.URL.RequestURI())
		return byAfter[r.URL.Query().Get("after")]
	}}, asked
}

func TestScopesFollowPages(t *testing.T) {
	const yes, no = `"has_more":true`, `"has_more":false`
	page := func(data, rest string) string { return `{"data":[` + data + `],` + rest + `}` }
	const a, b = `{"id":"a","status":"active","archived_at":null}`, `{"id":"b"}`
	const closed, shut = `{"id":"c","status":"archived"}`, `{"id":"d","status":null,"archived_at":1711471533}`
	for _, test := range []struct {
		name    string
		byAfter map[string]string
		want    []string
		fails   bool
	}{
		{"two pages", map[string]string{"": page(a, yes), "a": page(b, no)}, []string{"a", "b"}, false},
		{"by last_id", map[string]string{"": page(a, yes+`,"last_id":"x"`), "x": page(b, no)}, []string{"a", "b"}, false},
		{"archived ones between", map[string]string{"": page(closed+","+a+","+shut, yes), "d": page(shut+","+b+","+closed, no)}, []string{"a", "b"}, false},
		{"a page of archived ones", map[string]string{"": page(closed, yes), "c": page(b, no)}, []string{"b"}, false},
		{"none", map[string]string{"": page("", no)}, nil, false},
		{"a status that is unknown", map[string]string{"": page(`{"id":"a","status":"frozen"}`, no)}, []string{"a"}, false},
		{"a status that is no text", map[string]string{"": page(`{"id":"a","status":{"text":"archived"}}`, no)}, []string{"a"}, false},
		{"no list behind", map[string]string{"": page(a, yes), "a": `{"has_more":false}`}, []string{"a"}, true},
		{"no id behind", map[string]string{"": page(a, yes), "a": page(b+`,{"name":"x"}`, no)}, []string{"a"}, true},
		{"an archived one without id", map[string]string{"": page(`{"status":"archived"}`, no)}, nil, true},
		{"in a circle", map[string]string{"": page(a, yes), "a": page(b, yes), "b": page(a, yes)}, []string{"a", "b", "a"}, true},
	} {
		w, asked := pages(test.byAfter)
		got, err := scopesOf(t, connect(t, provider.Settings{AdminKey: goodKey}, w))
		if !slices.Equal(got, test.want) || provider.IsKind(err, provider.Unavailable) != test.fails || !test.fails && err != nil {
			t.Errorf("%s: got %q, error %v, want %q", test.name, got, err, test.want)
		}
		for i, uri := range *asked {
			if i == 0 && uri != "/v1/organization/projects?limit=100" || strings.Contains(uri, "archived") || !strings.Contains(uri, "limit=100") {
				t.Errorf("%s: asked for %s", test.name, uri)
			}
		}
	}
}

func TestFindPrincipalsAnswers(t *testing.T) {
	w, asked := pages(map[string]string{
		"": `{"data":[{"id":"svc_1","name":"bot","role":"none","created_at":1711471533}],"has_more":true}`,
		"svc_1": `{"data":[{"id":"svc_2","name":null},{"id":"svc_3","name":{"text":"x"},"role":"member","created_at":null},` +
			`{"id":"svc_4","name":"bot"}],"has_more":false}`,
	})
	got, err := principalsOf(t, connect(t, provider.Settings{AdminKey: goodKey}, w), "proj_x")
	want := []provider.FoundPrincipal{
		{Principal: provider.Principal{ID: "svc_1", Name: "bot", Scope: "proj_x"}, CreatedAt: time.Unix(1711471533, 0).UTC()},
		{Principal: provider.Principal{ID: "svc_2", Scope: "proj_x"}},
		{Principal: provider.Principal{ID: "svc_3", Scope: "proj_x"}},
		{Principal: provider.Principal{ID: "svc_4", Name: "bot", Scope: "proj_x"}},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
	const path = "/v1/organization/projects/proj_x/service_accounts?"
	if uris := []string{path + "limit=100", path + "after=svc_1&limit=100"}; !slices.Equal(*asked, uris) {
		t.Errorf("asked for %q, want %q", *asked, uris)
	}
}

// People's accounts, too, and those that have no access.
func TestFindPrincipalsOfAnybody(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{LastIDNull: true, PageSizeCap: 2}, func(o *organization) {
		var want []string
		for i := range 5 {
			want = append(want, o.PlantServiceAccount(project, fmt.Sprintf("ada's bot %d", i)).ID)
		}
		o.SetRole(want[0], "none")
		o.PlantServiceAccount("proj_other", "bot")
		want = append(want, o.ensure("vault-test").ID)
		all, err := principalsOf(o.T, o.Client, project)
		var got []string
		for _, p := range all {
			got = append(got, p.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			o.Errorf("got %q, error %v, want %q", got, err, want)
		}
	})
}

// A refusal is an empty list only if the project is known to be archived.
func TestRefusedListIsNotEmpty(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.mint(o.ensure("bot"))
		find := func() (n int, err error) {
			for _, err = range o.Find(o.Context(), project) {
				n++
			}
			return n, err
		}
		for _, test := range []struct {
			status int
			want   provider.Kind
		}{{http.StatusBadRequest, provider.Invalid}, {http.StatusForbidden, provider.Forbidden}, {http.StatusNotFound, provider.NotFound}} {
			o.ClearFaults()
			o.Inject(fakeopenai.Answer(fakeopenai.OpListKeys, test.status, 0))
			o.Inject(fakeopenai.Answer(fakeopenai.OpListServiceAccounts, test.status, 0))
			_, err := find()
			o.wantKind(err, test.want)
			_, err = principalsOf(o.T, o.Client, project)
			o.wantKind(err, test.want)
		}
		o.ClearFaults()
		o.ArchiveProject(project)
		o.Inject(fakeopenai.Answer(fakeopenai.OpGetProject, http.StatusForbidden, 0)) // nobody can tell
		_, err := find()
		o.wantKind(err, provider.Invalid)
		_, err = principalsOf(o.T, o.Client, project)
		o.wantKind(err, provider.Invalid)

		o.ClearFaults()
		o.Inject(fakeopenai.Answer(fakeopenai.OpListKeys, http.StatusForbidden, 1))
		o.Inject(fakeopenai.Answer(fakeopenai.OpListServiceAccounts, http.StatusForbidden, 1))
		_, err = find()
		o.wantKind(err, provider.Forbidden)
		_, err = principalsOf(o.T, o.Client, project)
		o.wantKind(err, provider.Forbidden)

		n, err := find()
		accounts, unlisted := principalsOf(o.T, o.Client, project)
		if n != 0 || err != nil || len(accounts) != 0 || unlisted != nil {
			o.Errorf("archived: got %d keys, error %v, accounts %v, error %v", n, err, accounts, unlisted)
		}
	})
}
