package backend

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	defaultMaxAge  = 90 * 24 * time.Hour
	defaultMaxIdle = 30 * 24 * time.Hour
	longestAge     = 100 * 365 * 24 * time.Hour
)

func (b *backend) auditPaths() []*framework.Path {
	name := &framework.FieldSchema{Type: framework.TypeString, Description: "Name of the connection.", Required: true}
	return []*framework.Path{
		{
			Pattern:      "audit/" + framework.GenericNameRegex("name") + "$",
			DisplayAttrs: display("audit"),
			Fields: map[string]*framework.FieldSchema{
				"name":     name,
				"max_age":  {Type: framework.TypeDurationSecond, Description: "A key that is older is stale.", Default: int(defaultMaxAge.Seconds()), Query: true},
				"max_idle": {Type: framework.TypeDurationSecond, Description: "A key that was not used for longer is idle, where the provider tells.", Default: int(defaultMaxIdle.Seconds()), Query: true},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayRefuse(forwarded(b.readAudit, "Compare the keys at the provider with the ledger.", okResponse(auditFields())), http.StatusNotFound),
			},
			HelpSynopsis: "Say which keys of an account need attention, whose they are and what to do.",
			HelpDescription: `
All keys of the account, made here or not, are compared with the ledger. Each
class has a count and its first 100 keys, with their owner and a remedy. Nothing
is changed. If complete is false, problems says what could not be looked at.`,
		},
		{
			Pattern:      "tidy/" + framework.GenericNameRegex("name") + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "tidy", OperationSuffix: "orphaned-keys"},
			Fields: map[string]*framework.FieldSchema{
				"name":          name,
				"dry_run":       {Type: framework.TypeBool, Description: "Only say what would be deleted.", Default: true},
				"safety_buffer": {Type: framework.TypeDurationSecond, Description: "How long ago a key must have been made, and last used: at least 1m.", Default: int(tidyBuffer.Seconds())},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: mayRefuse(forwarded(b.writeTidy, "Find, and with dry_run=false delete, the orphaned keys of a connection.", okResponse(tidyFields())), http.StatusNotFound),
			},
			HelpSynopsis: "Delete keys that this mount made and that its ledger does not know.",
			HelpDescription: `
There are such keys after a restore of Vault from a backup. They are told by the
name that this mount gave them; keys of others, of other mounts too, are never
touched, nor are admin keys, nor keys that were used within safety_buffer. A copy of
this Vault, made from a backup, gives the same names: never tidy in one while the
other lives. Without dry_run=false nothing is deleted.`,
		},
		{
			Pattern:      "tidy-status$",
			DisplayAttrs: display("tidy-status"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: forwarded(b.readTidyStatus, "Read how the last tidy of each connection went.", okResponse(map[string]*framework.FieldSchema{
					"connections": {Type: framework.TypeMap, Description: "For each connection, what its last tidy has answered: " + strings.Join(slices.Sorted(maps.Keys(tidyFields())), ", ") + "; the items with " + orphanFields + "."},
				})),
			},
			HelpSynopsis:    "Say how the last tidy of each connection went.",
			HelpDescription: "A tidy whose process has ended before it did is interrupted: write it again.",
		},
	}
}

func auditFields() map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		"complete":         {Type: framework.TypeBool, Description: "Whether all of the account was looked at."},
		"problems":         {Type: framework.TypeStringSlice, Description: "What was not looked at, and why."},
		"audited_at":       {Type: framework.TypeString, Description: "When the audit began, in RFC 3339."},
		"keys_at_provider": {Type: framework.TypeInt, Description: "Keys that the provider has listed, admin keys included."},
		"keys_in_ledger":   {Type: framework.TypeInt, Description: "Records of this connection, admin keys included."},
	}
	for c, what := range map[class]string{
		unmanaged: "Keys at the provider that this mount did not make",
		missing:   "Keys of the ledger that are gone at the provider",
		orphaned:  "Keys and service accounts that this mount made and the ledger does not know",
		ownerless: "Keys for which nobody answers: no entity asked for them, or it is deleted or disabled",
		stale:     "Keys older than max_age",
		idle:      "Keys that were not used for max_idle",
		overdue:   "Static roles, and the admin key, whose rotation is late or fails",
	} {
		fields[string(c)] = &framework.FieldSchema{Type: framework.TypeMap, Description: what + ": their count, and items, the first 100, each with kind, key_id, name, scope, owner, id, role, created_at, last_used_at, why and remedy."}
	}
	return fields
}

