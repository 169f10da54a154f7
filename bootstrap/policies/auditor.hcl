# Auditor: reads, changes nothing, sees no key.
path "llm/audit/*"        { capabilities = ["read"] }
path "llm/keys"           { capabilities = ["read", "list"] }
path "llm/keys/*"         { capabilities = ["read"] }
path "llm/suspend"        { capabilities = ["list"] }
path "llm/suspend/*"      { capabilities = ["read"] }
path "llm/roles"          { capabilities = ["list"] }
path "llm/roles/*"        { capabilities = ["read", "list"] }
path "llm/static-roles"   { capabilities = ["list"] }
path "llm/static-roles/*" { capabilities = ["read", "list"] }
path "llm/config"         { capabilities = ["list"] }
path "llm/config/*"       { capabilities = ["read"] }
path "llm/tidy-status"    { capabilities = ["read"] }
path "llm/tidy/*" { # dry runs only
  capabilities       = ["update"]
  allowed_parameters = { "dry_run" = ["true"], "safety_buffer" = [] }
  denied_parameters  = { "dry_run" = [""] }
}
