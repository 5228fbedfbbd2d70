#!/usr/bin/env bash
# Imported PFX from record to device: records that plain openssl made, as Microsoft's tool shapes them and bound
# ones for several keys, under every padding; policy's two answers to records without a binding; a user's whole
# history as one batch for two devices; files under RC2; passwords and files that are refused, with their reasons.
# The keyvault that was there at the start serves to the end.
. "$(dirname "$0")/lib.sh"
STAGE_REWRAP="unbound_records: check"
stage_up
made=$STAGE/made
mkdir "$made" && chmod 0755 "$made"
stage_as mkdir -p "$STAGE/results" "$STAGE/opened" "$STAGE/records" "$STAGE/list"
keyvault=$(role_pid keyvault)
stage_device laptop rsa-2048
stage_device phone ec-p256

# What a test's file needs: owned by the stage's user, mode 0600, without a line's end.
secret_file() { # FILE TEXT
	install -m 0600 -o "$STAGE_OWNER" /dev/null "$1"
	printf '%s' "$2" >"$1"
}
secret_file "$made/password" 'Summer2026!'

# The keyvault's key, and one of a keyvault that is elsewhere.
/usr/bin/python3 - "$STAGE/result-keys.json" "$made/onprem.der" <<-'PY'
	import base64, json, sys
	keys = json.load(open(sys.argv[1]))
	own = [k for k in keys if k["use"] == "decrypt" and k["current"]]
	open(sys.argv[2], "wb").write(base64.b64decode(own[0]["spki"]))
PY
openssl pkey -pubin -inform DER -in "$made/onprem.der" -out "$made/onprem.pem"
openssl genrsa -out "$made/elsewhere.key" 2048 2>/dev/null
openssl pkey -in "$made/elsewhere.key" -pubout -out "$made/elsewhere.pem"
onprem_id=$(sha256sum <"$made/onprem.der" | cut -c1-64)

make() { # NAME [DAYS]: NAME.pfx and NAME.pem for NAME@contoso.com
	/usr/bin/python3 "$top/tests/peers/make_pfx.py" rsa-2048 aes "$1" "$made/password" \
		"$made/$1.pfx" "$made/$1.pem" "${2:-365}"
	chmod 0644 "$made/$1.pfx" "$made/$1.pem"
}

record() { # NAME HASH KEYS-AND-OPTIONS...
	local name=$1 hash=$2
	shift 2
	/usr/bin/python3 "$top/tests/peers/make_record.py" "$made/$name.pfx" "$made/$name.pem" "$made/password" \
		"id-$name" "$name@contoso.com" "$hash" "$made/$name.json" "$@"
	chmod 0644 "$made/$name.json"
	queuectl record put "${API[@]}" "$made/$name.json" >/dev/null
}

# A request with the holder's UPN, which certdevice does not know, signed.
signed() { # JOB DEVICE USER-ID UPN RECORD-FILE [--key-id HEX]
	local job=$1 device=$2 user=$3 upn=$4 file=$5
	shift 5
	stage_as mkdir -p "$STAGE/jobs"
	stage_as certdevice ask rewrap --dir "$STAGE/devices/$device" --tenant "$TENANT" --user "$user" \
		--device "$device" --seal cms-auth --idempotency-key "$job" --out "$STAGE/jobs/$job.request.json"
	/usr/bin/python3 - "$STAGE/jobs/$job.request.json" "$upn" <<-'PY'
		import json, sys
		request = json.load(open(sys.argv[1]))
		request["rewrap"]["holder"]["upn"] = sys.argv[2]
		json.dump(request, open(sys.argv[1], "w"))
	PY
	stage_as certqueuectl sign --key "$STAGE/signer.key" --record "$file" "$@" \
		--out "$STAGE/jobs/$job.job.json" "$STAGE/jobs/$job.request.json"
}

wait_for() { queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "$@"; }

