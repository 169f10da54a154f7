#!/usr/bin/env bash
# Makes a backup of a Vault with an earlier build of the engine, for the tests that
# restore it with the current one: backend/acceptance/snapshot/VERSION.snap, with what
# opens it and the simulated organization beside it.
#
#   snapshot.sh VERSION COMMIT
#
# What the backup holds is written in backend/acceptance/snapshot/VERSION.txtar. COMMIT
# is built in a work tree of its own. A release adds a backup and changes none.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off
if [[ $# != 2 || ! -f backend/acceptance/snapshot/$1.txtar ]]; then
	echo "usage: snapshot.sh VERSION COMMIT, with backend/acceptance/snapshot/VERSION.txtar" >&2
	exit 2
fi
version=$1 commit=$2

scratch=$(mktemp -d)
trap 'git worktree remove --force "$scratch/tree" 2>/dev/null || true; rm -rf "$scratch"' EXIT
git worktree add --quiet --detach "$scratch/tree" "$commit"
module=$(go list -m)
VERSION=$version.0 "$scratch/tree/scripts/build.sh" "$scratch/plugin" "-X $module/backend.pendingAgeText=20s"

VAULT_BINARY=$(scripts/vault.sh)
export VAULT_BINARY
PLUGIN_BINARY=$scratch/plugin go test -count=1 ./backend/acceptance -run "^TestScripts\$/^$version\$" -scripts snapshot
ls -l backend/acceptance/snapshot/"$version".snap
