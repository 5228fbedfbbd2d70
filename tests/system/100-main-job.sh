#!/usr/bin/env bash
# The whole main job under sanitizers, and what doctor and status say of it.
. "$(dirname "$0")/lib.sh"
stage_up
main_job
[ "$MAIN_FAILED" -eq 0 ] || test_fail "the main job had failures"
[ "$MAIN_PASSED" -ge 60 ] || test_fail "only $MAIN_PASSED results"

ctl doctor | tee "$STAGE/doctor.txt" || test_fail "doctor found something"
for line in configuration permissions clock "TLS to the queue" connection "CA corp-ca" policy; do
	test_expect "doctor tells of $line" grep -q "^ok *$line" "$STAGE/doctor.txt"
done
ctl status >"$STAGE/status.txt" || true
ctl --json status >"$STAGE/status.json" || true
test_expect "status says until when each certificate and signer is good" /usr/bin/python3 -c '
import json, sys
ends = {e["what"]: e for e in json.load(open(sys.argv[1]))["expiries"]}
signers = [w for w in ends if w.startswith("statement of signer ")]
wanted = {"transport certificate", "queue\x27s CA", "queue\x27s server certificate", "root of CA corp-ca"}
missing = wanted - ends.keys()
odd = [e for e in ends.values() if not e["not_after"] or not -1 <= e["days_left"] <= 4000]
sys.exit(f"{missing} {odd} {ends}" if missing or odd or not signers else 0)' "$STAGE/status.json"
test_expect "status says walls: reduced" grep -q '^walls: reduced' "$STAGE/status.txt"
test_expect "status says cloud-blind: no" grep -q '^cloud-blind: no' "$STAGE/status.txt"

# doctor with something wrong: it says so, and how to mend it
stage_as chmod 0644 "$STAGE/etc/master.key"
if ctl doctor >"$STAGE/doctor.txt"; then test_fail "doctor did not see a readable master key"; fi
test_expect "doctor names the fix" grep -q "FAIL *permissions: .*master.key.*fix: chmod" "$STAGE/doctor.txt"
stage_as chmod 0600 "$STAGE/etc/master.key"

# stopped in order, everything is gone
stage_stop_pid "$STAGE_CONNECTOR_PID"
test_expect "the connector said that it stopped" grep -q 'name=stopped' "$STAGE/connector.log"
