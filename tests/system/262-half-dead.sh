#!/usr/bin/env bash
# A network that falls silent without a word to anybody: both sides notice within 30 s (and what their clocks and this
# machine need beside it), and the connector works again as soon as the network does.
. "$(dirname "$0")/lib.sh"
stage_up
main_devices
LIMIT_S=32

relay_start() { # PORT: in front of the queue
	stage_start relay.log /usr/bin/python3 "$top/tests/support/relay_main.py" "$1" "$STAGE_CONNECTORS"
	RELAY_PID=$STAGE_PID
	stage_await 30 "the relay" grep -q ready "$STAGE/relay.log"
}
# when NAME PATTERN: the first such event since the network fell silent, in seconds after it
when() {
	/usr/bin/python3 - "$STAGE/$1.log" "$2" "$SILENT_SINCE" <<-'PYTHON'
		import datetime, re, sys
		for line in open(sys.argv[1], encoding="utf-8"):
		    if re.search(sys.argv[2], line):
		        at = re.match(r"time=(\S+)Z", line)
		        at = datetime.datetime.fromisoformat(at[1] + "+00:00").timestamp() - float(sys.argv[3])
		        if at >= 0:
		            print(f"{at:.1f}")
		            sys.exit(0)
		sys.exit(1)
	PYTHON
}
noticed() { # WHO LOG PATTERN
	local after
	stage_await 60 "$1 notices" when "$2" "$3"
	after=$(when "$2" "$3")
	test_expect "$1 noticed it after $after s" /usr/bin/python3 -c "exit(not $after <= $LIMIT_S)"
}

stage_stop_pid "$STAGE_CONNECTOR_PID"
stage_free_port
relay=$STAGE_PORT
relay_start "$relay"
stage_as sed -i "s|wss://\([^:]*\):[0-9]*|wss://\1:$relay|" "$STAGE/state/identity/identity.yaml"
stage_connector_start
stage_await_connected

kill -STOP "$RELAY_PID"
SILENT_SINCE=$(date +%s.%N)
noticed "the connector" connector 'event=5032 .*nothing was heard'
noticed "the queue" queue 'event=7002 '

# --- the network is there again
kill -CONT "$RELAY_PID"
stage_await_connected
stage_job after phone issue --profile corp-user --key-type ec-p256 --seal cms-auth --subject "CN=after" --user after \
	--device phone --san "email=after@contoso.com"
submit_jobs after
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[0]}" || test_fail "the job after it failed"
MAIN_TOTAL=1
main_check after "opened and verified" check_pkcs after phone cms-auth "${IDS[0]}"
test_expect "the result is right" [ "$MAIN_FAILED" -eq 0 ]
