# Vault Proxy with a cache, for several processes of one host that read by themselves.
#
#   vault proxy -config=proxy.hcl        # VAULT_ADDR says where Vault is
#
#   VAULT_ADDR=http://127.0.0.1:8100 vault read -field=api_key llm/creds/support/classifier
#
# They need no token, and one that they send is not used: else each of them would have a
# lease of its own. All reads of a path are one lease, which Proxy renews; so all
# processes have the same key, and the ledger says that it is Proxy's. Another query,
# as ?ttl=15m, is another lease. A static key has no lease and is not cached.

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

api_proxy {
  use_auto_auth_token = "force"
}

cache {}

# Whoever reaches this port has the key. Requests must bear the header X-Vault-Request:
# true, which vault and its libraries send, and a web page cannot.
listener "tcp" {
  address                = "127.0.0.1:8100"
  tls_disable            = true
  require_request_header = true
}
