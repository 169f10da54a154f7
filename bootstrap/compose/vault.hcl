# Vault of compose.yaml. Without TLS, for one machine: its port is published on loopback
# only.

storage "raft" {
  path    = "/vault/file"
  node_id = "vault"
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

api_addr         = "http://vault:8200"
cluster_addr     = "http://vault:8201"
plugin_directory = "/vault/plugins"
disable_mlock    = true
ui               = true
