# Registers the plugin, mounts it, and writes connections and roles. README.md says
# how to use this.

locals {
  plugin_command = var.plugin_command != "" ? var.plugin_command : "${var.plugin_name}_${var.plugin_version}"
  registered     = var.register_plugin ? 1 : 0

  # What is null would be a field that is written. It is left out instead.
  connections  = { for name, fields in var.connections : name => { for k, v in fields : k => v if v != null } }
  roles        = { for name, fields in var.roles : name => { for k, v in fields : k => v if v != null } }
  static_roles = { for name, fields in var.static_roles : name => { for k, v in fields : k => v if v != null } }
}

# A version is registered beside the one before it, pinned, and only then is the old
# one taken out: a pinned version cannot be.
resource "vault_plugin" "this" {
  count = local.registered

  type    = "secret"
  name    = var.plugin_name
  version = var.plugin_version
  sha256  = var.plugin_sha256
  command = local.plugin_command

  lifecycle {
    create_before_destroy = true
    precondition {
      condition     = var.plugin_version != "" && can(regex("^[0-9a-f]{64}$", var.plugin_sha256))
      error_message = "register_plugin needs plugin_version, and plugin_sha256 of 64 hexadecimal digits."
    }
  }
}

# All mounts of the plugin run the pinned version, so the mount names none.
resource "vault_plugin_pinned_version" "this" {
  count = local.registered

  type    = vault_plugin.this[0].type
  name    = vault_plugin.this[0].name
  version = vault_plugin.this[0].version
}

# Until a reload the old process serves. There is no resource for that: this one
# writes to the endpoint again whenever the plugin or the pin changes.
resource "vault_generic_endpoint" "reload" {
  count = local.registered

  path           = "sys/plugins/reload/secret/${var.plugin_name}"
  data_json      = "{}"
  disable_read   = true
  disable_delete = true

  lifecycle {
    replace_triggered_by = [vault_plugin.this, vault_plugin_pinned_version.this]
  }
}

resource "vault_mount" "this" {
  path        = var.mount
  type        = var.plugin_name
  description = var.description

  # The ids and names of keys are no secrets; readable in the audit log, they lead
  # from there to the provider's console.
  audit_non_hmac_response_keys = ["key_id", "name"]

  depends_on = [vault_generic_endpoint.reload]
}

resource "vault_generic_endpoint" "connection" {
  for_each = local.connections

  path                 = "${vault_mount.this.path}/config/${each.key}"
  ignore_absent_fields = true
  data_json = jsonencode(merge(
    each.value,
    contains(keys(var.admin_keys), each.key) ? { admin_key = var.admin_keys[each.key] } : {},
  ))

  # One that gets another name is made before its roles move, and deleted after that.
  lifecycle {
    create_before_destroy = true
  }
}

resource "vault_generic_endpoint" "role" {
  for_each = local.roles

  path                 = "${vault_mount.this.path}/roles/${each.key}"
  ignore_absent_fields = true
  data_json            = jsonencode(each.value)

  depends_on = [vault_generic_endpoint.connection]
}

resource "vault_generic_endpoint" "static_role" {
  for_each = local.static_roles

  path                 = "${vault_mount.this.path}/static-roles/${each.key}"
  ignore_absent_fields = true
  data_json            = jsonencode(each.value)

  depends_on = [vault_generic_endpoint.connection]
}
