# The main job on a stage, each result checked twice: by certdevice, and by plain openssl commands.
# Sourced after deploy/stage.sh.  main_job sets MAIN_PASSED and MAIN_FAILED and prints the closing line.

MAIN_PKCS=21
MAIN_PFX=5
MAIN_REVOKE=2
MAIN_PASSED=0
MAIN_FAILED=0

main_progress() { printf '[%2d/%d] %s\n' "$((MAIN_PASSED + MAIN_FAILED))" "$MAIN_TOTAL" "$*"; }

main_count() { # NAME STATUS WORDS
	if [ "$2" -eq 0 ]; then
		MAIN_PASSED=$((MAIN_PASSED + 1))
		main_progress "ok    $1: $3"
	else
		MAIN_FAILED=$((MAIN_FAILED + 1))
		main_progress "FAIL  $1: $3"
	fi
}

# The sealed password, opened without any program of ours: must be what certdevice found.
openssl_unseal() { # OUT-DIR DEVICE SEAL
	local key=$STAGE/devices/$2/device.key
	if [ "$3" = oaep-sha256 ]; then
		stage_as openssl pkeyutl -decrypt -inkey "$key" -in "$1/sealed" -out "$1/openssl-password" \
			-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
	else
		stage_as openssl cms -decrypt -inform DER -in "$1/sealed" -inkey "$key" \
			-out "$1/openssl-password" -binary
	fi
	stage_as cmp "$1/password" "$1/openssl-password"
}

# PFX, key and certificate by openssl: the file opens, the key fits.
openssl_pfx() { # OUT-DIR
	stage_as openssl pkcs12 -in "$1/result.pfx" -passin "file:$1/password" -nodes -out "$1/all.pem"
	stage_as openssl pkcs12 -in "$1/result.pfx" -passin "file:$1/password" -clcerts -nokeys \
		-out "$1/leaf.pem"
	[ "$(stage_as openssl pkey -in "$1/all.pem" -pubout)" = \
		"$(stage_as openssl x509 -in "$1/leaf.pem" -pubkey -noout)" ]
}

openssl_chain() { # OUT-DIR
	stage_as openssl verify -CAfile "$ROOT_CERTIFICATE" "$1/leaf.pem"
}

check_pkcs() { # NAME DEVICE SEAL JOB-ID
	local out=$STAGE/opened/$1
	stage_as certdevice open --dir "$STAGE/devices/$2" --job "$STAGE/jobs/$1.job.json" \
		--result "$STAGE/results/$4.json" --result-keys "$STAGE/result-keys.json" \
		--root "$ROOT_CERTIFICATE" --out "$out" &&
		openssl_unseal "$out" "$2" "$3" && openssl_pfx "$out" && openssl_chain "$out"
}

check_pfx() { # NAME DEVICE SEAL JOB-ID ORIGINAL-CERTIFICATE
	local out=$STAGE/opened/$1
	stage_as certdevice open --dir "$STAGE/devices/$2" --job "$STAGE/jobs/$1.job.json" \
		--result "$STAGE/results/$4.json" --result-keys "$STAGE/result-keys.json" --out "$out" &&
		openssl_unseal "$out" "$2" "$3" && openssl_pfx "$out" &&
		[ "$(stage_as openssl x509 -in "$out/leaf.pem" -fingerprint -sha256 -noout)" = \
			"$(stage_as openssl x509 -in "$5" -fingerprint -sha256 -noout)" ]
}

# Run a check quietly; its words are shown when it fails.
main_check() { # NAME WORDS CHECK...
	local name=$1 words=$2 log=$STAGE/check.log status=0
	shift 2
	("$@") >"$log" 2>&1 || status=1
	[ $status -eq 0 ] || sed 's/^/        /' "$log"
	main_count "$name" $status "$words"
}

main_devices() {
	stage_device laptop rsa-2048
	stage_device phone ec-p256
	stage_device tablet ec-p384
	stage_as mkdir -p "$STAGE/results" "$STAGE/opened" "$STAGE/imported"
}

main_pkcs() {
	local devices=(laptop phone tablet) types=(rsa-2048 ec-p256) i name device type seal
	local -a names=() seals=() ids=() files=()
	echo "== $MAIN_PKCS PKCS certificates"
	for i in $(seq "$MAIN_PKCS"); do
		name=pkcs-$i device=${devices[i % 3]} type=${types[i % 2]} seal=cms-auth
		[ "$device" != laptop ] || [ $((i % 2)) -eq 0 ] || seal=oaep-sha256
		stage_job "$name" "$device" issue --profile corp-user --key-type "$type" --seal "$seal" \
			--subject "CN=User $i,O=Contoso" --user "user-$i" --device "$device" \
			--san "email=user$i@contoso.com" --san "upn=user$i@contoso.com" \
			--san "dns=host$i.corp.contoso.com"
		names+=("$name") seals+=("$seal") files+=("$STAGE/jobs/$name.job.json")
	done
	mapfile -t ids < <(queuectl submit "${API[@]}" "${files[@]}")
	queuectl wait "${API[@]}" --timeout 120s --out "$STAGE/results" "${ids[@]}" || true
	for i in "${!names[@]}"; do
		device=${devices[(i + 1) % 3]}
		main_check "${names[i]}" "$device, sealed ${seals[i]}, chain verified" \
			check_pkcs "${names[i]}" "$device" "${seals[i]}" "${ids[i]:-none}"
	done
}

