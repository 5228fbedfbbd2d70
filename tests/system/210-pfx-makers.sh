#!/usr/bin/env bash
# PFX files as other programs make them, each with a key and certificate of its own making: imported, delivered,
# opened by the device, and the certificate and the key are the original ones, also of files under RC2.
. "$(dirname "$0")/lib.sh"
stage_up
made=$STAGE/made
mkdir "$made" && chmod 0755 "$made"
stage_as mkdir -p "$STAGE/results" "$STAGE/opened" "$STAGE/records"
install -m 0600 -o "$STAGE_OWNER" /dev/null "$made/password" && printf '%s\n' "$PFX_PASSWORD" >"$made/password"
stage_device laptop rsa-2048
stage_device phone ec-p256

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

names=() ids=() devices=(laptop phone)
for maker in "${PFX_MAKERS[@]}"; do
	for form in rsa-2048:aes ec-p256:aes rsa-2048:3des rsa-2048:rc2; do
		[ "$maker:$form" != python3-cryptography:rsa-2048:rc2 ] || continue # which does not write it
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
