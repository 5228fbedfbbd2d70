#!/usr/bin/env bash
# PFX files as other programs make them, each with a key and certificate of its own making: imported, delivered,
# opened by the device, and the certificate and the key are the original ones.  RC2 is refused by name.
. "$(dirname "$0")/lib.sh"
stage_up
made=$STAGE/made
mkdir "$made" && chmod 0755 "$made"
stage_as mkdir -p "$STAGE/results" "$STAGE/opened" "$STAGE/records"
password='Summer2026!'
install -m 0600 -o "$STAGE_OWNER" /dev/null "$made/password" && printf '%s\n' "$password" >"$made/password"
stage_device laptop rsa-2048
stage_device phone ec-p256

# ---- the makers: TYPE CIPHER NAME leaves NAME.pfx and NAME.pem ----

made_by_openssl() {
	local key=(-newkey rsa:2048) how=()
	[ "$1" = rsa-2048 ] || key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
	case $2 in
	3des) how=(-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1) ;;
	rc2) how=(-legacy) ;;
	esac
	openssl req -x509 "${key[@]}" -nodes -days 365 -subj "/CN=$3" -sha256 \
		-addext "subjectAltName=email:$3@contoso.com" -addext extendedKeyUsage=emailProtection \
		-keyout "$3.key" -out "$3.pem" &&
		openssl pkcs12 -export ${how[@]+"${how[@]}"} -inkey "$3.key" -in "$3.pem" -name "$3" \
			-passout file:password -out "$3.pfx"
}

made_by_certtool() {
	local key=(--key-type rsa --bits 2048) cipher=aes-256
	[ "$1" = rsa-2048 ] || key=(--key-type ecdsa --curve secp256r1)
	case $2 in
	3des) cipher=3des-pkcs12 ;;
	rc2) cipher=rc2-40 ;;
	esac
	printf '%s\n' "cn = $3" "email = $3@contoso.com" 'expiration_days = 365' email_protection_key \
		signing_key >"$3.template"
	certtool --generate-privkey "${key[@]}" --outfile "$3.key" &&
		certtool --generate-self-signed --load-privkey "$3.key" --template "$3.template" --outfile "$3.pem" &&
		certtool --to-p12 --load-privkey "$3.key" --load-certificate "$3.pem" --p12-name "$3" \
			--pkcs-cipher "$cipher" --password "$password" --outder --outfile "$3.pfx"
}

made_by_pk12util() {
	local key=(-k rsa -g 2048) how=() rc2 triple
	rc2="PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC"
	triple="PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC"
	[ "$1" = rsa-2048 ] || key=(-k ec -q nistp256)
	case $2 in
	3des) how=(-c "$triple" -C "$triple") ;;
	rc2) how=(-c "$triple" -C "$rc2") ;;
	esac
	mkdir "$3.nss"
	head -c 64 /dev/urandom >"$3.noise"
	certutil -N -d "sql:$3.nss" --empty-password &&
		certutil -S -x -d "sql:$3.nss" -n "$3" -s "CN=$3" -t ,, "${key[@]}" -z "$3.noise" -v 12 \
			-7 "$3@contoso.com" --extKeyUsage emailProtection &&
		certutil -L -d "sql:$3.nss" -n "$3" -a >"$3.pem" &&
		pk12util -o "$3.pfx" ${how[@]+"${how[@]}"} -n "$3" -d "sql:$3.nss" -w password
}

made_by_keytool() {
	local key=(-keyalg RSA -keysize 2048) how=(-J-XX:TieredStopAtLevel=1) set=-J-Dkeystore.pkcs12
	[ "$1" = rsa-2048 ] || key=(-keyalg EC -groupname secp256r1)
	case $2 in
	3des) how+=("$set.certProtectionAlgorithm=PBEWithSHA1AndDESede" "$set.macAlgorithm=HmacPBESHA1"
		"$set.keyProtectionAlgorithm=PBEWithSHA1AndDESede") ;;
	rc2) how+=("$set.legacy") ;;
	esac
	keytool "${how[@]}" -genkeypair "${key[@]}" -dname "CN=$3" -ext "san=email:$3@contoso.com" \
		-ext eku=emailProtection -validity 365 -alias "$3" -keystore "$3.pfx" -storetype PKCS12 \
		-storepass:file password &&
		keytool "${how[@]}" -exportcert -rfc -alias "$3" -keystore "$3.pfx" -storepass:file password \
			-file "$3.pem"
}

