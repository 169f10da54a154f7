package backend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/strutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A configEntry is a stored connection. Durations are whole seconds.
//
//	{"version":1,"provider":"openai","admin_key":"…","base_url":"","request_timeout":30,
//	 "max_concurrency":16,"allowed_roles":["*"],"expiry_grace":600,"fields":{…}}
type configEntry struct {
	Version        int             `json:"version"`
	Provider       string          `json:"provider"`
	AdminKey       string          `json:"admin_key"`
	AdminKeyID     string          `json:"admin_key_id,omitempty"`
	BaseURL        string          `json:"base_url,omitempty"`
	AllowHTTP      bool            `json:"allow_http,omitempty"`
	CACert         string          `json:"ca_cert,omitempty"`
	RequestTimeout seconds         `json:"request_timeout"`
	MaxConcurrency int             `json:"max_concurrency"`
	AllowedRoles   []string        `json:"allowed_roles"`
	ExpiryGrace    seconds         `json:"expiry_grace"`
	Fields         provider.Values `json:"fields,omitempty"` // the provider's own
}

const configVersion = 1

func newConfigEntry() *configEntry {
	return &configEntry{
		Version:        configVersion,
		RequestTimeout: 30,
		MaxConcurrency: 16,
		AllowedRoles:   []string{"*"},
		ExpiryGrace:    600,
		Fields:         provider.Values{},
	}
}

func (e *configEntry) settings() provider.Settings {
	return provider.Settings{AdminKey: provider.Secret(e.AdminKey), BaseURL: e.BaseURL, Fields: e.Fields}
}

// way is what decides how requests travel. A transport serves as long as it is
// the same.
func (e *configEntry) way() string {
	return fmt.Sprint(e.Provider, "\n", e.BaseURL, "\n", e.CACert, "\n", e.RequestTimeout, "\n", e.MaxConcurrency)
}

func (e *configEntry) clone() *configEntry {
	next := *e
	next.AllowedRoles = slices.Clone(e.AllowedRoles)
	next.Fields = maps.Clone(e.Fields)
	if next.Fields == nil {
		next.Fields = provider.Values{}
	}
	return &next
}

func loadConfig(ctx context.Context, s logical.Storage, name string) (*configEntry, error) {
	return load[configEntry](ctx, s, configKey(name))
}

// allows refuses a role that may not use the connection, with 400.
func (c *connection) allows(role *roleEntry) error {
	if !strutil.StrListContainsGlob(c.entry.AllowedRoles, role.name) {
		return badField("config_name", "connection %q does not allow role %q; add it to allowed_roles of config/%s", c.name, role.name, c.name)
	}
	return c.provider.CheckRole(c.entry.Fields, role.Fields)
}

