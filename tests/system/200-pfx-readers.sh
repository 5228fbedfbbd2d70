#!/usr/bin/env bash
# What the house makes is opened by programs that it has no line in common with: PFX by OpenSSL, GnuTLS, NSS,
# Java and python3-cryptography, the sealed passwords by OpenSSL and BouncyCastle, certificates by two parsers.
. "$(dirname "$0")/lib.sh"
TYPES=(rsa-2048 rsa-3072 rsa-4096 ec-p256 ec-p384)
STAGE_KEY_TYPES="rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384"
STAGE_PROFILES=$(sed 's/^/  /' <<-YAML
	corp-legacy:
	  cas: [corp-ca]
	  template: user
	  key_types: [$STAGE_KEY_TYPES]
	  eku: [1.3.6.1.5.5.7.3.2]
	  default_eku: [1.3.6.1.5.5.7.3.2]
	  key_usage: [digitalSignature, keyEncipherment]
	  max_validity: 365d
	  default_validity: 90d
	  san: {email: [contoso.com], upn: [contoso.com]}
	  seal: cms-auth
	  seals: [cms-auth, windows]
	  windows_key_transport: pkcs1
	  pfx_profile: compat
YAML
)
stage_up
peers=$STAGE/peers
mkdir "$peers"
stage_as mkdir -p "$STAGE/results" "$STAGE/opened"

# one device and two certificates for each key type: device and certificate keys are of the same kind
declare -A device_of profile_of
names=()
for type in "${TYPES[@]}"; do
	stage_device "$type" "$type"
	for pfx in modern compat; do
		name=$type-$pfx
		names+=("$name") device_of[$name]=$type profile_of[$name]=$pfx
		profile=corp-user
		[ "$pfx" = modern ] || profile=corp-legacy
		stage_job "$name" "$type" issue --profile "$profile" --key-type "$type" --seal cms-auth \
			--subject "CN=Reader $name,O=Contoso" --user "$name" --device "$type" \
			--san "email=$name@contoso.com" --san "upn=$name@contoso.com"
	done
done
submit_jobs "${names[@]}"
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[@]}"
for i in "${!names[@]}"; do
	name=${names[i]}
	test_expect "$name: delivered" quietly stage_as certdevice open --dir "$STAGE/devices/${device_of[$name]}" \
		--job "$STAGE/jobs/$name.job.json" --result "$STAGE/results/${IDS[i]}.json" \
		--result-keys "$STAGE/result-keys.json" --root "$ROOT_CERTIFICATE" --out "$STAGE/opened/$name"
done

# ---- what is inside, by whoever opened it ----

public_of() { openssl x509 -in "$STAGE/opened/$1/certificate.pem" -pubkey -noout; }
fingerprint_of() { openssl x509 -in "$1" -fingerprint -sha256 -noout; }
same_certificate() { # NAME PEM-FILE
	[ "$(fingerprint_of "$2")" = "$(fingerprint_of "$STAGE/opened/$1/certificate.pem")" ]
}

# ---- PFX ----

by_openssl() { # no -legacy: both profiles are in OpenSSL's default provider
	local at=$STAGE/opened/$1
	openssl pkcs12 -in "$at/result.pfx" -passin "file:$at/password" -nodes -nocerts \
		-out "$peers/$1.openssl.key" &&
		openssl pkcs12 -in "$at/result.pfx" -passin "file:$at/password" -clcerts -nokeys \
			-out "$peers/$1.openssl.pem" &&
		same_certificate "$1" "$peers/$1.openssl.pem" &&
		[ "$(openssl pkey -in "$peers/$1.openssl.key" -pubout)" = "$(public_of "$1")" ]
}

# certtool prints the file with its key still encrypted, and opens the key in a second step.
by_certtool() {
	local at=$STAGE/opened/$1 info=$peers/$1.certtool.txt key=$peers/$1.certtool.key password
	local mac="MAC: SHA256 " cipher="Cipher: AES-256-CBC"
	[ "${profile_of[$1]}" = modern ] || mac="MAC: SHA1 " cipher="Cipher: 3DES-CBC"
	password=$(cat "$at/password")
	certtool --p12-info --inder --infile "$at/result.pfx" --password "$password" >"$info" &&
		grep -q "$mac" "$info" && [ "$(grep -c "$cipher" "$info")" -eq 2 ] &&
		sed -n '/BEGIN ENCRYPTED PRIVATE KEY/,/END ENCRYPTED PRIVATE KEY/p' "$info" >"$key" &&
		sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$info" >"$peers/$1.certtool.pem" &&
		same_certificate "$1" "$peers/$1.certtool.pem" &&
		certtool --to-p8 --pkcs8 --load-privkey "$key" --password "$password" \
			--pkcs-cipher aes-256 --outfile "$key.again" &&
		[ "$(openssl pkey -in "$key.again" -passin "file:$at/password" -pubout)" = "$(public_of "$1")" ]
}

