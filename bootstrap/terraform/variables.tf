# The plugin.

variable "register_plugin" {
  description = "Register the plugin, pin its version, and reload it after a change. false: somebody else does, as in a namespace."
  type        = bool
  default     = true
}

variable "plugin_name" {
  description = "Name of the plugin in Vault's catalog; the type of the mount."
  type        = string
  default     = "vault-plugin-secrets-llm"
}

variable "plugin_version" {
  description = "What the binary says of itself, with its leading v; must be known when planning. Needed with register_plugin."
  type        = string
  default     = ""
}

variable "plugin_sha256" {
  description = "SHA-256 of the unpacked binary; must be known when planning. Needed with register_plugin."
  type        = string
  default     = ""
}

variable "plugin_command" {
  description = "File name of the binary in plugin_directory. Empty: plugin_name, an underscore and plugin_version."
  type        = string
  default     = ""
}

# The mount.

variable "mount" {
  description = "Where the engine is mounted, without slash at the end."
  type        = string
  default     = "llm"
}

variable "description" {
  description = "Description of the mount."
  type        = string
  default     = "Short-lived keys of LLM providers"
}

# Connections and roles. Durations are seconds. A field that is left out is not
# written, so it keeps the value that it has: write its zero to reset it.

variable "connections" {
  description = "Connections by name: the fields of config/<name>, but for admin_key."
  type = map(object({
    provider        = string
    base_url        = optional(string)
    allow_http      = optional(bool)
    ca_cert         = optional(string)
    request_timeout = optional(number)
    max_concurrency = optional(number)
    allowed_roles   = optional(list(string))
    expiry_grace    = optional(number)
    verify          = optional(bool)

    rotation_period            = optional(number)
    rotation_schedule          = optional(string)
    rotation_window            = optional(number)
    rotation_overlap           = optional(number)
    disable_automated_rotation = optional(bool)
    admin_key_ttl              = optional(number)

    organization_id    = optional(string)       # openai, anthropic
    allowed_projects   = optional(list(string)) # openai
    allowed_teams      = optional(list(string)) # litellm
    allowed_workspaces = optional(list(string)) # openrouter, anthropic-pool
    quarantine         = optional(number)       # anthropic-pool
    issuer_url         = optional(string)       # anthropic
    audience           = optional(string)       # anthropic
    issuer_id          = optional(string)       # anthropic
    admin_rule_id      = optional(string)       # anthropic
  }))
  default = {}
}

variable "admin_keys" {
  description = "First admin keys, by the name of the connection. They end up in the state. Not needed where the engine makes the key, nor once the connection exists."
  type        = map(string)
  default     = {}
  sensitive   = true
}

variable "roles" {
  description = "Roles by name: the fields of roles/<name>. Names may hold slashes."
  type = map(object({
    config_name     = string
    ttl             = optional(number)
    max_ttl         = optional(number)
    max_active_keys = optional(number)
    name_template   = optional(string)
    require_entity  = optional(bool)
    metadata        = optional(map(string))

    models              = optional(list(string))
    budget              = optional(number)
    budget_period       = optional(string)
    requests_per_minute = optional(number)
    tokens_per_minute   = optional(number)

    project_id         = optional(string)       # openai
    scopes             = optional(list(string)) # openai
    team_id            = optional(string)       # litellm
    user_id            = optional(string)       # litellm
    workspace_id       = optional(string)       # openrouter, anthropic, anthropic-pool
    federation_rule_id = optional(string)       # anthropic
    service_account_id = optional(string)       # anthropic
  }))
  default = {}
}

variable "static_roles" {
  description = "Static roles by name: the fields of static-roles/<name>, but for api_key and key_id."
  type = map(object({
    config_name       = string
    rotation_period   = optional(number)
    rotation_schedule = optional(string)
    rotation_window   = optional(number)
    overlap           = optional(number)
    verify            = optional(bool)
    name_template     = optional(string)
    require_entity    = optional(bool)
    metadata          = optional(map(string))

    models              = optional(list(string))
    budget              = optional(number)
    budget_period       = optional(string)
    requests_per_minute = optional(number)
    tokens_per_minute   = optional(number)

    project_id   = optional(string)       # openai
    scopes       = optional(list(string)) # openai
    team_id      = optional(string)       # litellm
    user_id      = optional(string)       # litellm
    workspace_id = optional(string)       # openrouter, anthropic-pool
  }))
  default = {}
}

# Who may do what.

variable "policy_prefix" {
  description = "Begins the names of all policies that this module writes. Null: the mount and a hyphen, so that two mounts have policies of their own."
  type        = string
  default     = null
}

variable "policies" {
  description = "Which of the policies that are nobody's own to write: operator, security-team, auditor, metrics, ci."
  type        = set(string)
  default     = ["security-team", "auditor", "metrics"]

  validation {
    condition     = length(setsubtract(var.policies, ["operator", "security-team", "auditor", "metrics", "ci"])) == 0
    error_message = "policies: only operator, security-team, auditor, metrics and ci."
  }
}

variable "teams" {
  description = "Teams: for each a policy of its operators, over the subtree of roles of that name."
  type        = set(string)
  default     = []
}

variable "agents" {
  description = "Agents by name: the roles whose keys each may read, its login, and how long its token lives. A lease ends with its token, so let that live as long as the key, or renew itself (token_period)."
  type = map(object({
    roles                 = optional(list(string), [])
    static_roles          = optional(list(string), [])
    token_ttl             = optional(number, 3600)
    token_max_ttl         = optional(number, 86400)
    token_period          = optional(number, 0)
    token_bound_cidrs     = optional(list(string), [])
    secret_id_ttl         = optional(number, 0)
    secret_id_num_uses    = optional(number, 0)
    secret_id_bound_cidrs = optional(list(string), [])
  }))
  default = {}
}

variable "create_auth_mount" {
  description = "Make the AppRole auth mount, too. false: it is there."
  type        = bool
  default     = true
}

variable "auth_mount" {
  description = "Path of the AppRole auth mount. Empty: no AppRoles, policies only."
  type        = string
  default     = "approle"
}
