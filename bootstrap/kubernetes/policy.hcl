# What the service account classifier may do.
path "llm/creds/support/classifier" { capabilities = ["read"] }
path "llm/static-creds/support/app" { capabilities = ["read"] }

# For Vault Secrets Operator, which with revoke: true ends a lease that it gives up.
path "sys/leases/revoke" { capabilities = ["update"] }
