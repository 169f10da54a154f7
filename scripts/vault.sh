#!/usr/bin/env bash
# Prints the path of the Vault that tests, demo and configure use: $VAULT_BINARY
# if set, else the vault in PATH, else bin/vault, which is built from the Go
# module that scripts/vault/go.mod pins if it is missing or of another version.
#
# Do not run "go mod tidy" in scripts/vault: it selects a newer Vault SDK, with
# which that Vault does not compile.
set -euo pipefail
cd "$(dirname "$0")/.."

# works PATH: is this an executable that calls itself Vault?
works() {
	[[ -x $1 && $("$1" version 2>/dev/null </dev/null) =~ ^(Vault|OpenBao)\ v ]]
}

if [[ -n ${VAULT_BINARY:-} ]]; then
	if ! works "$VAULT_BINARY"; then
		echo "vault: VAULT_BINARY is $VAULT_BINARY, which is not a Vault that runs here" >&2
		exit 1
	fi
	realpath -- "$VAULT_BINARY"
	exit
fi

if found=$(type -P vault) && works "$found"; then
	realpath -- "$found"
	exit
fi

pinned=$(GOWORK=off go -C scripts/vault list -mod=readonly -m -f '{{.Version}}' github.com/hashicorp/vault)
path=$PWD/bin/vault
if works "$path" && [[ $("$path" version) == "Vault $pinned"[,\ ]* ]]; then
	echo "$path"
	exit
fi

mkdir -p bin
new=$(mktemp bin/.vault.XXXXXX)
log=$(mktemp)
trap 'rm -f "$new" "$log"' EXIT
echo "vault: building Vault $pinned into bin/vault; the first time this downloads 500 MB and takes 5 to 10 minutes on two cores" >&2
SECONDS=0
if ! GOWORK=off CGO_ENABLED=0 go -C scripts/vault build -mod=readonly -tags minimal -trimpath \
	-ldflags '-s -w' -o "$PWD/$new" github.com/hashicorp/vault >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "vault: Vault $pinned does not build; install a vault, or set VAULT_BINARY" >&2
	exit 1
fi
chmod 755 "$new"
mv -f "$new" "$path"
echo "vault: built in $SECONDS s" >&2
echo "$path"
