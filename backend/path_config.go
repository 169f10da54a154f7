package backend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
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
//	{"version":2,"provider":"openai","admin_key":"…","admin_key_id":"key_…","admin_record":"…",
//	 "request_timeout":30,"max_concurrency":16,"allowed_roles":["*"],"expiry_grace":600,
//	 "rotation":{"rotation_period":86400,…},"fields":{…}}
type configEntry struct {
	Version  int    `json:"version"`
	Provider string `json:"provider"`

	AdminKey   string `json:"admin_key"`
	AdminKeyID string `json:"admin_key_id,omitempty"` // at the provider; empty if not known
	// AdminRecord is the id of the admin key's record. Empty until the first
	// rotation for connections of before version 2.
	AdminRecord string `json:"admin_record,omitempty"`
	// AdminMinted says that a rotation made the admin key, so that nobody else has it.
	AdminMinted     bool      `json:"admin_minted,omitempty"`
	AdminKeyExpires time.Time `json:"admin_key_expires,omitzero"` // zero if never, or not known

	// Candidate is a new admin key that is not in use yet.
	Candidate *candidate `json:"candidate,omitempty"`
	// PreviousRecord is the record of the admin key that the present one has
	// replaced, if it is to be deleted: not before the overlap is over.
	PreviousRecord string `json:"previous_record,omitempty"`
	// RefusedSince is since when the admin key of a deleted connection is refused;
	// zero in all others.
	RefusedSince time.Time `json:"refused_since,omitzero"`
	// Retired are hashes of keys that operators wrote and rotations replaced.
	Retired []string `json:"retired,omitempty"`

	BaseURL        string   `json:"base_url,omitempty"`
	AllowHTTP      bool     `json:"allow_http,omitempty"`
	CACert         string   `json:"ca_cert,omitempty"`
	RequestTimeout seconds  `json:"request_timeout"`
	MaxConcurrency int      `json:"max_concurrency"`
	AllowedRoles   []string `json:"allowed_roles"`
	ExpiryGrace    seconds  `json:"expiry_grace"`

	Rotation rotationEntry   `json:"rotation"`
	Fields   provider.Values `json:"fields,omitempty"` // the provider's own
}

// A candidate is an admin key that was minted and is being tried.
type candidate struct {
	Record  string    `json:"record"`
	Key     string    `json:"admin_key"`
	KeyID   string    `json:"admin_key_id"`
	Expires time.Time `json:"expires,omitzero"`
	Made    time.Time `json:"made"`
}

const configVersion = 2

