#!/usr/bin/env bash
# Shows the engine at work on a Vault dev server with a simulated OpenAI, then
# leaves it up until Ctrl-C; with DEMO_ONESHOT=1, it ends at once. Nothing outlives
# it. scripts/demo/main.go tells more.
set -euo pipefail
cd "$(dirname "$0")/.."

VAULT_BINARY=$(scripts/vault.sh)
export VAULT_BINARY
scripts/build.sh
GOWORK=off CGO_ENABLED=0 go build -trimpath -o bin/demo/demo ./scripts/demo
exec bin/demo/demo bin/vault-plugin-secrets-llm
