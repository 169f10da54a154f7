#!/usr/bin/env bash
# Runs acceptance tests on several Vaults, one after the other, and prints a table.
# Fails if a script failed, or did not run, or if a Vault is not to be had.
#
#   MATRIX=all        every script; else those below, which touch most of what the
#                     engine wants of a Vault
#   VAULTS='1.20 …'   the Vaults: versions that scripts/vault.sh knows, or paths of
#                     programs; default: all that it knows
#
# The output of each run is kept in bin/test/.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

scripts=(lease_issue lease_renew lease_revoke agent static_roles static_rotate crash_plugin crash_vault ha_failover
	reload upgrade upgrade_ha upgrade_pin upgrade_traps upgrade_restore_v0.1 upgrade_restore_v0.3 wrapping)
vaults=${VAULTS:-1.21 1.19}
dir=backend/acceptance/testdata
case ${MATRIX:-} in
'') ;;
all)
	scripts=()
	for file in "$dir"/*.txtar; do
		file=${file##*/}
		scripts+=("${file%.txtar}")
	done
	;;
*)
	echo "test-matrix: MATRIX is \"$MATRIX\"; give all, or nothing" >&2
	exit 2
	;;
esac
for script in "${scripts[@]}"; do
	if [[ ! -f $dir/$script.txtar ]]; then
		echo "test-matrix: there is no $dir/$script.txtar" >&2
		exit 1
	fi
done
pattern=$(
	IFS='|'
	echo "^TestScripts\$/^(${scripts[*]})\$"
)

# As in scripts/test.sh.
module=$(go list -m)
export PLUGIN_BINARY=$PWD/bin/test/vault-plugin-secrets-llm
scripts/build.sh "$PLUGIN_BINARY" "-X $module/backend.pendingAgeText=20s -X $module/backend.tokenGraceText=20s"
CGO_ENABLED=0 go build -trimpath -o bin/test/testsummary ./scripts/testsummary

# find VAULT: the path of one, by version or path.
find_vault() {
	if [[ $1 == */* ]]; then
		VAULT_BINARY=$1 scripts/vault.sh
	else
		scripts/vault.sh "$1"
	fi
}

rows=() failed=
for vault in $vaults; do
	if ! VAULT_BINARY=$(find_vault "$vault"); then
		rows+=("$(printf '%-22s  %7d  %6s  %6s  %7s' "$vault: none" "${#scripts[@]}" - - -)")
		failed=1
		continue
	fi
	export VAULT_BINARY
	read -r product version _ < <("$VAULT_BINARY" version)
	log=bin/test/matrix-${product,,}-${version%,}.log
	echo "test-matrix: ${#scripts[@]} scripts on $product ${version%,}"
	SECONDS=0
	go test -json -vet=off -count=1 -timeout 60m -run "$pattern" ./backend/acceptance |
		bin/test/testsummary "$module/backend/acceptance" | tee "$log" || true
	read -r passed bad < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$log" | tail -n 1) || true
	rows+=("$(printf '%-22s  %7d  %6d  %6d  %7d' "$product ${version%,}" "${#scripts[@]}" "${passed:-0}" "${bad:-0}" "$SECONDS")")
	[[ ${passed:-0} == "${#scripts[@]}" && ${bad:-1} == 0 ]] || failed=1
done

echo
printf '%-22s  %7s  %6s  %6s  %7s\n' server scripts passed failed seconds
printf '%s\n' "${rows[@]}"
if [[ -n $failed ]]; then
	echo 'test-matrix: FAIL'
	exit 1
fi
echo 'test-matrix: PASS'
