package openai_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

func (o *organization) try() error {
	return o.rotator().TryAdmin(o.Context(), o.AdminKeys()[0].ID)
}

// A trial says which capability failed.
func TestTrialNamesTheCapability(t *testing.T) {
	for op, what := range map[fakeopenai.Op]string{
		fakeopenai.OpListProjects:         "list projects",
		fakeopenai.OpGetProject:           "read project",
		fakeopenai.OpListAdminKeys:        "list admin keys",
		fakeopenai.OpGetAdminKey:          "read admin key",
		fakeopenai.OpDeleteAdminKey:       "delete admin key",
		fakeopenai.OpListServiceAccounts:  "list service accounts",
		fakeopenai.OpGetServiceAccount:    "read service account",
		fakeopenai.OpUpdateServiceAccount: "give service account the role member",
		fakeopenai.OpDeleteServiceAccount: "delete service account",
		fakeopenai.OpListKeys:             "list keys",
		fakeopenai.OpGetKey:               "read key",
		fakeopenai.OpCreateKey:            "create key",
		fakeopenai.OpUpdateKey:            "extend key",
		fakeopenai.OpDeleteKey:            "delete key",
	} {
		inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
			if err := o.try(); err != nil {
				o.Errorf("good: %v", err)
			}
			if o.Count(op) == 0 {
				o.Errorf("%s was not tried", op)
			}
			o.Inject(fakeopenai.Answer(op, http.StatusForbidden, 0))
			want := "openai: try the admin key: " + what + ": forbidden: You have insufficient permissions"
			if err := o.try(); !strings.HasPrefix(fmt.Sprint(err), want) {
				o.Errorf("%s: got %v, want %s", op, err, want)
			}
			// The call itself is not a trial.
			o.ClearFaults()
			o.Inject(fakeopenai.Answer(fakeopenai.OpAny, http.StatusForbidden, 0))
			if err := o.rotator().VerifyAdmin(o.Context()); !strings.HasPrefix(fmt.Sprint(err), "openai: list projects: ") {
				o.Errorf("got %v", err)
			}
		})
	}
}

// A server that knows what does not exist proves nothing.
func TestTrialDoesNotTrustASuccess(t *testing.T) {
	for op, body := range map[fakeopenai.Op]string{
		fakeopenai.OpDeleteAdminKey:       `{"id":"vault_probe","deleted":true}`,
		fakeopenai.OpUpdateServiceAccount: `{"id":"vault_probe","role":"member"}`,
		fakeopenai.OpCreateKey:            `{"id":"key_1","value":"sk-svcacct-0123456789"}`,
		fakeopenai.OpUpdateKey:            `{"id":"vault_probe","expires_at":1911471533}`,
		fakeopenai.OpDeleteKey:            `{"id":"vault_probe","deleted":true}`,
		fakeopenai.OpDeleteServiceAccount: `{"id":"vault_probe","deleted":true}`,
	} {
		inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
			o.Inject(fakeopenai.Fault{Op: op, Status: http.StatusOK, Body: body})
			err := o.try()
			if o.wantKind(err, provider.Unavailable); !strings.Contains(fmt.Sprint(err), "vault_probe, which does not exist") {
				o.Errorf("%s: got %v", op, err)
			}
		})
	}
}

// A complaint about the probe's id proves the permission, too.
func TestTrialTakesARefusalOfTheProbe(t *testing.T) {
	for _, op := range []fakeopenai.Op{
		fakeopenai.OpDeleteAdminKey, fakeopenai.OpUpdateServiceAccount, fakeopenai.OpCreateKey,
		fakeopenai.OpUpdateKey, fakeopenai.OpDeleteKey, fakeopenai.OpDeleteServiceAccount,
	} {
		inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
			o.Inject(fakeopenai.Answer(op, http.StatusBadRequest, 0))
			if err := o.try(); err != nil {
				o.Errorf("%s: %v", op, err)
			}
		})
	}
}

// Whatever a trial sends, it names the probe where it writes, and its only create
// is of a key that ends at once.
func TestTrialWritesToTheProbeAlone(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.mint(o.ensure("bot"))
		var writes []string
		watch := watching{o.RoundTripper(), func(req *http.Request, body string) {
			if req.Method == http.MethodGet {
				return
			}
			writes = append(writes, req.Method+" "+req.URL.Path)
			if !strings.Contains(req.URL.Path, "/vault_probe") {
				o.Errorf("sent %s %s", req.Method, req.URL.Path)
			}
			if strings.HasSuffix(req.URL.Path, "/vault_probe/api_keys") && !strings.Contains(body, `"expires_in_seconds":1}`) &&
				!strings.Contains(body, `"expires_in_seconds":1,`) {
				o.Errorf("asked for a key that lives: %s", body)
			}
		}}
		client := connect(o.T, (&world{o.Server}).Settings(), watch).(provider.AdminRotator)
		if err := client.TryAdmin(o.Context(), o.AdminKeys()[0].ID); err != nil {
			o.Fatal(err)
		}
		if len(writes) != 6 {
			o.Errorf("got writes %q, want 6", writes)
		}
	})
}

// A watching shows each request.
type watching struct {
	next http.RoundTripper
	see  func(*http.Request, string)
}

func (w watching) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.GetBody != nil {
		if copied, err := req.GetBody(); err == nil {
			text, _ := io.ReadAll(copied)
			body = string(text)
		}
	}
	w.see(req, body)
	return w.next.RoundTrip(req)
}

func TestTrialWithoutAProject(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.ArchiveProject(project)
		if err := o.try(); err != nil {
			o.Error(err)
		}
		o.SetKnobs(fakeopenai.Knobs{WeakerAdminKeys: true})
		key, err := o.rotator().MintAdmin(o.Context(), "vault-test", time.Time{})
		if err != nil {
			o.Fatal(err)
		}
		weak := connect(o.T, provider.Settings{AdminKey: key.Secret}, o.RoundTripper()).(provider.AdminRotator)
		o.wantKind(weak.TryAdmin(o.Context(), key.ID), provider.Forbidden)
	})
}

func TestTrialOfAKeyThatMayNotSeeAdminKeys(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{AdminKeysForbidden: true}, func(o *organization) {
		o.wantKind(o.try(), provider.Forbidden)
		_, err := o.rotator().IdentifyAdmin(o.Context(), goodKey)
		o.wantKind(err, provider.Forbidden)
		_, err = o.rotator().MintAdmin(o.Context(), "vault-test", time.Time{})
		o.wantKind(err, provider.Forbidden)
		if got := len(o.AdminKeys()); got != 1 {
			o.Errorf("got %d admin keys", got)
		}
	})
}
