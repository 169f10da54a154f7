#!/usr/bin/env bash
# Brings the built plugin into a running Vault: copies it to PLUGIN_DIR, registers
# and mounts it. Run again with a newer build, it upgrades the mount in place.
#
#   VAULT_ADDR, VAULT_TOKEN  the Vault, and a token that may register and mount
#   PLUGIN_DIR               plugin_directory of that Vault, as seen from here
#   MOUNT                    where to mount; default llm
set -euo pipefail
cd "$(dirname "$0")/.."

: "${VAULT_ADDR:?set VAULT_ADDR to the address of a Vault}"
: "${VAULT_TOKEN:?set VAULT_TOKEN to a token that may register and mount plugins}"
: "${PLUGIN_DIR:?set PLUGIN_DIR to the plugin_directory of that Vault}"
mount=${MOUNT:-llm}
mount=${mount%/}
name=vault-plugin-secrets-llm
built=bin/$name

if [[ ! -x $built || ! -d $PLUGIN_DIR ]]; then
	echo "configure: need $built (make build) and a directory at PLUGIN_DIR ($PLUGIN_DIR)" >&2
	exit 1
fi
vault=$(scripts/vault.sh)
read -r _ version _ < <("$built" -version)

# Each version has its own file, so that the one in use is left alone until the
# reload. The copy appears whole: Vault may start it at any time.
file=${name}_$version
install -m 755 "$built" "$PLUGIN_DIR/.$file.new"
mv -f "$PLUGIN_DIR/.$file.new" "$PLUGIN_DIR/$file"
read -r sum _ < <(sha256sum "$PLUGIN_DIR/$file")

"$vault" plugin register -sha256="$sum" -command="$file" -version="$version" secret "$name"
mounts=$("$vault" secrets list)
if grep -q "^$mount/ " <<<"$mounts"; then
	"$vault" secrets tune -plugin-version="$version" "$mount"
	"$vault" plugin reload -type=secret -plugin="$name"
else
	"$vault" secrets enable -path="$mount" -plugin-version="$version" "$name"
fi

# A wrong checksum or version shows only when the plugin has to answer.
"$vault" read "$mount/info"
