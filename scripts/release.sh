#!/usr/bin/env bash
# Makes a release in dist/, and uploads nothing: the binaries of all platforms, an
# SBOM of each, their sums, and the notes from CHANGELOG.md.
#
#   release.sh snapshot    VERSION of what is here, not signed
#   release.sh release     the tag at HEAD, signed and with provenance
#
# A release needs
#   COSIGN_KEY        the key that signs, a file of cosign's
#   COSIGN_PASSWORD   its password
#   RELEASE_BUILDER   a URI that says who builds; it goes into the provenance
#
# .goreleaser.yaml says what is built, scripts/release/go.mod with what. The first run
# downloads and builds GoReleaser, which takes 5 to 10 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

# As in lint, so that compiled packages are shared.
export GOWORK=off CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
goreleaser() {
	go tool -modfile=scripts/release/go.mod goreleaser "$@"
}

mode=${1:-}
case $mode in
snapshot)
	export VERSION=${VERSION:-v0.1.0-dev}
	flags=(--snapshot '--skip=sign,publish')
	;;
release)
	: "${COSIGN_KEY:?set COSIGN_KEY to the key that signs}"
	: "${COSIGN_PASSWORD?set COSIGN_PASSWORD to the password of COSIGN_KEY}"
	: "${RELEASE_BUILDER:?set RELEASE_BUILDER to a URI that says who builds}"
	if ! VERSION=$(git describe --tags --exact-match HEAD 2>/dev/null); then
		echo "release: HEAD has no tag; tag it first" >&2
		exit 1
	fi
	export VERSION
	flags=(--skip=publish)
	;;
*)
	echo "usage: release.sh snapshot|release" >&2
	exit 2
	;;
esac

# notes prints what CHANGELOG.md says of the version, and of a snapshot what it says
# of the next one.
notes() {
	local heading
	for heading in "## $VERSION" '## Unreleased'; do
		[[ $mode == snapshot || $heading == "## $VERSION" ]] || continue
		if awk -v heading="$heading" '
			/^## / { inside = ($0 == heading || index($0, heading " ") == 1); found = found || inside; next }
			inside { print }
			END { exit !found }' CHANGELOG.md; then
			return
		fi
	done
	echo "release: CHANGELOG.md has no section \"## $VERSION\"" >&2
	return 1
}
notes >/dev/null

go build -o bin/release/describe ./scripts/describe
goreleaser release --clean --parallelism 2 "${flags[@]}"
notes >dist/NOTES.md
exec scripts/release-check.sh
