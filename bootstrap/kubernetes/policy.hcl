# What the service account classifier may do.
path "llm/creds/support/classifier" { capabilities = ["read"] }
path "llm/static-creds/support/app" { capabilities = ["read"] }
