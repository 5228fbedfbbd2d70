#!/usr/bin/env bash
# A template of the local CA with `approval: manual`: requests wait, the administrator lists, approves and
# denies them with the tool, nobody else can, and nothing of it is lost when the CA's runner is killed.
STAGE_PROFILES='  desk: {cas: [corp-ca], template: desk, key_types: [ec-p256], eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature], max_validity: 365d, san: {email: [contoso.com]}, seals: [cms-auth]}'
. "$(dirname "$0")/lib.sh"
# as root with a user for each role, as on a real host: the tool has to become the CA's user
[ "$(id -u)" -ne 0 ] || STAGE_WALLS=full
stage_up
pid_of_runner() { role_pid ca-runner || true; } # status is 1 while something needs attention
other_runner() { local now; now=$(pid_of_runner) && [ -n "$now" ] && [ "$now" != 0 ] && [ "$now" != "$runner" ]; }
runner=$(pid_of_runner)
cat >>"$STAGE/etc/ca.d/corp-ca.yaml" <<-YAML
	  desk:
	    eku: [1.3.6.1.5.5.7.3.2]
	    key_usage: [digitalSignature]
	    approval: manual
	poll_after: 1s
YAML
kill -HUP "$STAGE_CONNECTOR_PID"
stage_await 60 "the runner with the new template" other_runner
stage_device laptop ec-p256

requests() { ctl --json ca requests; }
count() { requests | /usr/bin/python3 -c 'import json,sys; print(len(json.load(sys.stdin)))'; }
waiting() { [ "$(count)" -eq "$1" ]; }
# The reference of the request with this subject.
reference() {
	requests | /usr/bin/python3 -c '
import json, sys
print(*[r["reference"] for r in json.load(sys.stdin) if sys.argv[1] in r["subject"]])' "$1"
}
issued() { find "$STAGE/state/ca/corp-ca/local/issued" -name '*.pem' | wc -l; }
has_issued() { [ "$(issued)" -eq "$1" ]; }
# status STATUS PATTERN COMMAND...
status() {
	local want=$1 pattern=$2 got=0
	shift 2
	"$@" >"$STAGE/said" 2>&1 || got=$?
	[ "$got" -eq "$want" ] && grep -qE -- "$pattern" "$STAGE/said" ||
		{ cat "$STAGE/said" >&2; test_fail "exit status $got, not $want, or no \"$pattern\": $*"; }
}

test_expect "nothing waits at first" waiting 0
status 0 "no request waits" ctl ca requests
for name in alice bob carol; do
	stage_job "desk-$name" laptop issue --profile desk --key-type ec-p256 --seal cms-auth \
		--subject "CN=$name" --user "$name" --device laptop --san "email=$name@contoso.com"
done
submit_jobs desk-alice desk-bob desk-carol
stage_await 60 "three requests that wait" waiting 3
test_expect "nothing is issued before somebody has said so" has_issued 0
status 0 "CN=alice" ctl ca requests --ca corp-ca
status 0 "email:bob@contoso.com" ctl ca requests
status 0 "no request waits" ctl ca requests --ca no-such-ca

# --- a file that is no request hides none of the others
damaged=$STAGE/state/ca/corp-ca/local/requests/ffffffffffffffff
echo "no request" >"$damaged"
status 1 "corp-ca: request ffffffffffffffff" ctl ca requests
for name in alice bob carol; do
	test_expect "$name's request is listed beside it" grep -q "CN=$name" "$STAGE/said"
done
test_expect "how many could not be read is said" grep -q "1 files or directories of requests could not be read" "$STAGE/said"
rm "$damaged"

# --- nor does a CA whose directory cannot be opened
cp "$STAGE/etc/ca.d/corp-ca.yaml" "$STAGE/etc/ca.d/other-ca.yaml"
mkdir -p "$STAGE/state/ca/other-ca/local"
touch "$STAGE/state/ca/other-ca/local/requests"
status 1 "other-ca.*requests" ctl ca requests
for name in alice bob carol; do
	test_expect "$name's request is listed beside that CA" grep -q "CN=$name" "$STAGE/said"
done
status 0 "CN=alice" ctl ca requests --ca corp-ca
rm -r "$STAGE/etc/ca.d/other-ca.yaml" "$STAGE/state/ca/other-ca"

# --- wrong usage, and requests that are not there
status 2 "usage" ctl ca approve
status 2 "usage" ctl ca deny "$(reference alice)"
status 2 "16 hex digits" ctl ca approve ../../etc/passwd
status 3 "no request 0123456789abcdef waits" ctl ca approve 0123456789abcdef

# --- the CA's user, or root, and nobody else, whatever configuration he writes himself
if [ "$(id -u)" -eq 0 ]; then
	stage_free_uid
	stranger=(setpriv "--reuid=$STAGE_UID" "--regid=$STAGE_UID" --clear-groups)
	own=$STAGE/stranger
	mkdir -p "$own/ca.d"
	printf 'state_dir: %s\nca_dir: ca.d\n' "$STAGE/state" >"$own/connector.yaml"
	: >"$own/ca.d/corp-ca.yaml"
	chown -R "$STAGE_UID:$STAGE_UID" "$own"
	status 5 "ermission denied" "${stranger[@]}" "$STAGE/bin/certconnectorctl" --config "$own/connector.yaml" \
		ca approve "$(reference alice)"
	test_expect "a stranger cannot write a decision" sh -c "! ${stranger[*]} touch \
		'$STAGE/state/ca/corp-ca/local/decisions/$(reference alice)' 2>/dev/null"
	test_expect "the connector's own user cannot either" sh -c "! setpriv --reuid=$STAGE_NET_UID \
		--regid=$STAGE_NET_UID --clear-groups ls '$STAGE/state/ca/corp-ca/local/decisions' 2>/dev/null"
fi

# --- the runner dies; the requests do not
runner=$(pid_of_runner)
[ -n "$runner" ] || test_fail "no pid of the ca-runner"
kill -KILL "$runner"
stage_await 60 "a new ca-runner" other_runner
test_expect "three requests wait as before" waiting 3

alice=$(reference alice) bob=$(reference bob)
status 0 "approved" ctl ca approve "$alice"
status 3 "decided already" ctl ca deny "$alice" --reason "too late"
status 0 "denied" ctl ca deny "$bob" --reason "not one of ours" --ca corp-ca
stage_await 90 "one certificate" has_issued 1
stage_await 90 "one request that waits" waiting 1
test_expect "the one that waits is the third" [ -n "$(reference carol)" ]
status 3 "no request" ctl ca approve "$bob"
leaf=$(find "$STAGE/state/ca/corp-ca/local/issued" -name '*.pem')
test_expect "the certificate is alice's" sh -c "openssl x509 -in '$leaf' -noout -subject | grep -q alice"
test_expect "openssl believes it" openssl verify -CAfile "$ROOT_CERTIFICATE" "$leaf"
for word in ca_request_waits ca_request_decided; do
	test_expect "the log says $word" grep -q "name=$word" "$STAGE/connector.log"
done
