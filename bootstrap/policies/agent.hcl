# Agent of the role "support/classifier": reads its key. The default policy lets it
# renew its own leases, and end them all by vault token revoke -self.
path "llm/creds/support/classifier" { capabilities = ["read"] }
