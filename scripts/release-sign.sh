#!/usr/bin/env bash
# Signs what scripts/release.sh has made; .goreleaser.yaml calls it.
#
#   release-sign.sh sums FILE BUNDLE                   a signature of the sums
#   release-sign.sh provenance VERSION BINARY BUNDLE   a signed statement of how a
#                                                      binary was made
#
# The key is COSIGN_KEY. Nothing is sent to a public transparency log.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${COSIGN_KEY:?set COSIGN_KEY to the key that signs}"

cosign() {
	go tool -modfile=scripts/release/go.mod cosign "$@"
}

case ${1:-} in
sums)
	cosign sign-blob --yes --key "$COSIGN_KEY" --tlog-upload=false --new-bundle-format --bundle "$3" "$2" >/dev/null
	chmod 644 "$3"
	;;
provenance)
	predicate=$(mktemp)
	trap 'rm -f "$predicate"' EXIT
	bin/release/describe provenance "$2" "$RELEASE_BUILDER" "$3" >"$predicate"
	cosign attest-blob --yes --key "$COSIGN_KEY" --tlog-upload=false --new-bundle-format --type slsaprovenance1 \
		--predicate "$predicate" --bundle "$4" "$3" >/dev/null
	chmod 644 "$4"
	;;
*)
	echo "usage: release-sign.sh sums FILE BUNDLE | provenance VERSION BINARY BUNDLE" >&2
	exit 2
	;;
esac
