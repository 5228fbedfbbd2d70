#!/usr/bin/env bash
# With a uid for each role the walls are full: status says so, and the processes show it.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || test_skip "changing uids needs root"
STAGE_WALLS=full
stage_up
stage_device laptop rsa-2048
stage_as mkdir -p "$STAGE/results" "$STAGE/opened"
stage_job walls-1 laptop issue --profile corp-user --key-type ec-p256 --seal cms-auth \
	--subject "CN=Walls" --user user-1 --device laptop
submit_jobs walls-1
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[@]}"
test_expect "the result opens and verifies" check_pkcs walls-1 laptop cms-auth "${IDS[0]}"
ctl status >"$STAGE/status.txt" || true
test_expect "status says walls: full" grep -q '^walls: full' "$STAGE/status.txt"

uid_of() { awk '/^Uid:/ {print $2}' "/proc/$1/status"; }
caps_of() { awk '/^CapEff:/ {print $2}' "/proc/$1/status"; }
seen=" $(uid_of "$STAGE_CONNECTOR_PID") "
for role in connector keyvault ca-runner; do
	pid=$(role_pid "$role")
	uid=$(uid_of "$pid")
	test_expect "$role is not root" [ "$uid" -ne 0 ]
	test_expect "$role has a uid of its own ($uid)" [ "${seen/ $uid /}" = "$seen" ]
	test_expect "$role has no capability" [ "$(caps_of "$pid")" = 0000000000000000 ]
	test_expect "$role is behind seccomp" grep -q '^Seccomp:\s*2' "/proc/$pid/status"
	test_expect "$role gets no new privileges" grep -q '^NoNewPrivs:\s*1' "/proc/$pid/status"
	seen="$seen$uid "
done
test_expect "the supervisor is not root" [ "$(uid_of "$STAGE_CONNECTOR_PID")" -ne 0 ]
