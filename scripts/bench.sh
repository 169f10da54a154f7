#!/usr/bin/env bash
# Runs the benchmarks COUNT times (default 6) and keeps their output as
# bin/bench/DATE.txt. With BASE=FILE, the output of an earlier run, it compares.
# BENCH=REGEXP selects benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

mkdir -p bin/bench
output=bin/bench/$(date -u +%Y%m%dT%H%M%SZ).txt
go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-6}" -timeout 60m ./... | tee "$output"

if ! grep -q '^Benchmark' "$output"; then
	echo "bench: no benchmark matches \"${BENCH:-.}\"" >&2
	rm -f "$output"
	exit 1
fi
if [[ -n ${BASE:-} ]]; then
	go tool -modfile=scripts/tools/go.mod benchstat "$BASE" "$output"
fi
echo "bench: kept in $output"
