# Vault Agent that starts a process with a key in its environment.
#
#   vault agent -config=exec.hcl         # VAULT_ADDR says where Vault is
#
# For what reads OPENAI_API_KEY once, at its start. A renewal changes nothing. When
# max_ttl is near, Agent reads another key and starts the process anew with it; until
# the old lease ends, both work.

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

# After the last retry Agent exits. Do not leave this out: Agent 1.21 then goes on for
# ever, and prints each key that it gets from then on to its own output. It exits
# without ending the process: run both in one container or systemd unit, where what is
# left ends with Agent.
template_config {
  exit_on_retry_failure = true
}

env_template "OPENAI_API_KEY" {
  contents             = "{{ with secret \"llm/creds/support/classifier\" }}{{ .Data.api_key }}{{ end }}"
  error_on_missing_key = true
}

exec {
  command                   = ["/usr/local/bin/classifier"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM" # the process has 30 s to finish
}
