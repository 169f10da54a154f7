#!/usr/bin/env bash
# Brings the built plugin into a running Vault: copies it to PLUGIN_DIR, and lets
# bootstrap/configure.sh do the rest, which says what else can be set. Run again with
# a newer build, it upgrades the mount in place.
#
#   VAULT_ADDR, VAULT_TOKEN  the Vault, and a token that may register and mount
#   PLUGIN_DIR               plugin_directory of that Vault, as seen from here
#   MOUNT                    where to mount; default llm
set -euo pipefail
cd "$(dirname "$0")/.."

: "${PLUGIN_DIR:?set PLUGIN_DIR to the plugin_directory of that Vault}"
name=vault-plugin-secrets-llm
built=bin/$name

if [[ ! -x $built || ! -d $PLUGIN_DIR ]]; then
	echo "configure: need $built (make build) and a directory at PLUGIN_DIR ($PLUGIN_DIR)" >&2
	exit 1
fi
VAULT_BINARY=$(scripts/vault.sh)
export VAULT_BINARY
read -r _ version _ < <("$built" -version)

# Each version has its own file, so that the one in use is left alone until the
# reload. The copy appears whole: Vault may start it at any time.
file=${name}_$version
install -m 755 "$built" "$PLUGIN_DIR/.$file.new"
mv -f "$PLUGIN_DIR/.$file.new" "$PLUGIN_DIR/$file"

exec bootstrap/configure.sh --plugin "$PLUGIN_DIR/$file"
