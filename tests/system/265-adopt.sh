#!/usr/bin/env bash
# An older copy of a connector's journal: refused and alarmed, no job is given to it; adopted by an operator on both
# sides, it works again.  And the operator's other verbs about a connector.
. "$(dirname "$0")/lib.sh"
stage_up
main_devices
one_job() { # NAME: done and delivered
	stage_job "$1" phone issue --profile corp-user --key-type ec-p256 --seal cms-auth \
		--subject "CN=$1" --user "$1" --device phone --san "email=$1@contoso.com"
	submit_jobs "$1"
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[0]}" || test_fail "$1 failed"
	MAIN_TOTAL=1
	main_check "$1" "opened and verified" check_pkcs "$1" phone cms-auth "${IDS[0]}"
	[ "$MAIN_FAILED" -eq 0 ] || test_fail "the result of $1 is wrong"
}
said() { grep -qE -- "$2" "$STAGE/$1.log"; }
attention() { { ctl --json status || true; } | grep -q "$1"; }
# status STATUS PATTERN COMMAND...
status() {
	local want=$1 pattern=$2 got=0
	shift 2
	"$@" >"$STAGE/said" 2>&1 || got=$?
	[ "$got" -eq "$want" ] && grep -qE -- "$pattern" "$STAGE/said" ||
		{ cat "$STAGE/said" >&2; test_fail "exit status $got, not $want, or no \"$pattern\": $*"; }
}

stage_stop_pid "$STAGE_CONNECTOR_PID"
stage_as cp -a "$STAGE/state/journal" "$STAGE/older"
stage_connector_start
stage_await_connected
one_job before
stage_stop_pid "$STAGE_CONNECTOR_PID"
stage_as rm -r "$STAGE/state/journal"
stage_as mv "$STAGE/older" "$STAGE/state/journal"
stage_connector_start
stage_await 60 "the connector's alarm" said connector 'event=5009'
stage_await 60 "the queue's alarm" said queue 'event=7019'
test_expect "status names the remedy" attention "journal adopt"

# --- nothing without a clear word
status 2 "Stop the other host" ctl journal adopt
status 2 "usage" ctl journal
status 2 "usage" queuectl connector adopt "$TENANT"
status 0 "whichever" queuectl connector --help
status 3 "not found" queuectl connector adopt "$TENANT" nobody

# --- adopted
queuectl connector adopt "$TENANT" hq-1
status 0 "journal is the connector's" ctl journal adopt --yes
stage_await 60 "the connection" stage_connected
test_expect "it is on record" said connector 'event=5023'
one_job after

# --- a connector that is disabled gets no session, until it is enabled
queuectl connector disable "$TENANT" hq-1
stage_await 30 "the end of the session" attention "no connection"
queuectl connector enable "$TENANT" hq-1
stage_stop_pid "$STAGE_CONNECTOR_PID" # it would wait some minutes
stage_connector_start
stage_await 60 "the connection" stage_connected

# --- a CA that is not suspended
status 3 "not suspended" ctl ca resume corp-ca
status 2 "usage" ctl ca resume