func (b *backend) configPaths() []*framework.Path {
	fields := map[string]*framework.FieldSchema{
		"name":            {Type: framework.TypeString, Description: "Name of the connection.", Required: true},
		"provider":        {Type: framework.TypeString, Description: "LLM provider: " + strings.Join(b.registry.Names(), ", ") + ". Cannot change while keys are live."},
		"admin_key":       {Type: framework.TypeString, Description: "Credential that mints and deletes keys at the provider. Never read back.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		"admin_key_id":    {Type: framework.TypeString, Description: "The provider's id of the admin key."},
		"base_url":        {Type: framework.TypeString, Description: "Address of the provider's API; empty for the provider's own. Changing it needs admin_key in the same write."},
		"allow_http":      {Type: framework.TypeBool, Description: "Accept a base_url without TLS that is not on loopback."},
		"ca_cert":         {Type: framework.TypeString, Description: "PEM certificates to trust instead of the system's."},
		"request_timeout": {Type: framework.TypeDurationSecond, Description: "How long one request to the provider may take: 1s to 60s.", Default: 30},
		"max_concurrency": {Type: framework.TypeInt, Description: "How many requests may be under way at once: 1 to 256.", Default: 16},
		"allowed_roles":   {Type: framework.TypeCommaStringSlice, Description: "Roles that may use the connection; * stands for anything, slashes included.", Default: []string{"*"}},
		"verify":          {Type: framework.TypeBool, Description: "Try the admin key at the provider before storing it. Not stored.", Default: true},
		"expiry_grace":    {Type: framework.TypeDurationSecond, Description: "How long the provider's own expiry of a key lies behind the end of its lease: 2m to 24h.", Default: 600},
	}
	maps.Copy(fields, b.registry.ConfigFields())
	return []*framework.Path{
		{
			Pattern:      configPrefix + "?$",
			DisplayAttrs: display("connections"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listConfigs, "List the connections."),
			},
			HelpSynopsis:    "List the connections to LLM providers.",
			HelpDescription: "Names of all connections of this mount, sorted.",
		},
		{
			Pattern:        configPrefix + framework.GenericNameRegex("name") + "$",
			DisplayAttrs:   display("connection"),
			Fields:         fields,
			ExistenceCheck: existence(configKey),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   reading(b.readConfig, "Read a connection, without its admin key.", b.configAnswer(fields)),
				logical.CreateOperation: writing(b.writeConfig, "Create a connection."),
				logical.UpdateOperation: writing(b.writeConfig, "Change some or all fields of a connection."),
				logical.DeleteOperation: writing(b.deleteConfig, "Delete a connection that nothing uses."),
			},
			HelpSynopsis: "Connect the mount to an account at an LLM provider.",
			HelpDescription: `
A connection holds the admin key that mints and deletes keys. Write provider and
admin_key first; a later write changes only the fields that it names. The key is
tried at the provider before it is stored, unless verify=false. A connection
cannot be deleted while roles use it or while keys minted through it may be live.`,
		},
	}
}

