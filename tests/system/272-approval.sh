#!/usr/bin/env bash
# Device keys that wait for the administrator: another key for a device that is known, and the first device of a
# user with an imported PFX.  The job goes back to the queue uncounted, is asked about once, survives kill -9 of the
# keyvault, and only the administrator decides: what is approved the device opens, what is denied fails with that reason.
. "$(dirname "$0")/lib.sh"
# as root with a user for each role, as on a real host: the connector's own user is shut out
[ "$(id -u)" -ne 0 ] || STAGE_WALLS=full
stage_new "$build"
stage_queue_up
stage_connector_config
sed -i 's/^connector: {/connector: {approval_retry: 1s, approval_retry_max: 2s, /' "$STAGE/etc/connector.yaml"
sed -i 's/^device_keys: .*/device_keys: pinned/' "$STAGE/etc/policy.yaml"
stage_ctl_prefix=(stage_as)
if [ "${STAGE_WALLS:-reduced}" = full ]; then
	stage_ctl_prefix=(env)
	chown -R 0:0 "$STAGE/etc"
fi
ctl init
ctl ca init corp-ca --subject "CN=Contoso Demo CA,O=Contoso"
stage_connector_start
stage_enroll
main_devices
stage_device phone-again ec-p256
stage_device phone-false ec-p256