opened_as_made() { # JOB DEVICE JOB-ID CERTIFICATE
	local out=$STAGE/opened/$1
	stage_as certdevice open --dir "$STAGE/devices/$2" --job "$STAGE/jobs/$1.job.json" \
		--result "$STAGE/results/$3.json" --result-keys "$STAGE/result-keys.json" --out "$out" &&
		openssl_unseal "$out" "$2" cms-auth && openssl_pfx "$out" &&
		[ "$(openssl x509 -in "$out/leaf.pem" -outform DER | sha256sum)" = \
			"$(openssl x509 -in "$4" -outform DER | sha256sum)" ]
}

delivered() { # WHAT NAME DEVICE [--key-id HEX]
	local what=$1 name=$2 device=$3 id
	shift 3
	signed "$name" "$device" "id-$name" "$name@contoso.com" "$made/$name.json" "$@"
	id=$(queuectl record deliver "${API[@]}" "$STAGE/jobs/$name.job.json")
	wait_for "$id"
	test_expect "$what" quietly opened_as_made "$name" "$device" "$id" "$made/$name.pem"
}

error_of() { # JOB-ID
	/usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["error"]["code"])' \
		"$STAGE/results/$1.json"
}

not_delivered() { # WHAT JOB CODE REASON-IN-THE-LOG
	local id status=0
	id=$(queuectl record deliver "${API[@]}" "$STAGE/jobs/$2.job.json")
	wait_for "$id" 2>/dev/null || status=$?
	test_expect "$1: $3" test "$status:$(error_of "$id")" = "3:$3"
	test_expect "the reason is in the local log only: $4" \
		grep -q "job=$id .*code=$3 .*$4" "$STAGE/connector.log"
	if grep -q "$4" "$STAGE/results/$id.json"; then test_fail "the reason is in the result"; fi
}

# ---- every padding, both shapes ----

for hash in sha256 sha384 sha512; do
	make "plain-$hash" && record "plain-$hash" "$hash" "$made/onprem.pem"
	delivered "as Microsoft's tool shapes it, OAEP $hash" "plain-$hash" laptop --key-id "$onprem_id"
	make "bound-$hash"
	record "bound-$hash" "$hash" --tenant "$TENANT" "$made/elsewhere.pem" "$made/onprem.pem"
	delivered "bound, the second of two keys, OAEP $hash" "bound-$hash" phone
done

# ---- records without a binding ----

signed another phone id-plain-sha256 mallory@contoso.com "$made/plain-sha256.json" --key-id "$onprem_id"
not_delivered "another user's record" another password_unusable "the certificate in the PFX is not the job's user's"
if stage_as certqueuectl sign --key "$STAGE/signer.key" --record "$made/plain-sha256.json" \
	"$STAGE/jobs/another.request.json" >"$STAGE/quietly.out" 2>&1; then test_fail "signed without a key"; fi
test_expect "a record that names no key is not signed without --key-id" \
	grep -q "the record names no key; --key-id says which one it is" "$STAGE/quietly.out"

sed -i 's/unbound_records: check/unbound_records: refuse/; s/^revision: 1/revision: 2/' "$STAGE/etc/policy.yaml"
kill -HUP "$STAGE_CONNECTOR_PID"
stage_await 30 "the new policy" grep -q "name=policy_loaded role=keyvault revision=2" "$STAGE/connector.log"
stage_await 30 "the connection after it" stage_connected
signed refused laptop id-plain-sha384 plain-sha384@contoso.com "$made/plain-sha384.json" --key-id "$onprem_id"
not_delivered "the policy refuses records without a binding" refused policy_denied \
	"rewrap: records without a binding are refused"
sed -i 's/unbound_records: refuse/unbound_records: check/; s/^revision: 2/revision: 3/' "$STAGE/etc/policy.yaml"
kill -HUP "$STAGE_CONNECTOR_PID"
stage_await 30 "the old policy" grep -q "name=policy_loaded role=keyvault revision=3" "$STAGE/connector.log"
stage_await 30 "the connection after it" stage_connected

# ---- a user's history ----

