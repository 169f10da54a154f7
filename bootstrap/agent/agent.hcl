# Vault Agent that keeps a file filled with a key that works.
#
#   vault agent -config=agent.hcl        # VAULT_ADDR says where Vault is
#
# It logs in, reads a key of its own, renews the lease, and near max_ttl reads
# another and replaces the file. The application reads the file again when it has
# changed; see ../clients.

auto_auth {
  method {
    type = "approle"
    config = {
      role_id_file_path   = "/etc/vault-agent/role-id"
      secret_id_file_path = "/etc/vault-agent/secret-id"

      # By default the file is removed once it is read, and a restart of the agent
      # then needs another secret id.
      remove_secret_id_file_after_reading = false
    }
  }

  # Whoever stops the application can end its key with this token: see docs/agent.md.
  sink "file" {
    config = {
      path = "/run/vault-agent/token"
      mode = 0600
    }
  }
}

template_config {
  # After the last retry Agent exits, and what supervises it sees that. Without this
  # it goes on for ever, and the file holds a key that is dead.
  exit_on_retry_failure = true
}

template {
  contents             = "{{ with secret \"llm/creds/support/classifier\" }}{{ .Data.api_key }}{{ end }}"
  destination          = "/run/vault-agent/openai-key"
  perms                = "0600"
  error_on_missing_key = true
}
