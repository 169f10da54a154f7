# Agent of the role "support/classifier": reads its key. The default policy lets it
# renew and revoke its own leases.
path "llm/creds/support/classifier" { capabilities = ["read"] }