# NSS takes key and certificate into a database of its own; what comes out again has to be the same key.
by_pk12util() {
	local at=$STAGE/opened/$1 db=$peers/$1.nss name
	mkdir "$db" && certutil -N -d "sql:$db" --empty-password &&
		pk12util -i "$at/result.pfx" -d "sql:$db" -w "$at/password" &&
		name=$(certutil -L -d "sql:$db" | sed -n 's/ *u,u,u *$//p') &&
		pk12util -o "$db/again.pfx" -n "$name" -d "sql:$db" -w "$at/password" &&
		openssl pkcs12 -in "$db/again.pfx" -passin "file:$at/password" -nodes -nocerts -out "$db/key" &&
		openssl pkcs12 -in "$db/again.pfx" -passin "file:$at/password" -clcerts -nokeys -out "$db/pem" &&
		same_certificate "$1" "$db/pem" &&
		[ "$(openssl pkey -in "$db/key" -pubout)" = "$(public_of "$1")" ]
}

# keytool copies every entry it can open into a new store; one key entry has to arrive, with its chain.
by_keytool() {
	local at=$STAGE/opened/$1 store=$peers/$1.keytool.pfx
	keytool -J-XX:TieredStopAtLevel=1 -importkeystore -noprompt -srckeystore "$at/result.pfx" \
		-srcstoretype PKCS12 -srcstorepass:file "$at/password" -destkeystore "$store" \
		-deststoretype PKCS12 -deststorepass:file "$at/password" &&
		openssl pkcs12 -in "$store" -passin "file:$at/password" -nodes -nocerts -out "$store.key" &&
		openssl pkcs12 -in "$store" -passin "file:$at/password" -clcerts -nokeys -out "$store.pem" &&
		same_certificate "$1" "$store.pem" &&
		[ "$(openssl pkcs12 -in "$store" -passin "file:$at/password" -nokeys | grep -c BEGIN)" -eq 2 ] &&
		[ "$(openssl pkey -in "$store.key" -pubout)" = "$(public_of "$1")" ]
}

# ---- certificates ----

parsed_by_openssl() {
	local pem=$STAGE/opened/$1/certificate.pem bits=${device_of[$1]##*[-p]}
	openssl x509 -in "$pem" -outform DER -out "$peers/$1.der" &&
		openssl x509 -inform DER -in "$peers/$1.der" -noout -text -ext subjectAltName >"$peers/$1.txt" &&
		same_certificate "$1" "$peers/$1.der" && grep -q "Subject:.*CN = Reader $1" "$peers/$1.txt" &&
		grep -q "Public-Key: ($bits bit)" "$peers/$1.txt" &&
		grep -q "email:$1@contoso.com, othername: UPN::$1@contoso.com" "$peers/$1.txt"
}

verified_by_gnutls() {
	certtool --verify --load-ca-certificate "$ROOT_CERTIFICATE" \
		--infile "$STAGE/opened/$1/certificate.pem" >"$peers/$1.verify" &&
		grep -q 'Chain verification output: Verified. The certificate is trusted' "$peers/$1.verify"
}

# ---- sealed passwords ----

unsealed_by_openssl() {
	openssl cms -decrypt -binary -inform DER -in "$STAGE/opened/$1/sealed" \
		-inkey "$STAGE/devices/${device_of[$1]}/device.key" -out "$peers/$1.password" &&
		cmp "$STAGE/opened/$1/password" "$peers/$1.password"
}

for name in "${names[@]}"; do
	test_expect "$name: OpenSSL opens the PFX" quietly by_openssl "$name"
	test_expect "$name: GnuTLS certtool opens the PFX" quietly by_certtool "$name"
	test_expect "$name: NSS pk12util opens the PFX" quietly by_pk12util "$name"
	test_expect "$name: Java keytool opens the PFX" quietly by_keytool "$name"
	test_expect "$name: openssl x509 parses the certificate" quietly parsed_by_openssl "$name"
	test_expect "$name: GnuTLS verifies the certificate" quietly verified_by_gnutls "$name"
	test_expect "$name: OpenSSL opens the sealed password" quietly unsealed_by_openssl "$name"
done

/usr/bin/python3 "$top/tests/peers/read_pfx.py" "${names[@]/#/$STAGE/opened/}" >"$peers/python.txt" ||
	test_fail "python3-cryptography does not open a PFX"
for name in "${names[@]}"; do
	test_expect "$name: python3-cryptography opens the PFX" grep -qx "$name: opened" "$peers/python.txt"
done

jars=/usr/share/java
sealed=()
for name in "${names[@]}"; do
	device=$STAGE/devices/${device_of[$name]}
	sealed+=("$STAGE/opened/$name/sealed" "$device/device.key" "$device/device.pub")
done
bouncy_castle() {
	java -XX:TieredStopAtLevel=1 -cp "$jars/bcprov.jar:$jars/bcutil.jar:$jars/bcpkix.jar:$jars/bcmail.jar" \
		"$top/tests/peers/OpenCms.java" "$@"
}
bouncy_castle "${sealed[@]}" >"$peers/java.txt" ||
	test_fail "BouncyCastle does not open a sealed password"
echo "BouncyCastle 1.72 has no recipient class for ECDH in AuthEnvelopedData: tests/peers/OpenCms.java adds its AES-GCM"
mapfile -t opened <"$peers/java.txt"
for i in "${!names[@]}"; do
	test_expect "${names[i]}: BouncyCastle opens the sealed password" \
		[ "${opened[i]:-}" = "$(cat "$STAGE/opened/${names[i]}/password")" ]
done

# the last byte is the tag's: a reader that opens anything would have shown nothing above
device=$STAGE/devices/ec-p256
head -c -1 "$STAGE/opened/ec-p256-modern/sealed" >"$peers/changed"
tail -c 1 "$STAGE/opened/ec-p256-modern/sealed" | tr '\000-\377' '\001-\377\000' >>"$peers/changed"
if bouncy_castle "$peers/changed" "$device/device.key" "$device/device.pub" >"$peers/java.txt" 2>&1; then
	test_fail "BouncyCastle opened a changed sealed password"
fi
test_expect "BouncyCastle refuses a changed sealed password" grep -q 'mac check in GCM failed' "$peers/java.txt"

# ---- the form windows: by certificate, with the key transport that the profile says ----

names=() opened=() sealed=()
for type in rsa-2048 rsa-3072 rsa-4096; do
	stage_device_certificate "$type" 30
	for transport in oaep pkcs1; do
		name=windows-$type-$transport profile=corp-user
		[ "$transport" = oaep ] || profile=corp-legacy
		names+=("$name")
		stage_job "$name" "$type" issue --profile "$profile" --key-type ec-p256 --seal windows \
			--device-certificate "$STAGE/devices/$type/device.pem" --subject "CN=$name" \
			--user "$name" --device "$type"
	done
done
submit_jobs "${names[@]}"
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[@]}"