func newConfigEntry() *configEntry {
	return &configEntry{
		Version:        configVersion,
		RequestTimeout: 30,
		MaxConcurrency: 16,
		AllowedRoles:   []string{"*"},
		ExpiryGrace:    600,
		Rotation:       rotationEntry{Overlap: defaultOverlap},
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
	next.Retired = slices.Clone(e.Retired)
	next.Fields = maps.Clone(e.Fields)
	if next.Fields == nil {
		next.Fields = provider.Values{}
	}
	return &next
}

func loadConfig(ctx context.Context, s logical.Storage, name string) (*configEntry, error) {
	e, err := load[configEntry](ctx, s, configKey(name))
	if e != nil && e.Version < configVersion { // before rotation
		e.Version, e.Rotation.Overlap = configVersion, defaultOverlap
	}
	return e, err
}

// putConfig stores a connection. What it changes about the admin key leaves work
// to do, so the sweep is first told to look, now and at the next rotation. After
// an error the entry may be stored all the same: only a read can tell. The caller
// holds the connection's slot.
func (b *backend) putConfig(ctx context.Context, s logical.Storage, name string, e *configEntry) error {
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	for _, at := range []time.Time{b.now(), e.rotateAt()} {
		if err := b.ledger(s).hint(ctx, adminPointer(name), at); err != nil {
			return err
		}
	}
	err := saveSealed(ctx, s, configKey(name), e)
	b.dropConnection(name) // whatever came of it: storage says what holds
	return err
}

// allows refuses a role that may not use the connection, with 400.
func (c *connection) allows(role *keyRole) error {
	if !strutil.StrListContainsGlob(c.entry.AllowedRoles, role.name) {
		return badField("config_name", "connection %q does not allow role %q; add it to allowed_roles of config/%s", c.name, role.name, c.name)
	}
	return provider.CheckRole(c.provider, c.entry.Fields, role.Fields)
}

func (b *backend) configPaths() []*framework.Path {
	fields := map[string]*framework.FieldSchema{
		"name":            {Type: framework.TypeString, Description: "Name of the connection.", Required: true},
		"provider":        {Type: framework.TypeString, Description: "LLM provider: " + strings.Join(b.registry.Names(), ", ") + ". Required. Cannot change while keys are live."},
		"admin_key":       {Type: framework.TypeString, Description: "Credential that mints and deletes keys at the provider. Where the engine makes it itself, leave it out, or give generate for a new one. Never read back.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
		"admin_key_id":    {Type: framework.TypeString, Description: "The provider's id of the admin key. Found out by itself where the provider shows enough; without it the key cannot be deleted after a rotation."},
		"base_url":        {Type: framework.TypeString, Description: "Address of the provider's API; empty for the provider's own. Changing it needs admin_key in the same write."},
		"allow_http":      {Type: framework.TypeBool, Description: "Accept a base_url without TLS that is not on loopback."},
		"ca_cert":         {Type: framework.TypeString, Description: "PEM certificates to trust instead of the system's. Changing them needs admin_key in the same write."},
		"request_timeout": {Type: framework.TypeDurationSecond, Description: "How long one request to the provider may take: 1s to 60s.", Default: 30},
		"max_concurrency": {Type: framework.TypeInt, Description: "How many requests may be under way at once: 1 to 256.", Default: 16},
		"allowed_roles":   {Type: framework.TypeCommaStringSlice, Description: "Roles that may use the connection; * stands for anything, slashes included.", Default: []string{"*"}},
		"verify":          {Type: framework.TypeBool, Description: "Try the admin key at the provider before storing it. Not stored.", Default: true},
		"expiry_grace":    {Type: framework.TypeDurationSecond, Description: "How long the provider's own expiry of a key lies behind the end of its lease: 2m to 24h. Tokens end with their lease.", Default: 600},
		"force":           {Type: framework.TypeBool, Description: "Only for delete: give up what the connection still has at the provider, and say what that is.", Query: true},
	}
	maps.Copy(fields, rotationFields())
	maps.Copy(fields, b.registry.ConfigFields())
	refused := []int{http.StatusBadGateway, http.StatusServiceUnavailable}
	return []*framework.Path{
		{
			Pattern:      configPrefix + "?$",
			DisplayAttrs: display("connections"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listConfigs, "List the connections."),
			},
			HelpSynopsis:    "List the connections to LLM providers.",
			HelpDescription: "Names of all connections of this mount.",
		},
		{
			Pattern:        configPrefix + framework.GenericNameRegex("name") + "$",
			DisplayAttrs:   display("connection"),
			Fields:         fields,
			ExistenceCheck: existence(configKey),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayRefuse(reading(b.readConfig, "Read a connection, without its admin key.", b.configAnswer(fields)), http.StatusNotFound),
				logical.CreateOperation: mayRefuse(forwarded(b.writeConfig, "Create a connection, or change some or all of its fields.", okOrNothing()), refused...),
				logical.UpdateOperation: mayRefuse(forwarded(b.writeConfig, "Create a connection, or change some or all of its fields.", okOrNothing()), refused...),
				logical.DeleteOperation: mayRefuse(forwarded(b.deleteConfig, "Delete a connection that nothing uses.", okOrNothing()), refused...),
			},
			HelpSynopsis: "Connect the mount to an account at an LLM provider.",
			HelpDescription: `
A connection holds the admin key that mints and deletes keys. Write provider and
admin_key first, but for a provider whose key the engine makes itself: then a read
says what to enter at the provider. A later write changes only the fields that it names. The key is
tried at the provider before it is stored, unless verify=false. Rotate it by
rotate-root/, or by itself with rotation_period or rotation_schedule: then nobody
but this mount has it. An admin_key that a rotation has replaced is ignored when it
is written again. A connection cannot be deleted while roles use it or while keys
minted through it may be live, unless force=true.`,
		},
	}
}

// configAnswer describes what a read of a connection returns.
func (b *backend) configAnswer(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	answer := answering(fields, "name", "admin_key", "verify", "force")
	maps.Copy(answer, rotationAnswer())
	maps.Copy(answer, texts(b.registry.Answers().Connection))
	answer["admin_key_fingerprint"] = &framework.FieldSchema{Type: framework.TypeString, Description: "Changes when the admin key does; tells nothing of it."}
	answer["live_keys"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Keys of roles that may exist at the provider because of this connection."}
	answer["last_error"] = &framework.FieldSchema{Type: framework.TypeString, Description: "What is wrong with the connection, with times: a rotation or the deletion of a replaced admin key that failed, and the last call if it failed."}
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
	lastError, err := b.lastError(ctx, req.Storage, name, e)
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
		"last_error":            lastError,
	}
	e.rotationData(data)
	if p, ok := b.registry.Get(e.Provider); ok {
		providerFields(p.ConfigFields(), e.Fields, data)
		if publisher, ok := p.(provider.Publisher); ok {
			copyStrings(data, publisher.Publish(e.settings(), mount.Tag))
		}
	}
	return &logical.Response{Data: data}, nil
}

// lastError says all that is wrong with a connection: a rotation that failed, a
// replaced admin key that could not be deleted, and the last call, if it failed,
// of which nothing is known after a restart.
func (b *backend) lastError(ctx context.Context, s logical.Storage, name string, e *configEntry) (string, error) {
	problems := []string{e.Rotation.LastError}
	recs, err := b.ledger(s).ofRole(ctx, name, "")
	if err != nil {
		return "", err
	}
	for _, rec := range recs {
		if rec.LastError != "" {
			problems = append(problems, fmt.Sprintf("admin key %s is still to be deleted: %s", cmp.Or(rec.KeyID, rec.Name, rec.ID), rec.LastError))
		}
	}
	if conn, err := b.connection(ctx, s, name); err != nil {
		problems = append(problems, err.Error())
	} else {
		problems = append(problems, conn.health.read())
	}
	return strings.Join(slices.DeleteFunc(problems, func(p string) bool { return p == "" }), "; "), nil
}
