#!/usr/bin/env bash
# Prints the path of the promtool that checks bootstrap/prometheus: $PROMTOOL_BINARY
# if set, else the promtool in PATH, else bin/promtool, which is taken out of
# Debian's package prometheus if it is missing. That package is not installed.
# With "check", runs all checks with it instead.
set -euo pipefail
cd "$(dirname "$0")/.."

remedy='install promtool (it is a part of https://prometheus.io/download and of most distributions), or set PROMTOOL_BINARY'

# works PATH: is this an executable that calls itself promtool?
works() {
	[[ -x $1 && $("$1" --version 2>&1 </dev/null) == promtool,* ]]
}

die() {
	echo "promtool: $1; $remedy" >&2
	exit 1
}

# quietly COMMAND...: shows the output only of what fails.
quietly() {
	local output
	output=$("$@" 2>&1 </dev/null) || {
		printf '%s\n' "$output" | tail -n 5 >&2
		return 1
	}
}

# known: do apt's lists have the package? A fresh container has no lists.
known() {
	[[ $(apt-cache policy prometheus 2>/dev/null) == *'Candidate: '[0-9]* ]]
}

# fetch: downloads the package into $work, the lists first if need be. Lists that are
# old name a package that is gone.
fetch() {
	# As root, apt would download as a user of its own, who may not write there.
	local apt=(apt-get -qq -o APT::Sandbox::User=root)
	known && (cd "$work" && "${apt[@]}" download prometheus) >/dev/null 2>&1 && return
	quietly "${apt[@]}" update || die 'apt-get update failed'
	(cd "$work" && quietly "${apt[@]}" download prometheus) || die "Debian's package prometheus cannot be downloaded"
}

find_promtool() {
	local found
	if [[ -n ${PROMTOOL_BINARY:-} ]]; then
		works "$PROMTOOL_BINARY" || die "PROMTOOL_BINARY is $PROMTOOL_BINARY, which is not a promtool that runs here"
		realpath -- "$PROMTOOL_BINARY"
		return
	fi
	if found=$(type -P promtool) && works "$found"; then
		realpath -- "$found"
		return
	fi
	if ! works bin/promtool; then
		if ! type -P apt-get >/dev/null || ! type -P dpkg-deb >/dev/null; then
			die 'there is none, and no apt-get to get one'
		fi
		mkdir -p bin
		work=$(mktemp -d bin/.promtool.XXXXXX)
		trap 'rm -rf "$work"' EXIT
		fetch
		dpkg-deb -x "$work"/prometheus_*.deb "$work"
		works "$work/usr/bin/promtool" || die "that of Debian's package does not run here"
		mv -f "$work/usr/bin/promtool" bin/promtool
	fi
	echo "$PWD/bin/promtool"
}

# dashboard_rules: the dashboard's queries as recording rules, which promtool can check.
# Each is on a line of its own, and a string of JSON is one of YAML.
dashboard_rules() {
	echo 'groups: [{name: dashboard, rules: ['
	sed -nE 's/^ *\{"refId": .*"expr": ("([^"\\]|\\.)*").*$/{record: query, expr: \1},/p' bootstrap/grafana/llm.json |
		sed 's/\$__rate_interval/5m/'
	echo ']}]'
}

# check: the rules, their tests, scrape.yml, which is a configuration by itself, and the
# dashboard's queries.
check() {
	local promtool status=0
	promtool=$(find_promtool)
	rules=$(mktemp) # not local: the trap runs after this function
	trap 'rm -f "$rules"' EXIT
	dashboard_rules >"$rules"
	"$promtool" check rules --lint=none "$rules" || status=1
	if [[ $(grep -c '^{record' "$rules") != $(grep -c '"expr"' bootstrap/grafana/llm.json) ]]; then
		echo 'promtool: a query of the dashboard is not on a line that begins with its refId' >&2
		status=1
	fi
	"$promtool" check rules --lint-fatal bootstrap/prometheus/rules/*.yml || status=1
	"$promtool" test rules bootstrap/prometheus/*_test.yml || status=1
	# The files that it names are on the user's machine.
	"$promtool" check config --syntax-only bootstrap/prometheus/scrape.yml || status=1
	return $status
}

case ${1:-} in
'') find_promtool ;;
check) check ;;
*)
	echo "promtool: unknown argument $1; give none, or check" >&2
	exit 2
	;;
esac
