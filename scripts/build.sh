#!/usr/bin/env bash
# Builds the plugin: static, reproducible, with its version set.
#
#   build.sh [OUTPUT [LDFLAGS]]
#
# OUTPUT defaults to bin/vault-plugin-secrets-llm. VERSION is a semantic version
# with a leading v, as Vault demands of a plugin; LDFLAGS are further linker flags.
# GOOS and GOARCH choose another platform.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-v0.1.0-dev}
output=${1:-bin/vault-plugin-secrets-llm}
ldflags="-s -w -X vault-plugin-secrets-llm/backend.version=$version ${2:-}"

number='(0|[1-9][0-9]*)'
semver="^v$number\.$number\.$number(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
if [[ ! $version =~ $semver ]]; then
	echo "build: VERSION is \"$version\"; give a semantic version with a leading v, such as v0.1.0" >&2
	exit 1
fi

GOWORK=off CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags "$ldflags" -o "$output" ./cmd/vault-plugin-secrets-llm

# The linker sets nothing, and says nothing, if the variable has moved. What cannot
# run here is only searched for the version.
reports_version() {
	if [[ $(go env GOOS GOARCH) == $(go env GOHOSTOS GOHOSTARCH) ]]; then
		[[ $("$output" -version) == *" $version "* ]]
	else
		grep -aqF "$version" "$output"
	fi
}
if ! reports_version; then
	echo "build: $output does not report version $version" >&2
	exit 1
fi