# A PFX as an administrator has it: S/MIME key and certificate of some other CA, a human's password.
main_make_pfx() { # NAME USER
	stage_as openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=$2" -sha256 \
		-addext "subjectAltName=email:$2@contoso.com" -addext "extendedKeyUsage=emailProtection" \
		-keyout "$STAGE/imported/$1.key" -out "$STAGE/imported/$1.pem" 2>/dev/null
	stage_as openssl pkcs12 -export -inkey "$STAGE/imported/$1.key" -in "$STAGE/imported/$1.pem" \
		-passout "file:$STAGE/imported/password" -out "$STAGE/imported/$1.pfx"
}

main_pfx() {
	local devices=(laptop phone tablet) i name device thumbprint
	local -a ids=()
	echo "== $MAIN_PFX imported PFX"
	stage_as install -m 0600 /dev/null "$STAGE/imported/password"
	printf 'Summer2026!\n' | stage_as tee "$STAGE/imported/password" >/dev/null
	ctl_token=$STAGE/producer.token
	for i in $(seq "$MAIN_PFX"); do
		name=pfx-$i device=${devices[i % 3]}
		main_make_pfx "$name" "mail$i"
		ctl pfx import "$STAGE/imported/$name.pfx" --upn "mail$i@contoso.com" \
			--password-file "$STAGE/imported/password" --out "$STAGE/imported" \
			--queue "https://$STAGE_HOST:$STAGE_PRODUCERS" --token-file "$ctl_token" >/dev/null
		thumbprint=$(stage_as openssl x509 -in "$STAGE/imported/$name.pem" -fingerprint -sha1 -noout |
			sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
		STAGE_RECORD=$STAGE/imported/$thumbprint.json stage_job "$name" "$device" rewrap \
			--user "mail$i@contoso.com" --device "$device" --seal cms-auth
		mapfile -t -O "${#ids[@]}" ids < <(queuectl record deliver "${API[@]}" "$STAGE/jobs/$name.job.json")
	done
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}" || true
	for i in $(seq "$MAIN_PFX"); do
		device=${devices[i % 3]}
		main_check "pfx-$i" "$device, password re-wrapped, key and certificate are the imported ones" \
			check_pfx "pfx-$i" "$device" cms-auth "${ids[i - 1]:-none}" "$STAGE/imported/pfx-$i.pem"
	done
}

check_chain_job() { # JOB-ID
	stage_as certdevice open --dir "$STAGE/devices/laptop" --job "$STAGE/jobs/chain-1.job.json" \
		--result "$STAGE/results/$1.json" --result-keys "$STAGE/result-keys.json" \
		--out "$STAGE/opened/chain-1" &&
		[ "$(openssl x509 -in "$ROOT_CERTIFICATE" -fingerprint -sha256 -noout)" = \
			"$(stage_as openssl x509 -in "$STAGE/opened/chain-1/chain-0.pem" -fingerprint -sha256 -noout)" ]
}

main_chain() {
	local id
	echo "== CA chain"
	stage_job chain-1 laptop chain --profile corp-user
	id=$(queuectl submit "${API[@]}" "$STAGE/jobs/chain-1.job.json")
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "$id" || true
	main_check chain-1 "signed, equal to the CA's root" check_chain_job "$id"
}

openssl_crl_check() { # CERTIFICATE
	stage_as openssl verify -crl_check -CAfile "$ROOT_CERTIFICATE" -CRLfile "$STAGE/crl.pem" "$1" 2>&1
}

# The queue has only the connector's word for it (attested: false); the proof is the CA's list.
check_revoked() { # JOB-ID CERTIFICATE
	local words
	words=$(openssl_crl_check "$2") || true
	echo "$words"
	grep -Eq '"state": ?"done"' "$STAGE/results/$1.json" &&
		grep -Eq '"attested": ?false' "$STAGE/results/$1.json" &&
		[[ $words == *"certificate revoked"* ]]
}

main_revoke() {
	local i name
	local -a ids=() files=()
	echo "== $MAIN_REVOKE revocations"
	for i in $(seq "$MAIN_REVOKE"); do
		name=revoke-$i
		stage_job "$name" laptop revoke --profile corp-user --reason "$i" \
			--certificate "$STAGE/opened/pkcs-$i/leaf.pem"
		files+=("$STAGE/jobs/$name.job.json")
	done
	mapfile -t ids < <(queuectl submit "${API[@]}" "${files[@]}")
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}" || true
	# as the caller, since behind full walls the list is in the CA's own folder
	install -m 0644 "$STAGE/state/ca/corp-ca/local/crl.pem" "$STAGE/crl.pem"
	for i in $(seq "$MAIN_REVOKE"); do
		main_check "revoke-$i" "not attested, pkcs-$i is on the CA's list" \
			check_revoked "${ids[i - 1]:-none}" "$STAGE/opened/pkcs-$i/leaf.pem"
	done
	main_check revoke-other "pkcs-$((MAIN_REVOKE + 1)) is still good" \
		openssl_crl_check "$STAGE/opened/pkcs-$((MAIN_REVOKE + 1))/leaf.pem"
}

main_job() {
	MAIN_TOTAL=$((MAIN_PKCS + MAIN_PFX + 1 + MAIN_REVOKE + 1))
	main_devices
	main_pkcs
	main_pfx
	main_chain
	main_revoke
	ctl status | grep -E '^(walls|cloud-blind|connection):'
	echo "main job: $MAIN_PASSED passed, $MAIN_FAILED failed"
}
