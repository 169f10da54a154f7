# Each target is one line here; what takes more than a line lives in scripts/.

VERSION ?= v0.1.0-dev
export VERSION

help: ## Show this list
	@scripts/help.sh

build: ## Build the plugin into bin/ (VERSION=v1.2.3 sets its version)
	@scripts/build.sh

vault: ## Print the Vault that tests and demo use; build it if there is none
	@scripts/vault.sh

terraform: ## Print the Terraform and the Vault provider that tests use; build what there is not
	@scripts/terraform.sh

demo: ## Start a dev Vault with the engine and a simulated provider
	@scripts/demo.sh

test: ## Run all tests, those against a real Vault included
	@scripts/test.sh

test-unit: ## Run the tests that need no Vault
	@scripts/test.sh unit

test-matrix: ## Run acceptance tests on several Vaults (MATRIX=all: all of them)
	@scripts/test-matrix.sh

bench: ## Run the benchmarks (BASE=file compares with an earlier run)
	@scripts/bench.sh

lint: ## Check formatting, vet, linters, tidiness of go.mod
	@scripts/lint.sh

generate: ## Write docs/reference.md and docs/openapi.json anew from the code
	@go generate ./...

fmt: ## Format all Go code
	@go tool -modfile=scripts/tools/go.mod gofumpt -w .

release-snapshot: ## Build an unsigned release of VERSION into dist/, and check it
	@scripts/release.sh snapshot

release: ## Build the signed release of the tag at HEAD (docs/releasing.md)
	@scripts/release.sh release

configure: build ## Install the plugin in PLUGIN_DIR of the Vault at VAULT_ADDR
	@scripts/configure.sh

clean: ## Remove what was built, except Vaults, OpenTofu and its provider
	@rm -rf dist bin/test bin/bench bin/demo bin/release bin/vault-plugin-secrets-llm

.DEFAULT_GOAL := help
.PHONY: help build vault terraform demo test test-unit test-matrix bench lint generate fmt release-snapshot release configure clean
