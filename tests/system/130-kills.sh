#!/usr/bin/env bash
# 50 jobs while keyvault, ca-runner and connector are killed in turn: every job ends with a correct result,
# and the CA has issued 50 certificates.
. "$(dirname "$0")/lib.sh"
JOBS_TOTAL=50
stage_up
main_devices
devices=(laptop phone tablet)
names=()
for i in $(seq $JOBS_TOTAL); do
	device=${devices[i % 3]}
	type=ec-p256
	[ $((i % 5)) -ne 0 ] || type=rsa-2048
	stage_job "kill-$i" "$device" issue --profile corp-user --key-type "$type" --seal cms-auth \
		--subject "CN=Kill $i" --user "user-$i" --device "$device" --san "email=user$i@contoso.com"
	names+=("kill-$i")
done

done_count() { queuectl --json show stats | /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["jobs"]["done"])'; }
at_least() { [ "$(done_count)" -ge "$1" ]; }
other_pid() { local now; now=$(role_pid "$1") && [ -n "$now" ] && [ "$now" != "$2" ] && [ "$now" != 0 ]; }

killed=()
ids=()
roles=(keyvault ca-runner connector keyvault connector ca-runner)
for round in "${!roles[@]}"; do
	# a part of the jobs is submitted, and the role is killed while they are worked on
	from=$((round * JOBS_TOTAL / 6)) to=$(((round + 1) * JOBS_TOTAL / 6))
	pid=$(role_pid "${roles[round]}")
	[ -n "$pid" ] || test_fail "no pid of ${roles[round]}"
	submit_jobs "${names[@]:from:to - from}"
	ids+=("${IDS[@]}")
	stage_await 60 "the first job of round $round" at_least $((from + 1))
	kill -KILL "$pid"
	killed+=("${roles[round]}")
	stage_await 60 "a new ${roles[round]}" other_pid "${roles[round]}" "$pid"
done
[ "${#ids[@]}" -eq $JOBS_TOTAL ] || test_fail "${#ids[@]} ids"
queuectl wait "${API[@]}" --timeout 180s --out "$STAGE/results" "${ids[@]}" || test_fail "a job failed"

MAIN_TOTAL=$JOBS_TOTAL
for i in "${!names[@]}"; do
	main_check "${names[i]}" "opened and verified" \
		check_pkcs "${names[i]}" "${devices[(i + 1) % 3]}" cms-auth "${ids[i]}"
done
[ "$MAIN_FAILED" -eq 0 ] || test_fail "$MAIN_FAILED results are wrong"
[ "$MAIN_PASSED" -eq $JOBS_TOTAL ] || test_fail "$MAIN_PASSED results"

issued=$(find "$STAGE/state/ca/corp-ca/local/issued" -name '*.pem' | wc -l)
test_expect "the CA's list has $JOBS_TOTAL certificates ($issued)" [ "$issued" -eq $JOBS_TOTAL ]
delivered=$(for i in $(seq $JOBS_TOTAL); do
	stage_as openssl x509 -in "$STAGE/opened/kill-$i/leaf.pem" -serial -noout
done | sort -u | wc -l)
test_expect "as many different certificates were delivered" [ "$delivered" -eq $JOBS_TOTAL ]
echo "killed: ${killed[*]}"
