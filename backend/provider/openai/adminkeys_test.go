package openai_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

const adminsPath = "/v1/organization/admin_api_keys"

func (o *organization) rotator() provider.AdminRotator { return o.Client.(provider.AdminRotator) }

func rotatorOf(t *testing.T, w http.RoundTripper) provider.AdminRotator {
	t.Helper()
	return connect(t, provider.Settings{AdminKey: goodKey}, w).(provider.AdminRotator)
}

func TestMintAdminRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := answering(`{"id":"key_1","value":"sk-admin-0123456789","expires_at":1711475433}`)
		client := rotatorOf(t, w)
		for _, test := range []struct {
			expires time.Time
			want    map[string]any
		}{
			{time.Time{}, map[string]any{"name": "vault-test"}},
			{time.Now().Add(time.Hour), map[string]any{"name": "vault-test", "expires_in_seconds": 3600.}},
			{time.Now().Add(-time.Hour), map[string]any{"name": "vault-test", "expires_in_seconds": 1.}},
			{time.Now().AddDate(9, 0, 0), map[string]any{"name": "vault-test", "expires_in_seconds": 31_536_000.}},
		} {
			key, err := client.MintAdmin(t.Context(), "vault-test", test.expires)
			if err != nil || key.ID != "key_1" || key.Secret != "sk-admin-0123456789" || key.ExpiresAt.Unix() != 1711475433 {
				t.Errorf("got %+v, error %v", key, err)
			}
			var sent map[string]any
			if err := json.Unmarshal([]byte(w.body), &sent); err != nil || !maps.Equal(sent, test.want) {
				t.Errorf("sent %s, want %v", w.body, test.want)
			}
		}
		if w.last.Method != http.MethodPost || w.last.URL.RequestURI() != adminsPath {
			t.Errorf("sent %s %s", w.last.Method, w.last.URL.RequestURI())
		}
	})
}

func TestMintAdminAnswers(t *testing.T) {
	for _, body := range []string{
		`{"id":"key_1"}`,
		`{"id":"key_1","value":null}`,
		`{"id":"key_1","value":""}`,
		`{"id":"key_1","value":{"text":"sk-admin-0123456789"}}`,
		`{"value":"sk-admin-0123456789"}`,
		`{"id":"","value":"sk-admin-0123456789"}`,
		`{"id":7,"value":"sk-admin-0123456789"}`,
		`{"data":{"id":"key_1","value":"sk-admin-0123456789"}}`,
	} {
		key, err := rotatorOf(t, answering(body)).MintAdmin(t.Context(), "vault-test", time.Time{})
		if !provider.IsKind(err, provider.Ambiguous) || key.ID != "" || key.Secret != "" {
			t.Errorf("%s: got key %q, error %v", body, key.ID, err)
		}
	}
	key, err := rotatorOf(t, answering(`{"id":"key_1","value":"sk-admin-0123456789","expires_at":null}`)).
		MintAdmin(t.Context(), "vault-test", time.Now().Add(time.Hour))
	if err != nil || !key.ExpiresAt.IsZero() {
		t.Errorf("got expiry %s, error %v, want no expiry, as the answer says", key.ExpiresAt, err)
	}
}

func TestFindAdminsFollowsPages(t *testing.T) {
	page := func(id, more string) string {
		return fmt.Sprintf(`{"object":"list","data":[{"id":"x%s"},{"id":%q}],"last_id":"elsewhere"%s}`, id, id, more)
	}
	const yes, no = `,"has_more":true`, `,"has_more":false`
	for _, test := range []struct {
		name  string
		pages map[string]string // by after
		want  int
		fails bool
	}{
		{"by the last item", map[string]string{"": page("a", yes), "a": page("b", yes), "b": page("c", no)}, 6, false},
		{"has_more missing", map[string]string{"": page("a", ""), "a": page("b", ""), "b": `{"data":[]}`}, 4, false},
		{"no progress", map[string]string{"": page("a", yes), "a": page("a", yes)}, 4, true},
		{"in a circle", map[string]string{"": page("a", yes), "a": page("b", yes), "b": page("a", yes)}, 6, true},
		{"empty page with more", map[string]string{"": page("a", yes), "a": `{"data":[],"has_more":true}`}, 2, true},
		{"no list behind", map[string]string{"": page("a", yes), "a": `{"has_more":false}`}, 2, true},
		{"no id", map[string]string{"": page("a", yes), "a": `{"data":[{"name":"x"}],"has_more":false}`}, 2, true},
	} {
		w := &wire{answer: func(r *http.Request) string {
			query := r.URL.Query()
			if query.Get("limit") != "100" || query.Get("order") != "asc" || r.URL.Path != adminsPath || query.Has("after") && query.Get("after") == "" {
				t.Errorf("%s: asked for %s", test.name, r.URL.RequestURI())
			}
			return test.pages[query.Get("after")]
		}}
		n, last := 0, error(nil)
		for _, err := range rotatorOf(t, w).FindAdmins(t.Context()) {
			if last = err; err == nil {
				n++
			}
		}
		if n != test.want || provider.IsKind(last, provider.Unavailable) != test.fails {
			t.Errorf("%s: got %d admin keys, error %v, want %d", test.name, n, last, test.want)
		}
	}
}