// orphanFields are those of an orphan that was found.
const orphanFields = "kind, key_id, name, scope, created_at and outcome"

func tidyFields() map[string]*framework.FieldSchema {
	number := func(what string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeInt, Description: what}
	}
	return map[string]*framework.FieldSchema{
		"state":         {Type: framework.TypeString, Description: "How it went: running, finished, incomplete, or interrupted by the end of its process."},
		"dry_run":       {Type: framework.TypeBool, Description: "Whether it only said what it would delete."},
		"safety_buffer": number("How old a key had to be, in seconds."),
		"started_at":    {Type: framework.TypeString, Description: "When the tidy began, in RFC 3339."},
		"finished_at":   {Type: framework.TypeString, Description: "When the tidy ended, in RFC 3339; empty while it runs."},
		"by":            {Type: framework.TypeString, Description: "Who asked for the tidy."},
		"listed":        number("Keys that the provider has listed."),
		"found":         number("Orphans among the keys that were listed, and service accounts."),
		"deleted":       number("Orphans that are deleted."),
		"skipped":       number("Orphans that are left: too young, of unknown age, in use, or admin keys."),
		"failed":        number("Orphans that could not be deleted."),
		"items":         {Type: framework.TypeSlice, Description: "The first 100 orphans, each with " + orphanFields + ", which says what became of it."},
		"problems":      {Type: framework.TypeStringSlice, Description: "What could not be looked at, and why."},
	}
}

// age reads a duration of the request that bounds what is reported.
func age(d *framework.FieldData, name string, otherwise time.Duration) (time.Duration, error) {
	value := seconds(otherwise / time.Second)
	err := setSeconds(d, name, &value, time.Second, longestAge)
	return value.duration(), err
}

func (b *backend) readAudit(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	a, err := b.newAudit(ctx, req, d.Get("name").(string))
	if err != nil {
		return nil, err
	}
	if a.maxAge, err = age(d, "max_age", defaultMaxAge); err != nil {
		return nil, err
	}
	if a.maxIdle, err = age(d, "max_idle", defaultMaxIdle); err != nil {
		return nil, err
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	b.metrics.audited(a.conn.name, a.found, len(a.problems) == 0, b.now())
	data := map[string]any{
		"complete":         len(a.problems) == 0,
		"problems":         nonNil(a.problems),
		"audited_at":       rfc3339(a.began),
		"keys_at_provider": a.listed,
		"keys_in_ledger":   a.records,
	}
	for _, c := range classes {
		data[string(c)] = a.found[c].data()
	}
	resp := &logical.Response{Data: data}
	if len(a.problems) > 0 {
		resp.AddWarning("the audit is incomplete; problems says what was not looked at")
	}
	return resp, nil
}

func (b *backend) writeTidy(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	buffer := seconds(tidyBuffer / time.Second)
	if err := setSeconds(d, "safety_buffer", &buffer, tidyBufferLeast, tidyBufferMost); err != nil {
		return nil, err
	}
	e, err := b.tidy(ctx, req, d.Get("name").(string), d.Get("dry_run").(bool), buffer)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: e.data()}
	if e.State == tidyIncomplete {
		resp.AddWarning("not everything could be looked at or deleted; problems and items say what")
	}
	if e.Skipped > 0 {
		resp.AddWarning(fmt.Sprintf("%d of %d orphans are left as they are; items says why", e.Skipped, e.Found))
	}
	if e.DryRun && e.Found > e.Skipped {
		resp.AddWarning("nothing was deleted; write dry_run=false to delete what would be")
	}
	return resp, nil
}

func (b *backend) readTidyStatus(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	all, err := b.tidyStatus(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	connections := map[string]any{}
	for config, e := range all {
		connections[config] = e.data()
	}
	return &logical.Response{Data: map[string]any{"connections": connections}}, nil
}
