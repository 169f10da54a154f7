# Agent of compose.yaml: logs in as the AppRole whose id and secret are in secrets/, and
# renders the key of its role. It renews the lease, and renders a new key when that ends.

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/agent/secrets/role-id"
      secret_id_file_path                 = "/agent/secrets/secret-id"
      remove_secret_id_file_after_reading = false # it is read again after a restart
    }
  }
}

template {
  destination = "/keys/openai.env"
  perms       = "0644" # the application is another user; nobody else has the volume
  contents    = <<-EOT
    {{ with secret "llm/creds/support/classifier" }}OPENAI_API_KEY={{ .Data.api_key }}
    {{ end }}
  EOT
}

template_config {
  exit_on_retry_failure = true # and is started again
}
