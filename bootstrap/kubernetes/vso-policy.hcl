# For Vault Secrets Operator alone, beside policy.hcl: with revoke: true it ends a lease
# that it gives up. It could end any lease whose id it knows.
path "sys/leases/revoke" { capabilities = ["update"] }