// configAnswer describes what a read of a connection returns.
func (b *backend) configAnswer(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	answer := maps.Clone(fields)
	for _, hidden := range []string{"name", "admin_key", "verify"} {
		delete(answer, hidden)
	}
	answer["admin_key_fingerprint"] = &framework.FieldSchema{Type: framework.TypeString, Description: "Changes when the admin key does; tells nothing of it."}
	answer["live_keys"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Keys of this connection that may exist at the provider."}
	answer["last_error"] = &framework.FieldSchema{Type: framework.TypeString, Description: "Time and text of the last failure of the connection; empty after a success, and after a restart."}
	return answer
}

func (b *backend) listConfigs(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := list(ctx, req.Storage, configPrefix)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

func (b *backend) readConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	e, err := loadConfig(ctx, req.Storage, name)
	if err != nil || e == nil {
		return nil, err
	}
	live, err := b.ledger(req.Storage).countConfig(ctx, name)
	if err != nil {
		return nil, err
	}
	mount, err := b.mount(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"provider":              e.Provider,
		"admin_key_id":          e.AdminKeyID,
		"base_url":              e.BaseURL,
		"allow_http":            e.AllowHTTP,
		"ca_cert":               e.CACert,
		"request_timeout":       int64(e.RequestTimeout),
		"max_concurrency":       e.MaxConcurrency,
		"allowed_roles":         nonNil(e.AllowedRoles),
		"expiry_grace":          int64(e.ExpiryGrace),
		"admin_key_fingerprint": keyHash(mount.Salt, e.AdminKey)[:16],
		"live_keys":             live,
		"last_error":            b.lastError(ctx, req.Storage, name),
	}
	if p, ok := b.registry.Get(e.Provider); ok {
		providerFields(p.ConfigFields(), e.Fields, data)
	}
	return &logical.Response{Data: data}, nil
}

// lastError is the last failure that lies with the connection; empty after a
// success, and after a restart.
func (b *backend) lastError(ctx context.Context, s logical.Storage, name string) string {
	conn, err := b.connection(ctx, s, name)
	if err != nil {
		return err.Error()
	}
	return conn.health.read()
}

func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, release, err := b.lockNamed(ctx, "connection", d)
	if err != nil {
		return nil, err
	}
	defer release()
	old, err := loadConfig(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	next, err := b.nextConfig(ctx, req.Storage, d, name, old)
	if err != nil {
		return nil, err
	}
	conn, err := b.connect(name, next, nil)
	if err != nil {
		return nil, err
	}
	defer conn.transport.Close()
	verify := true
	if set(d, "verify", &verify); verify {
		if err := verifyAdmin(ctx, conn); err != nil {
			return nil, err
		}
	}
	entry, err := logical.StorageEntryJSON(configKey(name), next)
	if err != nil {
		return nil, fmt.Errorf("encode connection %q: %w", name, err)
	}
	entry.SealWrap = true
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	err = req.Storage.Put(ctx, entry)
	b.dropConnection(name) // whatever came of it: storage says what holds
	if err != nil {
		return nil, fmt.Errorf("write connection %q: %w", name, err)
	}
	b.Logger().Info("connection written", "config", name, "provider", next.Provider)
	return nil, nil
}

// nextConfig applies a write to a copy of what is stored, and checks it.
func (b *backend) nextConfig(ctx context.Context, s logical.Storage, d *framework.FieldData, name string, old *configEntry) (*configEntry, error) {
	next := newConfigEntry()
	if old != nil {
		next = old.clone()
	}
	set(d, "provider", &next.Provider)
	p, err := b.configProvider(next.Provider)
	if err != nil {
		return nil, err
	}
	if old != nil && old.Provider != next.Provider {
		if err := b.mayChangeProvider(ctx, s, name); err != nil {
			return nil, err
		}
		next.Fields = provider.Values{}
	}
	if err := b.applyConfig(d, p, next); err != nil {
		return nil, err
	}
	if err := checkBaseURL(next); err != nil {
		return nil, err
	}
	if old != nil && !given(d, "admin_key") && (old.BaseURL != next.BaseURL || old.Provider != next.Provider) {
		return nil, badField("admin_key", "is missing; a write that changes base_url or provider must hold it, for a stored key is never sent to a new host")
	}
	return next, p.CheckConfig(next.settings())
}

func (b *backend) configProvider(name string) (provider.Provider, error) {
	p, ok := b.registry.Get(name)
	switch known := strings.Join(b.registry.Names(), ", "); {
	case name == "":
		return nil, badField("provider", "is missing; give one of %s", known)
	case !ok:
		return nil, badField("provider", "is not known; give one of %s", known)
	}
	return p, nil
}

func (b *backend) mayChangeProvider(ctx context.Context, s logical.Storage, name string) error {
	live, err := b.ledger(s).holdsAny(ctx, name)
	if err != nil {
		return err
	}
	if live {
		return badField("provider", "cannot change while keys of connection %q may be live; revoke their leases first, or write another connection", name)
	}
	return nil
}

func (b *backend) applyConfig(d *framework.FieldData, p provider.Provider, e *configEntry) error {
	set(d, "admin_key", &e.AdminKey)
	set(d, "admin_key_id", &e.AdminKeyID)
	set(d, "base_url", &e.BaseURL)
	set(d, "allow_http", &e.AllowHTTP)
	set(d, "ca_cert", &e.CACert)
	set(d, "allowed_roles", &e.AllowedRoles)
	return firstError(
		setSeconds(d, "request_timeout", &e.RequestTimeout, time.Second, time.Minute),
		setInt(d, "max_concurrency", &e.MaxConcurrency, 1, 256),
		setSeconds(d, "expiry_grace", &e.ExpiryGrace, minExpiryGrace, 24*time.Hour),
		setProviderFields(d, b.registry.ConfigFields(), p.ConfigFields(), p, e.Fields),
	)
}

// verifyAdmin tries the admin key at the provider.
func verifyAdmin(ctx context.Context, conn *connection) error {
	verifier, ok := conn.client.(provider.AdminVerifier)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, verifyBudget)
	defer cancel()
	err := verifier.VerifyAdmin(ctx)
	switch provider.KindOf(err) {
	case provider.Unauthorized, provider.Forbidden:
		return badField("admin_key", "is refused by the provider (%s); give a live admin key, or verify=false to store it untried", err)
	}
	if err != nil {
		return fmt.Errorf("try the admin key (verify=false stores it untried): %w", err)
	}
	return nil
}

// verifyBudget bounds the trial of an admin key.
const verifyBudget = 45 * time.Second
