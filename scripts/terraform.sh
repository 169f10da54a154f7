#!/usr/bin/env bash
# Prints two paths, each on a line: that of the Terraform or OpenTofu that tests use,
# and that of the Vault provider.
#
# The first is $TERRAFORM_BINARY if set, else the terraform or tofu in PATH if it is
# 1.3 or newer, else bin/tofu, which is built from the Go module that
# scripts/terraform/cli pins. The second is $TERRAFORM_PROVIDER_VAULT if set, a binary
# called terraform-provider-vault, alone or with others in its directory; else
# bin/terraform-provider-vault, built from scripts/terraform/provider.
#
# Do not run "go mod tidy" in scripts/terraform/cli: nothing there imports OpenTofu, so
# nothing would be left.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off CGO_ENABLED=0

# works PATH: is this an executable that calls itself Terraform or OpenTofu, 1.3 or newer?
works() {
	local said
	[[ -x $1 ]] || return 1
	said=$(TF_CLI_CONFIG_FILE=/dev/null CHECKPOINT_DISABLE=1 "$1" version </dev/null 2>/dev/null) || return 1
	[[ $said =~ ^(Terraform|OpenTofu)\ v([0-9]+)\.([0-9]+) ]] || return 1
	((BASH_REMATCH[2] > 1 || BASH_REMATCH[2] == 1 && BASH_REMATCH[3] >= 3))
}

# build DIR PACKAGE OUTPUT FLAG...: builds a program of the module in DIR into bin/.
build() {
	local new log
	mkdir -p bin
	new=$(mktemp "bin/.$3.XXXXXX")
	log=$(mktemp)
	SECONDS=0
	if ! go -C "$1" build -mod=readonly -trimpath "${@:4}" -o "$PWD/$new" "$2" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$new" "$log"
		return 1
	fi
	rm -f "$log"
	chmod 755 "$new"
	mv -f "$new" "bin/$3"
	((SECONDS < 20)) || echo "terraform: built bin/$3 in $SECONDS s" >&2
}

cli() {
	local found pinned
	if [[ -n ${TERRAFORM_BINARY:-} ]]; then
		if ! works "$TERRAFORM_BINARY"; then
			echo "terraform: TERRAFORM_BINARY is $TERRAFORM_BINARY, which is not a Terraform 1.3 or newer that runs here" >&2
			return 1
		fi
		realpath -- "$TERRAFORM_BINARY"
		return
	fi
	for found in terraform tofu; do
		if found=$(type -P "$found") && works "$found"; then
			realpath -- "$found"
			return
		fi
	done
	pinned=$(go -C scripts/terraform/cli list -mod=readonly -m -f '{{.Version}}' github.com/opentofu/opentofu)
	if ! works bin/tofu || [[ $(TF_CLI_CONFIG_FILE=/dev/null bin/tofu version) != "OpenTofu $pinned"* ]]; then
		echo "terraform: building OpenTofu $pinned into bin/tofu; the first time this takes 5 to 10 minutes on two cores" >&2
		if ! build scripts/terraform/cli github.com/opentofu/opentofu/cmd/tofu tofu \
			-ldflags '-s -w -X github.com/opentofu/opentofu/version.dev=no'; then
			echo "terraform: OpenTofu $pinned does not build; install a terraform, or set TERRAFORM_BINARY" >&2
			return 1
		fi
	fi
	echo "$PWD/bin/tofu"
}

provider() {
	if [[ -n ${TERRAFORM_PROVIDER_VAULT:-} ]]; then
		if [[ ! -x $TERRAFORM_PROVIDER_VAULT || ${TERRAFORM_PROVIDER_VAULT##*/} != terraform-provider-vault* ]]; then
			echo "terraform: TERRAFORM_PROVIDER_VAULT is $TERRAFORM_PROVIDER_VAULT, which is not an executable called terraform-provider-vault" >&2
			return 1
		fi
		realpath -- "$TERRAFORM_PROVIDER_VAULT"
		return
	fi
	# Go knows by itself whether there is anything to build.
	if [[ ! -x bin/terraform-provider-vault ]]; then
		echo 'terraform: building the Vault provider into bin/; the first time this takes 5 minutes on two cores' >&2
	fi
	if ! build scripts/terraform/provider . terraform-provider-vault -ldflags '-s -w'; then
		echo 'terraform: the Vault provider does not build; set TERRAFORM_PROVIDER_VAULT' >&2
		return 1
	fi
	echo "$PWD/bin/terraform-provider-vault"
}

cli
provider
