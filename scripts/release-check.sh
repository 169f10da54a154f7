#!/usr/bin/env bash
# Checks the release in dist/, and fails if anything is not as it must be:
#
#   - there is one binary for each platform, and each is of the platform and of the
#     version that its name says, and of the commit that is checked out
#   - the sums are those of the files; an SBOM is of the binary beside it
#   - scripts/build.sh makes the same bytes, in another directory
#   - with COSIGN_PUBLIC_KEY, a file: that key has signed the sums, and of each binary
#     how it was made
#
# If the tree has changes, the binaries must say so, and are built again in place.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off CGO_ENABLED=0
name=vault-plugin-secrets-llm
platforms='darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64 linux/amd64 linux/arm64 windows/amd64 windows/arm64'

fail() {
	echo "release-check: $*" >&2
	exit 1
}
# verified COMMAND ARGUMENT...: does cosign verify that with COSIGN_PUBLIC_KEY? The root of
# trust is that key alone; without the empty file cosign would fetch another one.
verified() {
	echo '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}' >"$scratch/root.json"
	go tool -modfile=scripts/release/go.mod cosign "$1" --key "$COSIGN_PUBLIC_KEY" --new-bundle-format --insecure-ignore-tlog=true \
		--trusted-root "$scratch/root.json" "${@:2}" >"$scratch/said" 2>&1
}

sums=(dist/"${name}"_v*_SHA256SUMS)
[[ ${#sums[@]} == 1 && -f ${sums[0]} ]] || fail "dist/ holds no release, or several; make release-snapshot"
version=${sums[0]#dist/"${name}"_}
version=${version%_SHA256SUMS}

(cd dist && sha256sum --quiet --check --strict "${sums[0]#dist/}") || fail "${sums[0]} is not of these files"

go build -trimpath -o bin/release/describe ./scripts/describe
commit=$(git rev-parse HEAD)
modified=false
[[ -z $(git status --porcelain) ]] || modified=true
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source=.
if [[ $modified == false ]]; then
	source=$scratch/elsewhere
	git clone -q . "$source"
	git -C "$source" -c advice.detachedHead=false checkout -q "$commit"
fi

echo "release-check: $version, commit ${commit:0:12}$([[ $modified == false ]] || echo ', and changes')"
printf '%-15s  %9s  %-16s  %s\n' platform bytes sha256 checked
seen=0
for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	file=${name}_${version}_${os}_$arch
	[[ $os != windows ]] || file=$file.exe
	binary=dist/$file
	[[ -f $binary ]] || fail "there is no $binary"
	seen=$((seen + 1))
	checked='sum'

	sum=$(awk -v file="$file" '$2 == file { print $1 }' "${sums[0]}")
	[[ -n $sum ]] || fail "${sums[0]} lacks $file"

	said=$(bin/release/describe target "$binary")
	[[ $said == "$os $arch $commit $modified" ]] || fail "$binary is of \"$said\", not of \"$os $arch $commit $modified\""
	checked+=', target'

	if [[ $platform == "$(go env GOHOSTOS)/$(go env GOHOSTARCH)" ]]; then
		[[ $("$binary" -version) == *" $version "* ]] || fail "$binary does not report $version"
		checked+=', runs'
	fi

	# Whatever else it holds, the SBOM is what the binary gives.
	bin/release/describe sbom "$version" "$binary" "$scratch/sbom"
	cmp -s "$scratch/sbom" "$binary.cdx.json" || fail "$binary.cdx.json is not of $binary"
	grep -q " $file.cdx.json\$" "${sums[0]}" || fail "${sums[0]} lacks $file.cdx.json"
	checked+=', SBOM'

	GOOS=$os GOARCH=$arch VERSION=$version "$source/scripts/build.sh" "$scratch/rebuilt"
	cmp -s "$scratch/rebuilt" "$binary" || fail "$binary differs from what scripts/build.sh makes of the same commit"
	checked+=', rebuilt'

	if [[ -n ${COSIGN_PUBLIC_KEY:-} ]]; then
		verified verify-blob-attestation --type slsaprovenance1 \
			--bundle "$binary.provenance.sigstore.json" "$binary" ||
			fail "$binary: $(cat "$scratch/said")"
		checked+=', provenance'
	fi
	printf '%-15s  %9d  %-16s  %s\n' "$platform" "$(wc -c <"$binary")" "${sum:0:16}" "$checked"
done
listed=$(grep -cv '\.cdx\.json$' "${sums[0]}")
[[ $listed == "$seen" ]] || fail "${sums[0]} lists $listed binaries, want $seen"
[[ -s dist/NOTES.md ]] || fail 'dist/NOTES.md is missing or empty'

if [[ -n ${COSIGN_PUBLIC_KEY:-} ]]; then
	verified verify-blob --bundle "${sums[0]}.sigstore.json" "${sums[0]}" ||
		fail "${sums[0]}: $(cat "$scratch/said")"
	echo 'release-check: the sums are signed'
else
	echo 'release-check: no signature was checked (COSIGN_PUBLIC_KEY is not set)'
fi
echo 'release-check: PASS'
