# What every system test starts with: a stage that is taken down whatever happens.
# Sourced with $1 = build directory.  CC_TEST_PROXY=squid|split|socks5 puts that proxy between the connector and its
# queue, and the test fails when nothing went through it (tests/proxies).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$1
. "$top/deploy/stage.sh"
. "$top/deploy/pfx-makers.sh"
. "$top/deploy/main-job.sh"
export JAVA_TOOL_OPTIONS=-XX:-UsePerfData # else each JVM leaves a folder in /tmp
[ -z "${CC_TEST_PROXY:-}" ] || . "$top/tests/support/through_proxy.sh"

# Exit status 77: ctest counts it as skipped, and the reason is printed.
test_skip() {
	echo "SKIPPED: $*"
	exit 77
}

test_fail() {
	stage_say "FAIL: $*"
	exit 1
}

# test_expect WHAT COMMAND...
test_expect() {
	local what=$1
	shift
	if "$@"; then
		echo "ok: $what"
	else
		test_fail "$what"
	fi
}

# A check whose words are shown only when it fails: test_expect WHAT quietly COMMAND...
quietly() {
	"$@" >"$STAGE/quietly.out" 2>&1 || { sed 's/^/    /' "$STAGE/quietly.out"; return 1; }
}

test_clean_up() { :; } # for a test that has more to take down than processes: before the stage's folder goes

test_finish() {
	local status=$? pid
	trap - EXIT
	set +e
	[ $status -ne 0 ] || [ -z "${CC_TEST_PROXY:-}" ] || proxy_carried || status=1
	[ $status -eq 0 ] || [ $status -eq 77 ] || stage_logs
	for pid in ${stage_pids[@]+"${stage_pids[@]}"}; do stage_stop_pid "$pid"; done
	test_clean_up
	stage_down
	exit $status
}
trap test_finish EXIT
trap 'exit 130' INT TERM

# Pid of a role of this stage's connector: role_pid keyvault | connector | ca-runner
role_pid() {
	ctl --json status | /usr/bin/python3 -c '
import json, sys
for p in json.load(sys.stdin)["processes"]:
    if p["role"] == sys.argv[1]:
        print(p["pid"])
        break' "$1"
}

# Submit signed jobs with these names; ids in the array IDS, in order.
submit_jobs() {
	local files=() name
	for name in "$@"; do files+=("$STAGE/jobs/$name.job.json"); done
	mapfile -t IDS < <(queuectl submit "${API[@]}" "${files[@]}")
	[ "${#IDS[@]}" -eq "$#" ] || test_fail "submitted $# jobs, got ${#IDS[@]} ids"
}

stage_up() {
	stage_new "$build"
	stage_queue_up
	stage_connector_up
	stage_enroll
}
