#!/usr/bin/env bash
# Difficult names through the real daemons: subject, alternative names, SID, templates and S/MIME capabilities
# of each certificate are the bytes that another library makes of the same names; and the renewal hint.
. "$(dirname "$0")/lib.sh"
table=$top/tests/data/names.tsv
names() { /usr/bin/python3 "$top/tests/support/names_jobs.py" "$@"; }

/usr/bin/python3 "$top/tests/data/names_gen.py" --check "$table" || test_fail "the table is not what its generator makes"

profile() { # NAME LINE...
	printf '  %s:\n' "$1"
	shift
	printf '    %s\n' "cas: [corp-ca]" "key_types: [ec-p256]" "eku: [1.3.6.1.5.5.7.3.2]" \
		"key_usage: [digitalSignature]" "max_validity: 365d" \
		"san:" "  email: [contoso.com]" "  upn: [contoso.com]" "  dns: [contoso.com, pc1]" \
		"  uri: ['https://contoso.com/', 'spiffe://contoso.com/', 'urn:uuid:', 'ID:Microsoft+Endpoint-Manager:GUID:x']" \
		"  ip: [10.0.0.0/8, 192.168.0.1, '2001:db8::/32']" "$@"
}
write_profiles() {
	local v2=1.3.6.1.4.1.311.21.8.3025710.4393146.2181807.13924342.9568199.8.4253412.23540570
	stage_as tee "$STAGE/profiles" >/dev/null < <(
		profile names "template: user"
		profile names-v1 "template: User" "template_extension: v1"
		profile names-v2 "template: user" "template_extension: v2" "template_oid: $v2" \
			"template_major: 100" "template_minor: 3"
	)
	stage_as sed -i "/^ca_profiles:/r $STAGE/profiles" "$STAGE/etc/policy.yaml"
	printf '  User: {eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature]}\n' |
		stage_as tee -a "$STAGE/etc/ca.d/corp-ca.yaml" >/dev/null
}

stage_new "$build"
stage_queue_up
eval "$(declare -f stage_connector_config | sed '1s/.*/stage_default_config()/')"
stage_connector_config() { stage_default_config && write_profiles; }
stage_connector_up
stage_enroll

stage_device phone ec-p256
stage_as mkdir -p "$STAGE/jobs" "$STAGE/results" "$STAGE/opened"
stage_as certdevice ask issue --dir "$STAGE/devices/phone" --tenant "$TENANT" --profile names \
	--key-type ec-p256 --subject CN=x --user user-1 --device phone --out "$STAGE/base.json"
stage_as /usr/bin/python3 "$top/tests/support/names_jobs.py" write "$table" "$STAGE/base.json" \
	"$STAGE/jobs" >"$STAGE/names.txt"
mapfile -t cases <"$STAGE/names.txt"
[ "${#cases[@]}" -ge 10 ] || test_fail "only ${#cases[@]} cases"
for name in "${cases[@]}"; do
	stage_as certqueuectl sign --key "$STAGE/signer.key" --out "$STAGE/jobs/$name.job.json" \
		"$STAGE/jobs/$name.request.json"
done
submit_jobs "${cases[@]}"
queuectl wait "${API[@]}" --timeout 120s --out "$STAGE/results" "${IDS[@]}" || true
for i in "${!cases[@]}"; do
	name=${cases[i]} result=$STAGE/results/${IDS[i]}.json
	names check "$table" "$result" "$name" || {
		stage_say "$(head -c 400 "$result")"
		test_fail "$name: not the expected bytes"
	}
	check_pkcs "$name" phone cms-auth "${IDS[i]}" >"$STAGE/check.log" 2>&1 || {
		stage_say "$(cat "$STAGE/check.log")"
		test_fail "$name: openssl does not take it"
	}
	stage_as openssl verify -x509_strict -CAfile "$ROOT_CERTIFICATE" "$STAGE/opened/$name/leaf.pem" >/dev/null
	echo "ok: $name"
done