import() { # FILE PASSWORD-FILE UPN [OPTION...]
	local file=$1 password=$2 upn=$3
	shift 3
	ctl pfx import "$file" --upn "$upn" --password-file "$password" --out "$STAGE/records" \
		--queue "https://$STAGE_HOST:$STAGE_PRODUCERS" --token-file "$STAGE/producer.token" "$@"
}

for name in history-1:-400 history-2:-30 history-3:200; do
	make "${name%:*}" "${name#*:}"
	import "$made/${name%:*}.pfx" "$made/password" Alice@Contoso.com >/dev/null
done
make signature
import "$made/signature.pfx" "$made/password" Alice@Contoso.com --purpose smimeSigning >/dev/null
test_expect "two of the three certificates have expired" test \
	"$(for i in 1 2 3; do openssl x509 -in "$made/history-$i.pem" -checkend 0 -noout; done | grep -c 'will expire')" = 2
queuectl record list "${API[@]}" --user alice@contoso.com --purpose smimeEncryption --out "$STAGE/list" >"$made/ids"
test_expect "the queue lists the three of this purpose, expired ones too" test "$(wc -l <"$made/ids")" = 3
for device in laptop phone; do
	files=()
	for record in "$STAGE/list"/*.json; do
		job=$device-$(basename "$record" .json)
		signed "$job" "$device" alice@contoso.com Alice@Contoso.com "$record"
		files+=("$STAGE/jobs/$job.job.json")
	done
	mapfile -t ids < <(queuectl record deliver "${API[@]}" "${files[@]}")
	test_expect "$device: one batch of three" test "${#ids[@]}" = 3
	wait_for "${ids[@]}"
	for i in 0 1 2; do
		job=$(basename "${files[i]}" .job.json)
		original=$(for c in "$made"/history-*.pem; do
			[ "$(openssl x509 -in "$c" -fingerprint -sha1 -noout | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')" != \
				"${job#*-}" ] || echo "$c"
		done)
		test_expect "$device: $(basename "$original" .pem) is opened, key and certificate are the imported ones" \
			quietly opened_as_made "$job" "$device" "${ids[i]}" "$original"
	done
done

# ---- RC2 ----

make old
openssl pkcs12 -in "$made/old.pfx" -passin "file:$made/password" -nodes -out "$made/old.all" 2>/dev/null
openssl pkcs12 -legacy -export -in "$made/old.all" -passout "file:$made/password" -out "$made/old.pfx"
openssl pkcs12 -legacy -in "$made/old.pfx" -passin "file:$made/password" -info -noout 2>"$made/info"
grep -q RC2 "$made/info" || test_fail "openssl -legacy did not use RC2"
record old sha512 "$made/onprem.pem"
signed old laptop id-old old@contoso.com "$made/old.json" --key-id "$onprem_id"
not_delivered "a record under RC2 is not opened where the keys are" old password_unusable \
	"pfx: encrypted with RC2, which is read only when it is imported; convert it: certconnectorctl pfx import"
import "$made/old.pfx" "$made/password" old@contoso.com >/dev/null
thumbprint=$(openssl x509 -in "$made/old.pem" -fingerprint -sha1 -noout | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
signed old-again laptop old@contoso.com old@contoso.com "$STAGE/records/$thumbprint.json"
id=$(queuectl record deliver "${API[@]}" "$STAGE/jobs/old-again.job.json")
wait_for "$id"
test_expect "the same file, imported: delivered without RC2" \
	quietly opened_as_made old-again laptop "$id" "$made/old.pem"

# ---- an upload whose end is not known ----

make lost
kept=$STAGE/records/$(openssl x509 -in "$made/lost.pem" -fingerprint -sha1 -noout | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f').json
if import "$made/lost.pfx" "$made/password" lost@contoso.com --queue https://127.0.0.1:1 >"$STAGE/quietly.out" 2>&1; then
	test_fail "nobody took the record, and the import says nothing"
fi
test_expect "without an answer the record is kept" grep -q "$kept: kept, for the queue may have this record" "$STAGE/quietly.out"
before=$(sha256sum <"$kept")
secret_file "$made/no.token" nobody
if import "$made/lost.pfx" "$made/password" lost@contoso.com --token-file "$made/no.token" >"$STAGE/quietly.out" 2>&1; then
	test_fail "a token of nobody was taken"
fi
test_expect "a later refusal does not take it away" test "$before" = "$(sha256sum <"$kept")"
for try in "the next try" "a try whose record the queue has"; do
	import "$made/lost.pfx" "$made/password" lost@contoso.com >"$STAGE/quietly.out" 2>&1 || test_fail "$try: $(cat "$STAGE/quietly.out")"
	test_expect "$try sends the same record" grep -q "$kept: the record of an earlier try is sent again" "$STAGE/quietly.out"
done
test_expect "it is the same record" test "$before" = "$(sha256sum <"$kept")"
queuectl record list "${API[@]}" --user lost@contoso.com >"$made/ids"
test_expect "the queue has it once" test "$(wc -l <"$made/ids")" = 1

# ---- what the import refuses, and why ----

not_imported() { # WHAT FILE PASSWORD-FILE WORDS
	if import "$2" "$3" bad@contoso.com >"$STAGE/quietly.out" 2>&1; then test_fail "$1: was imported"; fi
	test_expect "$1: $4" grep -qF "$4" "$STAGE/quietly.out"
}

make fine
secret_file "$made/euro" 'Sommer€2026'
secret_file "$made/latin" 'Grüße'
secret_file "$made/wrong" 'Winter2026!'
not_imported "a password above U+00FF" "$made/fine.pfx" "$made/euro" "character 7 of the password is above U+00FF"
if grep -qF -e Sommer -e '€' "$STAGE/quietly.out"; then test_fail "the refusal tells the password"; fi
openssl pkcs12 -in "$made/fine.pfx" -passin "file:$made/password" -nodes -out "$made/fine.all" 2>/dev/null
openssl pkcs12 -export -in "$made/fine.all" -passout "file:$made/latin" -out "$made/latin.pfx"
chmod 0644 "$made/latin.pfx"
import "$made/latin.pfx" "$made/latin" latin@contoso.com >/dev/null
echo "ok: a password up to U+00FF is taken"

: >"$made/empty.pfx"
head -c 500 "$made/fine.pfx" >"$made/cut.pfx"
{ cat "$made/fine.pfx"; printf '\0'; } >"$made/nul.pfx"
head -c 100000 /dev/zero >"$made/large.pfx"
openssl pkcs12 -export -nokeys -in "$made/fine.all" -passout "file:$made/password" -out "$made/keyless.pfx"
openssl pkcs12 -export -nocerts -inkey "$made/elsewhere.key" -passout "file:$made/password" -out "$made/bare.pfx"
openssl pkcs12 -export -nomac -in "$made/fine.all" -passout "file:$made/password" -out "$made/nomac.pfx"
chmod 0644 "$made"/*.pfx
not_imported "a wrong password" "$made/fine.pfx" "$made/wrong" "pfx: the password does not fit its MAC"
not_imported "an empty file" "$made/empty.pfx" "$made/password" "pfx: an empty file"
not_imported "not a PFX" "$made/fine.pem" "$made/password" "pfx: not a PKCS#12 file, or one that was cut off"
not_imported "a file that was cut off" "$made/cut.pfx" "$made/password" "or one that was cut off"
not_imported "a NUL behind the file" "$made/nul.pfx" "$made/password" "pfx: 1 bytes behind the end of the file"
not_imported "more than 96 KiB" "$made/large.pfx" "$made/password" "98304"
not_imported "no key" "$made/keyless.pfx" "$made/password" "pfx: no private key"
not_imported "no certificate" "$made/bare.pfx" "$made/password" "pfx: no certificate belongs to its key"
not_imported "no MAC" "$made/nomac.pfx" "$made/password" "pfx: without a MAC"

test_expect "the keyvault of the start is still the one" test "$(role_pid keyvault)" = "$keyvault"
