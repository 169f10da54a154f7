# Vault Agent that keeps a file filled with the key of a static role.
#
#   vault agent -config=static.hcl       # VAULT_ADDR says where Vault is
#
# There is no lease: it reads the key again when the next rotation is due. The key
# that it replaces works for the role's overlap. After a rotation by hand, restart
# Agent within that time, for it sleeps until the one that was due.

auto_auth {
  method {
    type = "approle"
    config = {
      role_id_file_path                   = "/etc/vault-agent/role-id"
      secret_id_file_path                 = "/etc/vault-agent/secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  exit_on_retry_failure = true
}

template {
  contents             = "{{ with secret \"llm/static-creds/support/app\" }}{{ .Data.api_key }}{{ end }}"
  destination          = "/run/vault-agent/openai-static-key"
  perms                = "0600"
  error_on_missing_key = true
}