# Taken from the result as the API gives it: certdevice opens no PKCS#1 v1.5.
result_part() { # JOB-ID FILE MEMBER...
	/usr/bin/python3 -c '
import base64, json, sys
part = json.load(open(sys.argv[1]))["result"]
for member in sys.argv[3:]:
    part = part[member]
open(sys.argv[2], "wb").write(base64.b64decode(part))' "$STAGE/results/$1.json" "${@:2}"
}

transported_by() { # NAME oaep|pkcs1
	local expected=rsaesOaep
	[ "$2" = oaep ] || expected=rsaEncryption
	openssl cms -cmsout -print -noout -inform DER -in "$peers/$1.sealed" >"$peers/$1.txt" &&
		grep -q "contentType: pkcs7-envelopedData" "$peers/$1.txt" &&
		grep -q "d.issuerAndSerialNumber:" "$peers/$1.txt" &&
		grep -q "algorithm: $expected " "$peers/$1.txt" && grep -q "algorithm: aes-256-cbc " "$peers/$1.txt"
}

windows_by_openssl() { # NAME DEVICE
	local device=$STAGE/devices/$2
	openssl cms -decrypt -binary -inform DER -in "$peers/$1.sealed" -recip "$device/device.pem" \
		-inkey "$device/device.key" -out "$peers/$1.password" &&
		openssl pkcs12 -in "$peers/$1.pfx" -passin "file:$peers/$1.password" -nodes -out "$peers/$1.pem"
}

for i in "${!names[@]}"; do
	name=${names[i]} transport=${names[i]##*-} device=${names[i]#windows-}
	device=${device%-*}
	result_part "${IDS[i]}" "$peers/$name.sealed" sealed_password data
	result_part "${IDS[i]}" "$peers/$name.pfx" pfx
	test_expect "$name: EnvelopedData for issuer and serial number" quietly transported_by "$name" "$transport"
	test_expect "$name: OpenSSL opens password and PFX" quietly windows_by_openssl "$name" "$device"
	sealed+=("$peers/$name.sealed" "$STAGE/devices/$device/device.key" "$STAGE/devices/$device/device.pem")
done
bouncy_castle "${sealed[@]}" >"$peers/java.txt" || test_fail "BouncyCastle does not open the form windows"
mapfile -t opened <"$peers/java.txt"
for i in "${!names[@]}"; do
	test_expect "${names[i]}: BouncyCastle opens the password" \
		[ "${opened[i]:-}" = "$(cat "$peers/${names[i]}.password")" ]
done
