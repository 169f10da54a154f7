# One team, one agent, one application, on OpenAI. README.md in the directory above says
# how to apply it.

terraform {
  required_version = ">= 1.3"

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = "~> 5.9"
    }
  }

  # The state holds the first admin key: keep it where only operators read it.
  # backend "s3" { … }
}

# VAULT_ADDR and VAULT_TOKEN come from the environment.
provider "vault" {}

variable "plugin_version" {
  description = "What the binary in plugin_directory says of itself, such as v0.1.0."
  type        = string
}

variable "plugin_sha256" {
  description = "Its SHA-256."
  type        = string
}

variable "plugin_command" {
  description = "Its file name, unless that is vault-plugin-secrets-llm_<version>."
  type        = string
  default     = ""
}

variable "openai_admin_key" {
  description = "The first admin key of the OpenAI organization. May be empty once the connection exists."
  type        = string
  sensitive   = true
  default     = ""
}

variable "openai_project" {
  description = "The OpenAI project of the team."
  type        = string
}

variable "openai_base_url" {
  description = "A gateway before OpenAI, if there is one."
  type        = string
  default     = null
}

module "llm" {
  source = "../"

  plugin_version = var.plugin_version
  plugin_sha256  = var.plugin_sha256
  plugin_command = var.plugin_command

  connections = {
    openai = {
      provider         = "openai"
      base_url         = var.openai_base_url
      allowed_roles    = ["support/*"]
      allowed_projects = [var.openai_project]
      rotation_period  = 30 * 24 * 3600
    }
  }
  admin_keys = var.openai_admin_key != "" ? { openai = var.openai_admin_key } : {}

  roles = {
    "support/classifier" = {
      config_name     = "openai"
      project_id      = var.openai_project
      ttl             = 3600
      max_ttl         = 24 * 3600
      max_active_keys = 20
      metadata        = { owner = "support" }
    }
  }

  static_roles = {
    "support/app" = {
      config_name     = "openai"
      project_id      = var.openai_project
      rotation_period = 7 * 24 * 3600
      metadata        = { owner = "support" }
    }
  }

  teams = ["support"]
  agents = {
    classifier = { roles = ["support/classifier"] }
    app        = { static_roles = ["support/app"], token_period = 24 * 3600 }
  }
}

output "role_ids" {
  value = module.llm.role_ids
}
