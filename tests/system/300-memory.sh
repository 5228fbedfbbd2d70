#!/usr/bin/env bash
# The short form of tests/memory, tests/leaks and tests/bench/restart.  They need a build without sanitizers: the one that
# tests/run makes beside this one.
plain=$(cd "$1" && pwd)
if grep -q '^CC_SANITIZE:BOOL=ON' "$plain/CMakeCache.txt"; then plain=$plain/../clang; fi
if [ ! -x "$plain/tests/restart_maker" ] || [ ! -x "$plain/connector/certconnectord" ]; then
	echo "SKIPPED: there is no build without sanitizers at $plain"
	exit 77
fi
if ! command -v valgrind >/dev/null; then
	echo "SKIPPED: valgrind is not there"
	exit 77
fi
set -euo pipefail
tests=$(cd "$(dirname "$0")/.." && pwd)
export SLACK_KIB=512
for command in "memory $plain 500 2000" "leaks $plain 20" "bench/restart $plain 100000 10000"; do
	read -ra words <<<"$command"
	"$tests/${words[0]}" "${words[@]:1}" >"${TMPDIR:-/tmp}/short-$$.log" 2>&1 || {
		cat "${TMPDIR:-/tmp}/short-$$.log"
		rm -f "${TMPDIR:-/tmp}/short-$$.log"
		exit 1
	}
	tail -n 1 "${TMPDIR:-/tmp}/short-$$.log"
	rm -f "${TMPDIR:-/tmp}/short-$$.log"
done
