#!/usr/bin/env bash
# Prints the path of the Vault that tests, demo and configure use: $VAULT_BINARY
# if set, else the vault in PATH, else bin/vault, which is built from the Go
# module that scripts/vault/go.mod pins if it is missing or of another version.
#
#   vault.sh [VERSION]
#
# With VERSION, such as 1.20, it is that of scripts/vault-1.20/go.mod as bin/vault-1.20,
# or bin/vault if scripts/vault/go.mod is of that version, and no other.
#
# Do not run "go mod tidy" in these directories: it selects a newer Vault SDK, with
# which that Vault does not compile.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:-}

# pinned MODULE: the version of Vault that a directory pins.
pinned() {
	GOWORK=off go -C "$1" list -mod=readonly -m -f '{{.Version}}' github.com/hashicorp/vault
}

# works PATH: is this an executable that calls itself Vault?
works() {
	[[ -x $1 && $("$1" version 2>/dev/null </dev/null) =~ ^(Vault|OpenBao)\ v ]]
}

if [[ -z $wanted && -n ${VAULT_BINARY:-} ]]; then
	if ! works "$VAULT_BINARY"; then
		echo "vault: VAULT_BINARY is $VAULT_BINARY, which is not a Vault that runs here" >&2
		exit 1
	fi
	realpath -- "$VAULT_BINARY"
	exit
fi

if [[ -z $wanted ]] && found=$(type -P vault) && works "$found"; then
	realpath -- "$found"
	exit
fi

module=scripts/vault path=$PWD/bin/vault
version=$(pinned "$module")
if [[ -n $wanted && $version != v$wanted.* ]]; then
	module=scripts/vault-$wanted path=$PWD/bin/vault-$wanted
	if [[ ! -f $module/go.mod ]]; then
		echo "vault: there is no $module/go.mod, which would pin a Vault $wanted" >&2
		exit 1
	fi
	version=$(pinned "$module")
fi
if works "$path" && [[ $("$path" version) == "Vault $version"[,\ ]* ]]; then
	echo "$path"
	exit
fi

mkdir -p bin
new=$(mktemp bin/.vault.XXXXXX)
log=$(mktemp)
trap 'rm -f "$new" "$log"' EXIT
echo "vault: building Vault $version into ${path#"$PWD"/}; the first time this downloads 500 MB and takes 5 to 10 minutes on two cores" >&2
SECONDS=0
if ! GOWORK=off CGO_ENABLED=0 go -C "$module" build -mod=readonly -tags minimal -trimpath \
	-ldflags '-s -w' -o "$PWD/$new" github.com/hashicorp/vault >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "vault: Vault $version does not build; install a vault, or set VAULT_BINARY" >&2
	exit 1
fi
chmod 755 "$new"
mv -f "$new" "$path"
echo "vault: built in $SECONDS s" >&2
echo "$path"
