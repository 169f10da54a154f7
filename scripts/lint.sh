#!/usr/bin/env bash
# Checks what needs no test run: formatting, vet and linters (.golangci.yml),
# modernisation, tidiness of go.mod, skipped tests, syntax of the scripts, alerts
# and dashboard. Runs every check, then fails if one did.
set -euo pipefail
cd "$(dirname "$0")/.."

# As in the builds of plugin and Vault, so that compiled packages are shared.
export GOWORK=off CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"

failed=
# check NAME COMMAND...: runs the command, prints its output only if it fails.
check() {
	local output
	if output=$("${@:2}" 2>&1); then
		echo "lint: ok   $1"
	else
		printf '%s\n' "$output"
		echo "lint: FAIL $1"
		failed="$failed${failed:+, }$1"
	fi
}

scripts_parse() {
	local script
	for script in .ci/run scripts/*.sh bootstrap/*.sh bootstrap/hooks/pre-commit; do
		bash -n "$script" || return 1
	done
}

# A skipped test says why.
skips_have_reasons() {
	! git grep --untracked -nE '\.(Skip|SkipNow)\(\)|\.Skip\(""\)' -- '*_test.go' &&
		! git grep --untracked -nE '(^|\] *)skip *$' -- '*.txtar'
}

golangci_lint() {
	go tool -modfile=scripts/tools/go.mod golangci-lint "$@"
}

check 'scripts parse' scripts_parse
check 'skipped tests say why' skips_have_reasons
check 'alerts, their tests, dashboard' scripts/promtool.sh check
check 'go mod tidy -diff' go mod tidy -diff
check 'go fix -diff' go fix -diff ./...
check 'golangci-lint builds' golangci_lint version
check 'golangci-lint' golangci_lint run --show-stats=false ./...

if [[ -n $failed ]]; then
	echo "lint: FAIL: $failed" >&2
	exit 1
fi
