# Terraform, with the module of ../terraform: registers, mounts, writes everything, and
# reads no key itself. But it writes policies and says which login has which: keep its
# token as you keep a root token. The provider works with a child token, so it makes one.
path "auth/token/create" { capabilities = ["update"] }
path "sys/plugins/catalog/secret/vault-plugin-secrets-llm" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/plugins/pins/secret/vault-plugin-secrets-llm"    { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/plugins/reload/secret/vault-plugin-secrets-llm"  { capabilities = ["update", "sudo"] }
path "sys/mounts"            { capabilities = ["read"] }
path "sys/mounts/llm"        { capabilities = ["create", "read", "update", "delete"] }
path "sys/mounts/llm/tune"   { capabilities = ["read", "update"] }
path "sys/auth"              { capabilities = ["read"] }
path "sys/auth/approle"      { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/policies/acl/llm-*" { capabilities = ["create", "read", "update", "delete"] }
path "auth/approle/role/+"   { capabilities = ["create", "read", "update", "delete"] }
path "auth/approle/role/+/role-id" { capabilities = ["read"] }
path "llm/config/*"          { capabilities = ["create", "read", "update", "delete"] }
path "llm/roles/*"           { capabilities = ["create", "read", "update", "delete"] }
path "llm/static-roles/*"    { capabilities = ["create", "read", "update", "delete"] }
