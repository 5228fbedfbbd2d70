#!/usr/bin/env bash
# Jobs that wait for a person at the CA: parked at the queue, alive over kill -9 of every process, delivered
# when approved, failed when denied, withdrawn when cancelled and at their deadline.  Every claim is settled.
STAGE_PROFILES='  desk: {cas: [corp-ca], template: desk, key_types: [ec-p256], eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature], max_validity: 365d, san: {email: [contoso.com]}, seals: [cms-auth]}'
. "$(dirname "$0")/lib.sh"
stage_new "$build"
stage_queue_up
stage_connector_config
stage_ctl_prefix=(stage_as)
stage_as sed -i 's/^connector: {/connector: {poll_min: 1s, /' "$STAGE/etc/connector.yaml"
stage_as tee -a "$STAGE/etc/ca.d/corp-ca.yaml" >/dev/null <<-YAML
	  desk:
	    eku: [1.3.6.1.5.5.7.3.2]
	    key_usage: [digitalSignature]
	    approval: manual
	poll_after: 1s
YAML
ctl init
ctl ca init corp-ca --subject "CN=Contoso Demo CA,O=Contoso"
stage_connector_start
stage_enroll
main_devices

requests() { ctl --json ca requests; }
reference() {
	requests | /usr/bin/python3 -c '
import json, sys
print(*[r["reference"] for r in json.load(sys.stdin) if sys.argv[1] in r["subject"]])' "$1"
}
waiting() { [ "$(requests | /usr/bin/python3 -c 'import json,sys; print(len(json.load(sys.stdin)))')" -eq "$1" ]; }
state_of() { queuectl --json show job "$1" --tenant "$TENANT" 2>/dev/null || queuectl --json show "$1" "${API[@]}"; }
is() { state_of "$2" | /usr/bin/python3 -c 'import json,sys; sys.exit(json.load(sys.stdin)["state"] != sys.argv[1])' "$1"; }
count_in() { queuectl --json show stats | /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["jobs"][sys.argv[1]])' "$1"; }
in_state() { [ "$(count_in "$1")" -eq "$2" ]; }
other_pid() { local now; now=$(role_pid "$1" || true) && [ -n "$now" ] && [ "$now" != "$2" ] && [ "$now" != 0 ]; }
said() { grep -qE -- "$1" "$STAGE/connector.log"; }
issued() { find "$STAGE/state/ca/corp-ca/local/issued" -name '*.pem' | wc -l; }
desk() { # NAME...: submitted, and each waits at the CA
	local name
	for name in "$@"; do
		stage_job "desk-$name" phone issue --profile desk --key-type ec-p256 --seal cms-auth \
			--subject "CN=$name" --user "$name" --device phone --san "email=$name@contoso.com"
	done
	submit_jobs "${@/#/desk-}"
}
# gone PID: a daemon that was killed is not missed any more
gone() {
	local pid left=()
	wait "$1" 2>/dev/null || true
	for pid in "${stage_pids[@]}"; do [ "$pid" = "$1" ] || left+=("$pid"); done
	stage_pids=(${left[@]+"${left[@]}"})
}

desk alice bob carol
alice_id=${IDS[0]} bob_id=${IDS[1]} carol_id=${IDS[2]}
stage_await 60 "three requests at the CA" waiting 3
stage_await 60 "three parked jobs" in_state parked 3
test_expect "the connector said so" said 'name=job_parked'

# --- every process is killed; the three stay parked, and no second request is made
for role in keyvault ca-runner connector; do
	pid=$(role_pid $role || true)
	[ -n "$pid" ] || test_fail "no pid of $role"
	kill -KILL "$pid"
	stage_await 60 "a new $role" other_pid $role "$pid"
done
kill -KILL "$STAGE_CONNECTOR_PID"
gone "$STAGE_CONNECTOR_PID"
kill -KILL "$STAGE_QUEUE_PID"
gone "$STAGE_QUEUE_PID"
stage_queue_start
stage_connector_start
stage_await 60 "the connection" stage_connected
stage_await 60 "three parked jobs" in_state parked 3
test_expect "three requests wait, as before" waiting 3
test_expect "nothing is issued" [ "$(issued)" -eq 0 ]

# --- approved: the device gets it
ctl ca approve "$(reference alice)"
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "$alice_id" || test_fail "the approved job failed"
MAIN_TOTAL=1
main_check desk-alice "opened and verified" check_pkcs desk-alice phone cms-auth "$alice_id"
[ "$MAIN_FAILED" -eq 0 ] || test_fail "the result is wrong"
test_expect "one certificate was issued" [ "$(issued)" -eq 1 ]

# --- denied: the job fails, and says why
ctl ca deny "$(reference bob)" --reason "not one of ours"
stage_await 60 "the denied job's failure" in_state dead 1
test_expect "the connector told the CA's reason" said 'event=1001 .*code=ca_rejected'

# --- cancelled while parked: withdrawn at the CA and settled
curl -sS --fail --noproxy '*' --cacert "$STAGE/queue/queue-ca.pem" -X POST -d '' \
	-H "Authorization: Bearer $(cat "$STAGE/producer.token")" \
	"https://$STAGE_HOST:$STAGE_PRODUCERS/v1/tenants/$TENANT/jobs/$carol_id:cancel" >/dev/null
stage_await 60 "no request at the CA" waiting 0
stage_await 60 "the claim's settlement" said 'event=5006 .*outcome=not_issued'
test_expect "one job is cancelled" in_state cancelled 1

# --- the deadline: withdrawn, and the job fails
stage_as sed -i 's/^connector: {/connector: {pending_max: 3s, /' "$STAGE/etc/connector.yaml"
connector=$(role_pid connector || true)
kill -HUP "$STAGE_CONNECTOR_PID"
stage_await 60 "the new setting" other_pid connector "$connector"
stage_await 60 "the connection" stage_connected
desk dave
stage_await 60 "the failure at the deadline" in_state dead 2
test_expect "it was told as such" said 'event=1001 .*code=pending_deadline'
test_expect "no request waits at the CA" waiting 0
test_expect "one certificate in all" [ "$(issued)" -eq 1 ]
test_expect "nothing is parked or claimed" [ "$(count_in parked)$(count_in claimed)$(count_in held)" = 000 ]
test_expect "nothing is in doubt" sh -c "! grep -q 'event=5017' '$STAGE/connector.log'"
