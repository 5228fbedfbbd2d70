#!/usr/bin/env bash
# Known plaintext is planted, made and delivered, and then looked for everywhere that is not the keyvault or
# the device: the queue's database, the journal, the logs, the frames on the wire, the connector's memory.
. "$(dirname "$0")/lib.sh"
find_bytes() { /usr/bin/python3 "$top/tests/support/find_bytes.py" "$@"; }

stage_new "$build"
stage_queue_up
# the connector is told to dial the tap, which stands before the queue's real port
stage_free_port && TAP_PORT=$STAGE_PORT
stage_stop_pid "$STAGE_QUEUE_PID"
stage_as sed -i "s,wss://$STAGE_HOST:$STAGE_CONNECTORS,wss://$STAGE_HOST:$TAP_PORT," "$STAGE/queue/queue.yaml"
stage_queue_start
stage_connector_up
# its client certificate comes with enrolment, so the tap starts when that is there
stage_join
stage_start tap.log "${stage_user_prefix[@]}" /usr/bin/python3 "$top/tests/support/wire_tap.py" --listen "$TAP_PORT" \
	--to "$STAGE_CONNECTORS" --server-chain "$STAGE/queue/server.pem" --server-key "$STAGE/queue/server.key" \
	--ca "$STAGE/queue/queue-ca.pem" --client-chain "$STAGE/state/identity/transport.pem" \
	--client-key "$STAGE/state/identity/transport.key" --record "$STAGE/wire.bin"
stage_await_connected

main_job
[ "$MAIN_FAILED" -eq 0 ] || test_fail "the main job had failures"

# what must be nowhere: the human's password, every PFX password, bytes of each private key
stage_as /usr/bin/python3 - "$STAGE" <<-'PY'
	import glob, json, re, subprocess, sys
	stage = sys.argv[1]
	needles = {"the planted password": b"Summer2026!"}
	for path in glob.glob(stage + "/opened/*/password"):
	    name = path.split("/")[-2]
	    needles["the PFX password of " + name] = open(path, "rb").read()
	    text = subprocess.run(["openssl", "pkey", "-in", path.replace("password", "all.pem"), "-text", "-noout"],
	                          capture_output=True, text=True, check=True).stdout
	    part = re.search(r"(?:prime1|priv):\n((?:\s+[0-9a-f:]+\n)+)", text).group(1)
	    key = bytes.fromhex(re.sub(r"[\s:]", "", part)).lstrip(b"\0")
	    needles["private key bytes of " + name] = key[:24]
	assert len(needles) > 50, len(needles)
	json.dump({n: b.hex() for n, b in needles.items()}, open(stage + "/needles.json", "w"))
	# and what must be found, so that a blind search does not pass for a clean one
	json.dump({"an address in a certificate": b"user7@contoso.com".hex()},
	          open(stage + "/marker.json", "w"))
PY
find_as() { stage_as /usr/bin/python3 "$top/tests/support/find_bytes.py" "$@"; }
if [ "$(id -u)" -eq 0 ]; then find_as() { find_bytes "$@"; }; fi

connector=$(role_pid connector)
test_expect "the search finds what is there: queue" find_as "$STAGE/marker.json" "$STAGE/queue/state"
test_expect "the search finds what is there: wire" find_as "$STAGE/marker.json" "$STAGE/wire.bin"
test_expect "the search finds what is there: journal" find_as "$STAGE/marker.json" "$STAGE/state/journal"
not_in() {
	local what=$1 status=0
	shift
	find_as "$STAGE/needles.json" "$@" || status=$?
	[ $status -eq 1 ] || test_fail "$what: something was found, or it could not be read ($status)"
	echo "ok: nothing in $what"
}
not_in "the queue's database" "$STAGE/queue/state"
not_in "the journal" "$STAGE/state/journal"
not_in "the keyvault's files" "$STAGE/state/vault"
not_in "the CA's files" "$STAGE/state/ca"
not_in "the logs" "$STAGE/queue.log" "$STAGE/connector.log"
not_in "the frames on the wire" "$STAGE/wire.bin"
not_in "the image of the connector" --pid "$connector"
not_in "the image of the queue" --pid "$STAGE_QUEUE_PID"

# the connector's image can be read by its own user in this build; the keyvault's never
printf '{"any": "%s"}' "$(printf 'certconnector' | od -An -tx1 | tr -d ' \n')" |
	stage_as tee "$STAGE/any.json" >/dev/null
test_expect "its own user can read the connector" \
	stage_as /usr/bin/python3 "$top/tests/support/find_bytes.py" "$STAGE/any.json" --pid "$connector"
status=0
stage_as /usr/bin/python3 "$top/tests/support/find_bytes.py" "$STAGE/any.json" --pid "$(role_pid keyvault)" || status=$?
test_expect "its own user cannot read the keyvault" [ "$status" -eq 2 ]