made_by_python3-cryptography() {
	/usr/bin/python3 "$top/tests/peers/make_pfx.py" "$1" "$2" "$3" password "$3.pfx" "$3.pem"
}

# how OpenSSL names what a file is encrypted with
declare -A shown=([aes]="PBES2, PBKDF2, AES-..." [3des]="pbeWithSHA1And3-KeyTripleDES-CBC" [rc2]="RC2")

make() { # MAKER TYPE CIPHER NAME
	(cd "$made" && "made_by_$1" "$2" "$3" "$4") >"$made/log" 2>&1 ||
		{ cat "$made/log"; test_fail "$1 did not make a PFX ($2, $3)"; }
	chmod 0644 "$made/$4.pfx" "$made/$4.pem"
	openssl pkcs12 -legacy -in "$made/$4.pfx" -passin "file:$made/password" -info -noout 2>"$made/log"
	grep -q "${shown[$3]}" "$made/log" || { cat "$made/log"; test_fail "$4: not made with $3"; }
}

import() { # NAME
	ctl pfx import "$made/$1.pfx" --upn "$1@contoso.com" --password-file "$made/password" \
		--out "$STAGE/records" --queue "https://$STAGE_HOST:$STAGE_PRODUCERS" \
		--token-file "$STAGE/producer.token"
}

# ---- what is taken ----

deliver() { # NAME DEVICE
	local thumbprint
	thumbprint=$(openssl x509 -in "$made/$1.pem" -fingerprint -sha1 -noout | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
	STAGE_RECORD=$STAGE/records/$thumbprint.json stage_job "$1" "$2" rewrap \
		--user "$1@contoso.com" --device "$2" --seal cms-auth
	queuectl record deliver "${API[@]}" "$STAGE/jobs/$1.job.json"
}

opened_as_made() { # NAME DEVICE JOB-ID
	local out=$STAGE/opened/$1
	stage_as certdevice open --dir "$STAGE/devices/$2" --job "$STAGE/jobs/$1.job.json" \
		--result "$STAGE/results/$3.json" --result-keys "$STAGE/result-keys.json" --out "$out" &&
		openssl_unseal "$out" "$2" cms-auth && openssl_pfx "$out" &&
		[ "$(openssl x509 -in "$out/leaf.pem" -outform DER | sha256sum)" = \
			"$(openssl x509 -in "$made/$1.pem" -outform DER | sha256sum)" ]
}

makers=(openssl certtool pk12util keytool python3-cryptography)
names=() ids=() devices=(laptop phone)
for maker in "${makers[@]}"; do
	for form in rsa-2048:aes ec-p256:aes rsa-2048:3des; do
		name=$maker-${form/:/-}
		make "$maker" "${form%:*}" "${form#*:}" "$name"
		import "$name" >/dev/null || test_fail "$name: not imported"
		device=${devices[${#names[@]} % 2]}
		ids+=("$(deliver "$name" "$device")")
		names+=("$name")
	done
done
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}"
for i in "${!names[@]}"; do
	test_expect "${names[i]}: imported, delivered, key and certificate are the original ones" \
		quietly opened_as_made "${names[i]}" "${devices[i % 2]}" "${ids[i]}"
done

# ---- what is refused ----

echo "RC2 is refused: it is in OpenSSL's legacy provider only, which the importer does not load"
for maker in openssl certtool pk12util keytool; do
	make "$maker" rsa-2048 rc2 "$maker-rc2"
	if import "$maker-rc2" >"$made/refused" 2>&1; then test_fail "$maker-rc2: was imported"; fi
	test_expect "$maker-rc2: refused, and it says why" \
		grep "$maker-rc2.pfx: pfx: encrypted with RC2" "$made/refused"
done