func TestFindAdminsOwners(t *testing.T) {
	const list = `{"data":[
		{"id":"key_1","name":"a","created_at":1711471533,"last_used_at":1711471600,"expires_at":1711475433,
		 "owner":{"type":"service_account","object":"organization.service_account","id":"sa_456","role":"owner"}},
		{"id":"key_2","name":null,"created_at":1711471533,"last_used_at":null,"expires_at":null,
		 "owner":{"type":"user","object":"organization.user","id":"user_1"}},
		{"id":"key_3","owner":null}],"has_more":false}`
	var got []provider.Found
	for key, err := range rotatorOf(t, answering(list)).FindAdmins(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	want := []provider.Found{
		{ID: "key_1", Name: "a", PrincipalID: "sa_456", Owner: "service account sa_456", CreatedAt: at(1711471533), LastUsedAt: at(1711471600), UseKnown: true, ExpiresAt: at(1711475433)},
		{ID: "key_2", Owner: "user user_1", CreatedAt: at(1711471533), UseKnown: true},
		{ID: "key_3"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAdminKeysOfServiceAccounts(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{AdminKeysOfServiceAccount: true}, func(o *organization) {
		key, err := o.rotator().MintAdmin(o.Context(), "vault-test", time.Time{})
		if err != nil {
			o.Fatal(err)
		}
		owners := map[string]string{}
		for found, err := range o.rotator().FindAdmins(o.Context()) {
			if err != nil {
				o.Fatal(err)
			}
			owners[found.ID] = found.PrincipalID
		}
		if made := o.AdminKeys()[1]; owners[key.ID] == "" || owners[key.ID] != made.ServiceAccountID || owners[o.AdminKeys()[0].ID] != "" {
			o.Errorf("got owners %v, want %s of %s alone", owners, made.ServiceAccountID, key.ID)
		}
	})
}

func TestIdentifyAdminByItsEnds(t *testing.T) {
	const key = "sk-admin-0123456789-xyz"
	for _, test := range []struct {
		shown string // JSON
		want  bool
	}{
		{`"sk-admin...xyz"`, true},
		{`"sk-admin-...xyz"`, true},
		{`"sk-admin-0123...89-xyz"`, true},
		{`"sk-admin********xyz"`, true},
		{`"sk-..9-xyz"`, true},
		{`"sk-admin…xyz"`, true},
		{`"...xyz"`, true},
		{`"sk-admin-0123456789-...xyz"`, false}, // nothing is masked
		{`"sk-admin-0123456789-xy...xyz"`, false},
		{`"sk-admin-012345678...9-xyz"`, false},
		{`"sk-admin-01234567...9-xyz"`, true}, // one character is
		{`"sk-admin-0123456789-xyz"`, false},  // nothing is
		{`"sk-admin...xyy"`, false},
		{`"sk-proj...xyz"`, false},
		{`"SK-ADMIN...XYZ"`, false},
		{`"sk-admin...yz"`, false}, // too little
		{`"sk-admin..."`, false},
		{`"..."`, false},
		{`""`, false},
		{`"sk-admin.xyz"`, false}, // no mask
		{`"sk-admin*xyz"`, false},
		{`"sk-admin xyz"`, false},
		{`"sk-admin.*.xyz"`, false},
		{`"sk-admin...xyz\n"`, false},
		{`" sk-admin...xyz"`, false},
		{`"sk-admin...0123...xyz"`, false},
		{`"sk-admin-[0-9]...xyz"`, false},
		{`null`, false},
		{`{"begin":"sk-admin","end":"xyz"}`, false},
		{`["sk-admin...xyz"]`, false},
	} {
		list := fmt.Sprintf(`{"data":[{"id":"key_1","redacted_value":%s}],"has_more":false}`, test.shown)
		ids, err := rotatorOf(t, answering(list)).IdentifyAdmin(t.Context(), key)
		if err != nil || slices.Equal(ids, []string{"key_1"}) != test.want || len(ids) > 1 {
			t.Errorf("%s: got %v, error %v, want a match: %t", test.shown, ids, err, test.want)
		}
	}
	ids, err := rotatorOf(t, answering(`{"data":[{"id":"key_1"}],"has_more":false}`)).IdentifyAdmin(t.Context(), key)
	if err != nil || len(ids) != 0 {
		t.Errorf("nothing shown: got %v, error %v", ids, err)
	}
}

func TestDeleteAdminRequest(t *testing.T) {
	w := answering(`{"deleted":true}`)
	client := rotatorOf(t, w)
	if err := client.DeleteAdmin(t.Context(), provider.Ref{ID: "../projects?x="}); err != nil {
		t.Error(err)
	}
	if got := w.last.Method + " " + w.last.URL.RequestURI(); got != "DELETE "+adminsPath+"/..%2Fprojects%3Fx=" {
		t.Errorf("sent %s", got)
	}
	n := w.n
	if err := client.DeleteAdmin(t.Context(), provider.Ref{}); !provider.IsKind(err, provider.Unavailable) || w.n != n {
		t.Errorf("no id: got %v and %d requests, want no request", err, w.n-n)
	}
}

func TestAdminScope(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.AddProject("proj_second")
		for _, want := range []string{project, "proj_second"} {
			if got, err := o.rotator().AdminScope(o.Context()); got != want || err != nil {
				o.Errorf("got %q, error %v, want %q", got, err, want)
			}
			o.ArchiveProject(want)
		}
		got, err := o.rotator().AdminScope(o.Context())
		if o.wantKind(err, provider.Invalid); got != "" || !strings.Contains(fmt.Sprint(err), "has no project") {
			o.Errorf("got %q, error %v", got, err)
		}
	})
	for _, body := range []string{`{"data":[{}]}`, `{"data":[{"id":""}]}`, `{"data":[{"id":7}]}`, `{}`, `{"data":[],"has_more":true}`} {
		if got, err := rotatorOf(t, answering(body)).AdminScope(t.Context()); got != "" || !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("%s: got %q, error %v", body, got, err)
		}
	}
	w := answering(`{"data":[{"id":"proj_x"},{"id":"proj_y"}],"has_more":true}`)
	if got, err := rotatorOf(t, w).AdminScope(t.Context()); got != "proj_x" || err != nil || w.n != 1 {
		t.Errorf("got %q, error %v after %d requests, want proj_x after one", got, err, w.n)
	}
	if got := w.last.URL.RequestURI(); got != "/v1/organization/projects?limit=1" {
		t.Errorf("sent to %s", got)
	}
}

