#!/usr/bin/env bash
# Where stderr is systemd's journal, every process of connector and queue sends its events to journald with
# native fields, from behind its walls; a stderr that is something else stays as it is.  A process of the
# test is journald, in a mount namespace with a /run of its own.
if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null ||
		{ echo "SKIPPED: needs root and a mount namespace for a journald of its own"; exit 77; }
	exec unshare --mount --propagation private bash "$0" --inside "$@"
fi
shift
mount -t tmpfs -o mode=755 tmpfs /run
. "$(dirname "$0")/lib.sh"

STAGE_WALLS=full
stage_new "$build"
mkdir -p /run/systemd/journal
stage_start journald.log /usr/bin/python3 "$top/tests/support/false_journald.py" \
	--socket /run/systemd/journal/socket --record "$STAGE/entries"
stage_await 30 "journald" test -S /run/systemd/journal/socket

# stream LOG: what systemd sets for a service whose stderr is this file
stream() {
	: >>"$STAGE/$1"
	export JOURNAL_STREAM
	JOURNAL_STREAM=$(stat -c %d:%i "$STAGE/$1")
}

stream queue.log
stage_queue_up
stream connector.log
stage_connector_up
stage_enroll
stage_device laptop ec-p256
stage_job one laptop issue --profile corp-user --key-type ec-p256 --subject "CN=Adele Vance" \
	--user adele@contoso.com --device laptop
submit_jobs one
queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}" >/dev/null

# has FIELD=VALUE...: an entry with these fields is there
has() {
	/usr/bin/python3 - "$STAGE/entries" "$@" <<-'PY'
		import json, sys
		entries = [json.loads(line) for line in open(sys.argv[1])]
		wanted = [w.partition("=")[::2] for w in sys.argv[2:]]
		sys.exit(not any(all(str(e.get(n)) == v for n, v in wanted) for e in entries))
	PY
}
await_entry() {
	stage_await 30 "an entry with $*" has "$@"
	echo "ok: an entry with $*"
}
job=${IDS[0]}
await_entry CC_ROLE=supervisor CC_EVENT=14 CC_NAME=walls_full PRIORITY=5 SYSLOG_IDENTIFIER=certconnectord
await_entry CC_ROLE=connector CC_EVENT=5003 "_PID=$(role_pid connector)"
await_entry CC_ROLE=connector CC_EVENT=1000 "CC_JOB=$job"
await_entry CC_ROLE=keyvault CC_EVENT=5113 "CC_JOB=$job" "_UID=$STAGE_VAULT_UID" "_PID=$(role_pid keyvault)"
await_entry CC_ROLE=ca-runner/corp-ca CC_EVENT=6002 "CC_JOB=$job" "_UID=$STAGE_CA_UID"
await_entry CC_ROLE=queue CC_EVENT=7011 "CC_JOB=$job" SYSLOG_IDENTIFIER=certqueued PRIORITY=6
! grep '"broken"' "$STAGE/entries" >&2 || test_fail "an entry does not keep the protocol"
echo "ok: every entry keeps the protocol"
test_expect "no event is on stderr as well" bash -c "! grep -qE '^time=.* event=' '$STAGE/connector.log' '$STAGE/queue.log'"

# --- a service of the journal whose stderr was sent elsewhere
stage_stop_pid "$STAGE_CONNECTOR_PID"
await_entry CC_ROLE=supervisor CC_EVENT=2
JOURNAL_STREAM=1:1
before=$(grep -c '"supervisor"' "$STAGE/entries")
stage_connector_start
test_expect "events are on stderr when it is not the journal" grep -q "event=14 " "$STAGE/connector.log"
test_expect "and not in the journal" [ "$(grep -c '"supervisor"' "$STAGE/entries")" -eq "$before" ]
