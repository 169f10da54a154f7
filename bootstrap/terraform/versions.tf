terraform {
  required_version = ">= 1.3" # optional() in types; OpenTofu of any version

  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = "~> 5.9"
    }
  }
}
