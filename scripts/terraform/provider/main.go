// Command terraform-provider-vault is the Terraform provider that the tests use.
//
// It is HashiCorp's own, with the code that matters here: vault_generic_endpoint,
// vault_mount, vault_policy and vault_approle_auth_backend_role. Its module has no
// major version in its path, so only commits of it can be named, and the newest
// that could be had is that of 3.3.1. This lacks vault_plugin and
// vault_plugin_pinned_version. They are added here, with the fields and ids that
// they have in 5.9, for what the module in bootstrap/terraform asks of them: these
// two, and only these, are not HashiCorp's code.
//
// With TERRAFORM_PROVIDER_VAULT the same tests run with another build.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	tfschema "github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
	"github.com/hashicorp/terraform-provider-vault/schema"
	"github.com/hashicorp/terraform-provider-vault/vault"
	"github.com/hashicorp/vault/api"
)

func main() {
	provider := schema.NewProvider(vault.Provider())
	provider.RegisterResource("vault_plugin", pluginResource())
	provider.RegisterResource("vault_plugin_pinned_version", pinResource())
	plugin.Serve(&plugin.ServeOpts{ProviderFunc: provider.SchemaProvider})
}

func text(required, forceNew bool) *tfschema.Schema {
	return &tfschema.Schema{Type: tfschema.TypeString, Required: required, Optional: !required, ForceNew: forceNew}
}

func texts(sensitive bool) *tfschema.Schema {
	return &tfschema.Schema{
		Type: tfschema.TypeList, Optional: true, Sensitive: sensitive,
		Elem: &tfschema.Schema{Type: tfschema.TypeString},
	}
}

// pluginResource is a registered version of a plugin. Its id is
// TYPE/version/VERSION/name/NAME.
func pluginResource() *tfschema.Resource {
	return &tfschema.Resource{
		CreateContext: writePlugin,
		UpdateContext: writePlugin,
		ReadContext:   readPlugin,
		DeleteContext: deletePlugin,
		Importer:      &tfschema.ResourceImporter{StateContext: tfschema.ImportStatePassthroughContext},
		Schema: map[string]*tfschema.Schema{
			"type":    text(true, true),
			"name":    text(true, true),
			"version": text(true, true),
			"sha256":  text(true, false),
			"command": text(true, false),
			"args":    texts(false),
			"env":     texts(true),
		},
	}
}

func catalogPath(d *tfschema.ResourceData) string {
	return fmt.Sprintf("sys/plugins/catalog/%s/%s", d.Get("type"), d.Get("name"))
}

func writePlugin(ctx context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	body := map[string]any{}
	for _, field := range []string{"version", "sha256", "command", "args", "env"} {
		body[field] = d.Get(field)
	}
	if _, err := meta.(*api.Client).Logical().Write(catalogPath(d), body); err != nil {
		return diag.FromErr(err)
	}
	d.SetId(fmt.Sprintf("%s/version/%s/name/%s", d.Get("type"), d.Get("version"), d.Get("name")))
	return readPlugin(ctx, d, meta)
}

func readPlugin(_ context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	parts := strings.SplitN(d.Id(), "/", 5)
	if len(parts) != 5 || parts[1] != "version" || parts[3] != "name" {
		return diag.Errorf("id %q: it is not TYPE/version/VERSION/name/NAME", d.Id())
	}
	set := map[string]any{"type": parts[0], "version": parts[2], "name": parts[4]}
	for field, value := range set {
		if err := d.Set(field, value); err != nil {
			return diag.FromErr(err)
		}
	}
	found, err := meta.(*api.Client).Logical().ReadWithData(catalogPath(d), map[string][]string{"version": {parts[2]}})
	if refused, ok := errors.AsType[*api.ResponseError](err); found == nil && (err == nil || ok && refused.StatusCode == http.StatusNotFound) {
		d.SetId("") // it is gone
		return nil
	}
	if err != nil {
		return diag.FromErr(err)
	}
	for _, field := range []string{"sha256", "command", "args"} {
		if err := d.Set(field, found.Data[field]); err != nil {
			return diag.FromErr(err)
		}
	}
	return nil
}

func deletePlugin(_ context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	c := meta.(*api.Client)
	r := c.NewRequest(http.MethodDelete, "/v1/"+catalogPath(d))
	r.Params.Set("version", d.Get("version").(string))
	resp, err := c.RawRequest(r) //nolint:staticcheck // as the client's own deregistration does
	if resp != nil {
		resp.Body.Close()
	}
	return diag.FromErr(err)
}

// pinResource is the version that all mounts of a plugin run. Its id is TYPE/NAME.
func pinResource() *tfschema.Resource {
	return &tfschema.Resource{
		CreateContext: writePin,
		UpdateContext: writePin,
		ReadContext:   readPin,
		DeleteContext: deletePin,
		Importer:      &tfschema.ResourceImporter{StateContext: tfschema.ImportStatePassthroughContext},
		Schema:        map[string]*tfschema.Schema{"type": text(true, true), "name": text(true, true), "version": text(true, false)},
	}
}

func writePin(_ context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	id := fmt.Sprintf("%s/%s", d.Get("type"), d.Get("name"))
	body := map[string]any{"version": d.Get("version")}
	if _, err := meta.(*api.Client).Logical().Write("sys/plugins/pins/"+id, body); err != nil {
		return diag.FromErr(err)
	}
	d.SetId(id)
	return nil
}

func readPin(_ context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	found, err := meta.(*api.Client).Logical().Read("sys/plugins/pins/" + d.Id())
	if err != nil {
		return diag.FromErr(err)
	}
	if found == nil {
		d.SetId("")
		return nil
	}
	kind, name, _ := strings.Cut(d.Id(), "/")
	for field, value := range map[string]any{"type": kind, "name": name, "version": found.Data["version"]} {
		if err := d.Set(field, value); err != nil {
			return diag.FromErr(err)
		}
	}
	return nil
}

func deletePin(_ context.Context, d *tfschema.ResourceData, meta any) diag.Diagnostics {
	_, err := meta.(*api.Client).Logical().Delete("sys/plugins/pins/" + d.Id())
	return diag.FromErr(err)
}
