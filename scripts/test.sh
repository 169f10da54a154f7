#!/usr/bin/env bash
# Runs the tests: all of them, or with "test.sh unit" those that need no Vault.
#
# The acceptance tests are given VAULT_BINARY, the Vault to start, and
# PLUGIN_BINARY, the plugin built so that a create whose outcome is unknown is
# settled after 20 s instead of minutes; and TERRAFORM_BINARY and
# TERRAFORM_PROVIDER_VAULT, see scripts/terraform.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

mode=${1:-all}
module=$(go list -m)
acceptance=$module/backend/acceptance
unit=$(go list ./... | { grep -vxF "$acceptance" || true; })

matrices='^TestFaultMatrix'

# The race detector needs cgo, so a C compiler with its headers.
race=
if [[ $(go env CGO_ENABLED) == 1 ]] && echo '#include <stdlib.h>' | $(go env CC) -x c -fsyntax-only - 2>/dev/null; then
	race=-race
else
	echo 'test: no C compiler: running without the race detector'
fi

if [[ $mode == all ]]; then
	export PLUGIN_BINARY=$PWD/bin/test/vault-plugin-secrets-llm
	scripts/build.sh "$PLUGIN_BINARY" "-X $module/backend.pendingAgeText=20s -X $module/backend.tokenGraceText=20s"
	VAULT_BINARY=$(scripts/vault.sh)
	export VAULT_BINARY
	echo "test: $("$VAULT_BINARY" version)"
	terraform=$(scripts/terraform.sh)
	export TERRAFORM_BINARY=${terraform%%$'\n'*} TERRAFORM_PROVIDER_VAULT=${terraform##*$'\n'}
	echo "test: $(TF_CLI_CONFIG_FILE=/dev/null CHECKPOINT_DISABLE=1 "$TERRAFORM_BINARY" version | head -n 1)"
fi

# tests prints the events of every test. The fault matrices run without the race
# detector, which makes thousands of cases five times slower and finds nothing in
# them: what happens at the same time has tests of its own. They run beside the
# acceptance tests, which mostly wait for servers, and give way to them.
tests() {
	local status=0 beside
	# Vet is a part of lint.
	go test -json -vet=off $race -shuffle=on -timeout 10m -skip "$matrices" $unit || status=1
	beside=$(mktemp)
	nice -n 19 go test -json -vet=off -shuffle=on -timeout 20m -run "$matrices" "$module/backend" >"$beside" &
	if [[ $mode == all ]]; then
		go test -json -vet=off $race -count=1 -timeout 30m "$acceptance" || status=1
	fi
	wait $! || status=1
	cat "$beside"
	rm -f "$beside"
	return $status
}

require=
[[ $mode != all ]] || require=$acceptance
CGO_ENABLED=0 go build -trimpath -o bin/test/testsummary ./scripts/testsummary
if tests | bin/test/testsummary $require; then
	echo 'test: PASS'
else
	echo 'test: FAIL'
	exit 1
fi
