# Operator of the team "support": its roles, its keys, its kills, nobody else's.
path "llm/roles/support/*"   { capabilities = ["create", "read", "update", "delete", "list"] }
path "llm/creds/support/*"   { capabilities = ["read", "list"] }
path "llm/suspend/support"   { capabilities = ["read", "update"] } # with subtree=true
path "llm/suspend/support/*" { capabilities = ["read", "update"] }
path "llm/revoke" {
  capabilities       = ["update"]
  allowed_parameters = { "role" = ["support/*"] }
}
path "llm/keys" {
  capabilities        = ["read"]
  required_parameters = ["role"]
  allowed_parameters  = { "role" = ["support/*"], "kind" = [], "state" = [], "after" = [], "limit" = [] }
  denied_parameters   = { "role" = [""] }
}

path "llm/static-roles/support/*" {
  capabilities      = ["create", "read", "update", "delete", "list"]
  denied_parameters = { "api_key" = [], "key_id" = [], "verify" = [] }
}
path "llm/static-creds/support/*" { capabilities = ["read", "list"] }
path "llm/rotate-role/support/*"  { capabilities = ["update"] }
