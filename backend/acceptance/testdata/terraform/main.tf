# A root module of users, for the scripts that begin with terraform_. Its variables come
# from the environment.

terraform {
  required_providers {
    vault = { source = "hashicorp/vault" }
  }
}

variable "sha256" { type = string }
variable "plugin_version" { type = string }
variable "command" { type = string }
variable "openai_url" { type = string }
variable "openai_key" {
  type      = string
  sensitive = true
}
variable "project" { type = string }
variable "litellm_url" { type = string }
variable "litellm_key" {
  type      = string
  sensitive = true
}
variable "litellm_team" { type = string }
variable "openrouter_url" { type = string }
variable "openrouter_key" {
  type      = string
  sensitive = true
}
variable "openrouter_workspace" { type = string }
variable "max_concurrency" {
  type    = number
  default = 8
}

variable "keys" {
  type    = bool
  default = true
}
variable "register_plugin" {
  type    = bool
  default = true
}

module "llm" {
  source = "./bootstrap/terraform"

  register_plugin = var.register_plugin

  plugin_version = var.plugin_version
  plugin_sha256  = var.sha256
  plugin_command = var.command

  connections = {
    openai = {
      provider         = "openai"
      base_url         = var.openai_url
      max_concurrency  = var.max_concurrency
      allowed_roles    = ["support/*", "shared"]
      allowed_projects = [var.project]
      rotation_period  = 2592000
    }
    litellm = {
      provider      = "litellm"
      base_url      = var.litellm_url
      allowed_teams = [var.litellm_team]
    }
    openrouter = {
      provider = "openrouter"
      base_url = var.openrouter_url
    }
  }
  admin_keys = var.keys ? {
    openai     = var.openai_key
    litellm    = var.litellm_key
    openrouter = var.openrouter_key
  } : {}

  roles = {
    "support/classifier" = {
      config_name     = "openai"
      project_id      = var.project
      ttl             = 900
      max_ttl         = 3600
      max_active_keys = 5
      scopes          = ["api.responses.write", "api.files.read"]
      metadata        = { owner = "ada", environment = "prod" }
    }
    litellm = {
      config_name         = "litellm"
      team_id             = var.litellm_team
      models              = ["gpt-4.1"]
      budget              = 12.5
      budget_period       = "day"
      requests_per_minute = 60
    }
    openrouter = {
      config_name  = "openrouter"
      workspace_id = var.openrouter_workspace
      budget       = 10
    }
  }
  static_roles = {
    "support/app" = {
      config_name     = "openai"
      project_id      = var.project
      rotation_period = 86400
      overlap         = 3600
    }
  }

  teams  = ["support"]
  agents = { classifier = { roles = ["support/classifier"], static_roles = ["support/app"] } }
}

output "role_ids" { value = module.llm.role_ids }
