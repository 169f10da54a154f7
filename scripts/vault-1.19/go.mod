module vault-plugin-secrets-llm/scripts/vault-1.19

go 1.26

require github.com/hashicorp/vault v1.19.4