field() { /usr/bin/python3 -c 'import json,sys; d=json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
waiting() { [ "$(ctl --json jobs waiting | field 'len([j for j in d if j["state"] == "waits"])')" -eq "$1" ]; }
# what `jobs approve` wants for this job
word() { ctl --json jobs waiting | field "[j for j in d if j['job'] == '$1'][0]['approve']"; }
counted() { [ "$(ctl --json status | field 'd["waiting_jobs"]')" -eq "$1" ]; }
# as the producer sees it
job_field() {
	curl -sS --fail --noproxy '*' --cacert "$STAGE/queue/queue-ca.pem" \
		-H "Authorization: Bearer $(cat "$STAGE/producer.token")" \
		"https://$STAGE_HOST:$STAGE_PRODUCERS/v1/tenants/$TENANT/jobs/$1" | field "$2"
}
given_back() { [ "$(job_field "$1" 'd["state"] == "ready" and d.get("waits_for") == "approval"')" = True ]; }
delivered() { [ "$(job_field "$1" 'd["deliveries"]')" -ge "$2" ]; }
said() { grep -c -- "$1" "$STAGE/connector.log" || true; }
other_vault() { local now; now=$(role_pid keyvault || true) && [ -n "$now" ] && [ "$now" != "$vault" ] && [ "$now" != 0 ]; }
# status STATUS PATTERN COMMAND...
status() {
	local want=$1 pattern=$2 got=0
	shift 2
	"$@" >"$STAGE/said" 2>&1 || got=$?
	[ "$got" -eq "$want" ] && grep -qE -- "$pattern" "$STAGE/said" ||
		{ cat "$STAGE/said" >&2; test_fail "exit status $got, not $want, or no \"$pattern\": $*"; }
}
# pkcs NAME KEYS: a job of alice on the device "phone", for the key in the folder KEYS
pkcs() {
	stage_job "$1" "$2" issue --profile corp-user --key-type ec-p256 --seal cms-auth --subject "CN=alice" \
		--user alice --device phone --san email=alice@contoso.com
	submit_jobs "$1"
	ID=${IDS[0]}
}
done_at_queue() { queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "$1"; }
opens() { quietly check_pkcs "$1" "$2" cms-auth "$3"; }

test_expect "no job waits at first" waiting 0
status 0 "no job waits" ctl jobs waiting
pkcs first phone
first=$ID
test_expect "the first key of a device is taken without a question" quietly done_at_queue "$first"

# --- another key: back to the queue, uncounted, asked about once
pkcs again phone-again
again=$ID
stage_await 60 "a job that waits for approval" given_back "$again"
stage_await 60 "one question" waiting 1
stage_await 60 "more deliveries" delivered "$again" 3
test_expect "its attempts are not counted" [ "$(job_field "$again" 'd["attempts"]')" -eq 0 ]
test_expect "it was asked about once" [ "$(said "name=approval_asked.*job=$again")" -eq 1 ]
stage_await 60 "status that counts it" counted 1
status 1 "1 jobs wait for an operator: certconnectorctl jobs waiting" ctl status
asked=$(openssl pkey -pubin -in "$STAGE/devices/phone-again/device.pub" -outform DER | sha256sum | cut -c1-64)
known=$(openssl pkey -pubin -in "$STAGE/devices/phone/device.pub" -outform DER | sha256sum | cut -c1-64)
status 0 "$again" ctl jobs waiting
for word in "key_sha256 +$asked" "known_key_sha256 +$known" "user +alice" "device +phone" "for +corp-user"; do
	test_expect "the list says: $word" grep -qE "$word" "$STAGE/said"
done

# --- wrong usage, jobs that do not wait, and who has no say
status 2 "usage" ctl jobs approve
status 2 "usage" ctl jobs deny "$again"
status 2 "usage" ctl jobs waiting "$again"
status 2 "not the id of a job" ctl jobs approve ../../etc/passwd
status 2 "not what the line" ctl jobs approve "$again"
status 2 "not what the line" ctl jobs approve "$again:0123"
status 3 "no such job waits" ctl jobs approve "$first:$asked"
status 3 "not what was shown: list it again" ctl jobs approve "$again:$asked"
if [ "$(id -u)" -eq 0 ]; then
	courier=(setpriv "--reuid=$STAGE_NET_UID" "--regid=$STAGE_NET_UID" --clear-groups)
	printf 'state_dir: %s\nrun_dir: %s\n' "$STAGE/state" "$STAGE/run" >"$STAGE/courier.yaml"
	chmod 0644 "$STAGE/courier.yaml"
	status 5 "not open to this user" "${courier[@]}" "$STAGE/bin/certconnectorctl" --config "$STAGE/courier.yaml" \
		jobs approve "$(word "$again")"
fi

# --- the keyvault dies; question and approval do not
vault=$(role_pid keyvault || true)
kill -KILL "$vault"
stage_await 60 "a new keyvault" other_vault
stage_await 60 "the question, as before" waiting 1
status 0 "approved" ctl jobs approve "$(word "$again")"
test_expect "the approved job is issued" quietly done_at_queue "$again"
test_expect "the device opens it with its new key" opens again phone-again "$again"
test_expect "nothing waits any more" waiting 0
status 0 "key_sha256 +$asked" ctl devices --device phone
test_expect "the device's key is there by approval" grep -qE "source +approved" "$STAGE/said"
status 0 "no device is known" ctl devices --device typewriter
test_expect "who approved is in the log" [ "$(said "name=approval_decided.*job=$again decision=approved uid=")" -eq 1 ]

# --- now the first key is the other one; what is denied fails, with the reason
pkcs false phone-false
false_id=$ID
stage_await 60 "a second question" waiting 1
status 0 "denied" ctl jobs deny "$false_id" --reason "this phone is in the drawer"
status 3 "denied already" ctl jobs approve "$false_id:$asked"
status 3 "." done_at_queue "$false_id"
test_expect "the producer reads why" [ "$(job_field "$false_id" 'd["state"], d["error"]["code"], d["error"]["event"]')" = \
	"('failed', 'denied_by_operator', 5117)" ]
test_expect "the operator's words are in the log" [ "$(said "this phone is in the drawer")" -ge 1 ]
pkcs renewed phone-again
test_expect "the approved key needs no second word" quietly done_at_queue "$ID"

# --- an imported PFX goes to a user's first device only after a word
made=$STAGE/made
install -d -m 0755 "$made"
install -m 0600 -o "$STAGE_OWNER" /dev/null "$made/password"
printf '%s\n' "$PFX_PASSWORD" >"$made/password"
give() { [ "${STAGE_WALLS:-reduced}" != full ] || chown -R "$1:$1" "$STAGE/producer.token" "$made/password" "$STAGE/imported"; }
give 0 # the tool runs as root, and takes no secret of somebody else
main_import bob openssl ec-p256
give "$STAGE_OWNER"
record=$(main_deliver bob tablet cms-auth)
stage_await 60 "a record that waits" waiting 1
status 0 "first device of a user who has imported keys" ctl jobs waiting
status 0 "approved" ctl jobs approve "$(word "$record")"
test_expect "the approved record is delivered" quietly done_at_queue "$record"
test_expect "the user's device opens it" quietly check_pfx bob tablet cms-auth "$record" "$made/bob.pem"
