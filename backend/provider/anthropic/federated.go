package anthropic

import (
	"cmp"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// name is the value of a connection's provider field.
const name = "anthropic"

// The fields that the federated provider adds to connections and roles. The pool has
// the workspace, too.
const (
	fieldOrganization = "organization_id"
	fieldIssuerURL    = "issuer_url"
	fieldAudience     = "audience"
	fieldIssuer       = "issuer_id"
	fieldAdminRule    = "admin_rule_id"
	fieldRule         = "federation_rule_id"
	fieldAccount      = "service_account_id"
	fieldWorkspace    = "workspace_id"
)

// defaultWorkspace names the workspace that every organization has. Every service
// account is a member of it for ever.
const defaultWorkspace = "default"

// elsewhere is on what Anthropic sets bounds.
const elsewhere = "Anthropic bounds rates and spending per workspace: set them on the role's workspace, in the Claude Console"

type anthropic struct{}

// What the federated provider can describe.
var (
	_ provider.Provider      = anthropic{}
	_ provider.AdminKeyMaker = anthropic{}
	_ provider.Publisher     = anthropic{}
)

// New returns the federated provider. It reads no environment variable.
func New() provider.Provider { return anthropic{} }

func (anthropic) Name() string { return name }

func (anthropic) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldOrganization: field("Organization ID", "id of the organization. Required."),
		fieldIssuerURL: field("Issuer URL", "what the engine's assertions name as their issuer. It is compared and never "+
			"fetched. Empty means one made of the connection's own keys, which a read shows."),
		fieldAudience: field("Audience", "whom the engine's assertions are for. Empty means Anthropic's own, "+defaultBaseURL+"."),
		fieldIssuer: field("Issuer ID", "id (fdis_…) of the issuer that holds the engine's public keys. Needed to rotate "+
			"the signing key."),
		fieldAdminRule: field("Admin rule ID", "id (fdrl_…) of a rule of the scope org:admin, made in the Console on an "+
			"issuer of its own. Needed to rotate the signing key, and to close roles at Anthropic."),
	}
}

func (anthropic) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldRule: field("Federation rule ID", "id (fdrl_…) of the rule by which tokens are minted. A read of the role shows "+
			"the rule to make; until its id is written, nothing is minted."),
		fieldAccount:   field("Service account ID", "id (svac_…) of the service account that tokens act as. Required."),
		fieldWorkspace: field("Workspace ID", "id (wrkspc_…) of the workspace, or \"default\" where the provider has it. Required."),
	}
}

func (anthropic) Answers() provider.Answers {
	return provider.Answers{
		Connection: map[string]string{
			"federation_issuer": "Anthropic: JSON of the issuer to make for the assertions that tokens are exchanged for.",
			"jwks":              "Anthropic: the public keys of federation_issuer alone, as a JSON Web Key Set.",
			"admin_issuer":      "Anthropic: JSON of the issuer to make in the Console for the engine's own calls.",
			"admin_rule":        "Anthropic: JSON of the rule to make for the engine's own calls, on the issuer that admin_issuer shows.",
		},
		Role: map[string]string{"federation_rule": "Anthropic: JSON of the rule to make for this role."},
		Key: map[string]string{
			fieldWorkspace: "Anthropic: id of the token's workspace.",
			fieldAccount:   "Anthropic: id of the service account that the token acts as.",
		},
	}
}

// field is a text that belongs to Anthropic.
func field(title, description string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type: framework.TypeString, Description: "Anthropic: " + description,
		DisplayAttrs: &framework.DisplayAttributes{Name: title, Group: "Anthropic"},
	}
}

// Guardrails says that Anthropic bounds workspaces, and no tokens.
func (anthropic) Guardrails() provider.Guardrails { return provider.Guardrails{Elsewhere: elsewhere} }

func (anthropic) Scope(role provider.Values) string { return role.String(fieldWorkspace) }

// Limits: a token lives for a day at most. It has no name; that of a signing key is
// its kid, whose longest is a guess.
func (anthropic) Limits() provider.Limits {
	return provider.Limits{NameLength: 100, Lifetime: 24 * time.Hour, Irrevocable: true}
}

// MakeAdminKey makes the signing keys of a connection.
func (anthropic) MakeAdminKey() (provider.Secret, error) {
	ring, err := newKeyring()
	if err != nil {
		return "", err
	}
	return ring.secret()
}

func (anthropic) CheckConfig(s provider.Settings) error {
	if _, err := parseKeyring(s.AdminKey); err != nil {
		return provider.FieldErrorf("admin_key", "is made by the engine; leave it out")
	}
	org := s.Fields.String(fieldOrganization)
	if org == "" {
		return provider.FieldErrorf(fieldOrganization, "is required; it is shown in the Claude Console's settings")
	}
	if !organizationForm.MatchString(org) || provider.HideKeys(org) != org {
		return provider.FieldErrorf(fieldOrganization, "%q is not an id", provider.HideKeys(org))
	}
	if err := checkIssuerURL(s.Fields.String(fieldIssuerURL)); err != nil {
		return err
	}
	if aud := s.Fields.String(fieldAudience); len(aud) > 255 || strings.ContainsFunc(aud, isOdd) || provider.HideKeys(aud) != aud {
		return provider.FieldErrorf(fieldAudience, "%q is not an audience; give what the rules expect, or leave it out", provider.HideKeys(aud))
	}
	if err := checkID(s.Fields, fieldIssuer, issuerForm, "fdis_"); err != nil {
		return err
	}
	return checkID(s.Fields, fieldAdminRule, ruleForm, "fdrl_")
}

func checkIssuerURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(text) > 255 ||
		strings.ContainsFunc(text, isOdd) || provider.HideKeys(text) != text {
		return provider.FieldErrorf(fieldIssuerURL, "%q is not an https URL; give one like https://vault.example.com", provider.HideKeys(text))
	}
	return nil
}

func isOdd(r rune) bool { return r <= ' ' || r > '~' }

// checkID checks the form of an id that may be left out.
func checkID(v provider.Values, field string, form *regexp.Regexp, prefix string) error {
	if id := v.String(field); id != "" && !form.MatchString(id) {
		return provider.FieldErrorf(field, "%q is not an id; it begins with %s", provider.HideKeys(id), prefix)
	}
	return nil
}

func (anthropic) CheckRole(config, role provider.Values) error {
	if err := checkID(role, fieldRule, ruleForm, "fdrl_"); err != nil {
		return err
	}
	if rule := role.String(fieldRule); rule != "" && rule == config.String(fieldAdminRule) {
		return provider.FieldErrorf(fieldRule, "is the connection's %s; give the rule of this role", fieldAdminRule)
	}
	if role.String(fieldAccount) == "" {
		return provider.FieldErrorf(fieldAccount, "is required; give the id of a service account, which begins with svac_")
	}
	if err := checkID(role, fieldAccount, accountForm, "svac_"); err != nil {
		return err
	}
	switch workspace := role.String(fieldWorkspace); workspace {
	case "":
		return provider.FieldErrorf(fieldWorkspace, "is required; give the id of a workspace, or default")
	case defaultWorkspace:
		return nil
	}
	return checkID(role, fieldWorkspace, workspaceForm, "wrkspc_")
}

var (
	organizationForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	issuerForm       = regexp.MustCompile(`^fdis_[A-Za-z0-9]{1,64}$`)
	ruleForm         = regexp.MustCompile(`^fdrl_[A-Za-z0-9]{1,64}$`)
	accountForm      = regexp.MustCompile(`^svac_[A-Za-z0-9]{1,64}$`)
	workspaceForm    = regexp.MustCompile(`^wrkspc_[A-Za-z0-9]{1,64}$`)
)

// A federated client acts on one organization. Most of what it does for the engine
// itself needs an admin rule; without one it only mints.
type federated struct {
	api
	// Admin is the keyring. It is exported because package fmt hides it in no other
	// field.
	Admin     provider.Secret
	config    provider.Values
	transport *provider.Transport
	// cached holds the token of the scope org:admin. Whoever takes it out puts one
	// back, so it is a lock, too, which a call may hold.
	cached chan adminToken
}

// What Anthropic's API can do. A token's expiry cannot be moved, nor can it be asked
// what it is.
var (
	_ provider.Client       = (*federated)(nil)
	_ provider.AdminRotator = (*federated)(nil)
	_ provider.RoleChecker  = (*federated)(nil)
	_ provider.RoleCloser   = (*federated)(nil)
)

// Connect returns a client. A nil transport does for one that is only asked what it
// can do.
func (anthropic) Connect(s provider.Settings, t *provider.Transport) (provider.Client, error) {
	c := &federated{
		api: newAPI(name, s, t), Admin: s.AdminKey, config: s.Fields, transport: t, cached: make(chan adminToken, 1),
	}
	c.cached <- adminToken{}
	return c, nil
}

// ring returns the signing keys. A bad one is refused as Anthropic would refuse what
// it signs.
func (c *federated) ring(op operation) (keyring, error) {
	ring, err := parseKeyring(c.Admin)
	if err != nil {
		return keyring{}, &provider.Error{
			Kind: provider.Unauthorized, Provider: c.name, Op: op.name, Reason: "the admin key is none that the engine has made",
		}
	}
	return ring, nil
}

// issuerURL is what assertions name as their issuer. The default must be as lasting
// as the issuer at Anthropic: it is made of the key that is never rotated.
func issuerURL(config provider.Values, ring keyring) string {
	return cmp.Or(config.String(fieldIssuerURL), "https://vault-llm.invalid/"+ring.Admin.Kid)
}

// adminIssuerURL is that of the issuer behind the admin rule.
func adminIssuerURL(config provider.Values, ring keyring) string {
	return strings.TrimSuffix(issuerURL(config, ring), "/") + "/admin"
}

func audience(config provider.Values) string {
	return cmp.Or(config.String(fieldAudience), defaultBaseURL)
}
