#!/usr/bin/env bash
# Lists the targets of the Makefile with the comment behind each.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "Usage: make TARGET"
echo
while IFS= read -r line; do
	if [[ $line =~ ^([a-z-]+):.*\ \#\#\ (.*)$ ]]; then
		printf '  %-16s  %s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
	fi
done <Makefile