// A witness that was archived since still proves the organization.
func TestArchivedProjectIsAWitness(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		second, _ := o.AddAdminKey()
		o.ArchiveProject(project)
		ref := provider.Ref{ID: second, Scope: project}
		o.Inject(fakeopenai.Answer(fakeopenai.OpDeleteAdminKey, http.StatusBadRequest, 1))
		before := o.Count(fakeopenai.OpAny)
		o.wantKind(o.rotator().DeleteAdmin(o.Context(), ref), provider.Invalid)
		if got := o.Count(fakeopenai.OpAny) - before; got != 1 {
			o.Errorf("got %d requests, want one: a refusal needs no proof", got)
		}
		if err := o.rotator().DeleteAdmin(o.Context(), ref); err != nil {
			o.Error(err)
		}
		o.wantKind(o.rotator().DeleteAdmin(o.Context(), ref), provider.NotFound)
	})
}

func TestAdminKeyMayNotDeleteItself(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{AdminSelfDeleteForbidden: true}, func(o *organization) {
		err := o.rotator().DeleteAdmin(o.Context(), provider.Ref{ID: o.AdminKeys()[0].ID, Scope: project})
		if o.wantKind(err, provider.Forbidden); !o.AdminAlive(o.AdminKey()) {
			o.Error("the admin key is dead")
		}
	})
}

func TestAdminErrorsReadWell(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{NoGrease: true}, func(o *organization) {
		second, _ := o.AddAdminKey()
		remove := func(scope string) error {
			return o.rotator().DeleteAdmin(o.Context(), provider.Ref{ID: second, Scope: scope})
		}
		o.Inject(fakeopenai.Answer(fakeopenai.OpDeleteAdminKey, 404, 0))
		const prefix = "openai: delete admin key: unavailable: OpenAI answers not found, "
		if got := fmt.Sprint(remove(project)); got != prefix+"yet it is still listed" {
			o.Errorf("got %s", got)
		}
		if got := fmt.Sprint(remove("proj_x")); got != prefix+"but does not know the project either; is the admin key of another organization?" {
			o.Errorf("got %s", got)
		}
		o.Inject(fakeopenai.Answer(fakeopenai.OpListAdminKeys, 404, 1))
		if got := fmt.Sprint(remove(project)); got != prefix+"but does not find the list of admin keys either" {
			o.Errorf("got %s", got)
		}
		o.Inject(fakeopenai.Fault{Op: fakeopenai.OpListAdminKeys, Times: 1, Status: 200, Body: `{"data":[],"has_more":false}`})
		if got := fmt.Sprint(remove(project)); got != prefix+"yet it can still be read" {
			o.Errorf("got %s", got)
		}
	})
}
