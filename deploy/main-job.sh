# The main job on a stage, each result checked twice: by certdevice, and by plain openssl commands.
# Sourced after deploy/stage.sh and deploy/pfx-makers.sh.  main_job sets MAIN_PASSED and MAIN_FAILED and prints
# the closing line.

MAIN_TYPES=(rsa-2048 rsa-3072 rsa-4096 ec-p256 ec-p384)
MAIN_REVOKE=2
MAIN_TOTAL=0
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
	case $3 in
	oaep-sha256)
		stage_as openssl pkeyutl -decrypt -inkey "$key" -in "$1/sealed" -out "$1/openssl-password" \
			-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
		;;
	windows) # by the certificate: it has to be the named recipient
		stage_as openssl cms -decrypt -inform DER -in "$1/sealed" -inkey "$key" \
			-recip "$STAGE/devices/$2/device.pem" -out "$1/openssl-password" -binary
		;;
	*)
		stage_as openssl cms -decrypt -inform DER -in "$1/sealed" -inkey "$key" \
			-out "$1/openssl-password" -binary
		;;
	esac
	stage_as cmp "$1/password" "$1/openssl-password"
}

# PFX, key and certificate by openssl: the file opens, the key fits.
openssl_pfx() { # OUT-DIR
	stage_as openssl pkcs12 -in "$1/result.pfx" -passin "file:$1/password" -nodes -out "$1/all.pem" &&
		stage_as openssl pkcs12 -in "$1/result.pfx" -passin "file:$1/password" -clcerts -nokeys \
			-out "$1/leaf.pem" &&
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

# Larger keys, and certificates for the RSA devices: what the seal form windows is for.
main_more_devices() {
	local device
	stage_device desktop rsa-3072
	stage_device server rsa-4096
	for device in laptop desktop server; do stage_device_certificate "$device" 30; done
}

# What a job says of its device: the bare key, or with the form windows its certificate.
main_device_words() { # DEVICE SEAL
	words=(--device "$1" --seal "$2")
	[ "$2" != windows ] || words+=(--device-certificate "$STAGE/devices/$1/device.pem")
}

# ---- PKCS ----

# NAME DEVICE SEAL TYPE PROFILE: each key type with each recipient and seal form, each other key of a device
# with each form that it can open, and each key type in a PFX for old devices.
main_pkcs_cases() {
	local type target
	for type in "${MAIN_TYPES[@]}"; do
		for target in laptop:cms-auth laptop:oaep-sha256 laptop:windows phone:cms-auth tablet:cms-auth; do
			echo "$type-${target/:/-} ${target/:/ } $type corp-user"
		done
		for target in laptop:windows phone:cms-auth; do
			echo "$type-${target/:/-}-compat ${target/:/ } $type corp-compat"
		done
	done
	for target in {desktop,server}:{cms-auth,oaep-sha256,windows}; do
		echo "ec-p256-${target/:/-} ${target/:/ } ec-p256 corp-user"
	done
	for type in 20 50 none; do echo "renew-$type phone cms-auth ec-p256 corp-user"; done
}

# The PFX is encrypted as its profile says: AES-256, or what old devices know.
openssl_profile() { # OUT-DIR PROFILE
	local shown="PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256"
	[ "$2" = corp-user ] || shown=pbeWithSHA1And3-KeyTripleDES-CBC
	stage_as openssl pkcs12 -in "$1/result.pfx" -passin "file:$1/password" -info -noout 2>&1 | grep "$shown"
}

key_type_of() { # CERTIFICATE
	stage_as openssl x509 -in "$1" -noout -text | sed -n 's/.*Public Key Algorithm: rsaEncryption/rsa/p
		s/.*Public Key Algorithm: id-ecPublicKey/ec/p; s/.*Public-Key: (\([0-9]*\) bit)/\1/p' | tr -d '\n'
}

check_pkcs_case() { # NAME DEVICE SEAL TYPE PROFILE JOB-ID
	local out=$STAGE/opened/$1 type=${4/-/}
	check_pkcs "$1" "$2" "$3" "$6" && openssl_profile "$out" "$5" &&
		[ "$(key_type_of "$out/leaf.pem")" = "${type/ecp/ec}" ]
}

# The hint is at so many per cent of the lifetime before its end; without a wish there is none.
check_renewal() { # NAME JOB-ID
	local leaf=$STAGE/opened/$1/leaf.pem from to hint percent=${1#renew-}
	hint=$(sed -n 's/.*"renew_at": *"\([^"]*\)".*/\1/p' "$STAGE/results/$2.json")
	echo "renew_at: ${hint:-none}"
	[ "$percent" != none ] || { [ -z "$hint" ]; return; }
	from=$(date -d "$(stage_as openssl x509 -in "$leaf" -noout -startdate | cut -d= -f2)" +%s)
	to=$(date -d "$(stage_as openssl x509 -in "$leaf" -noout -enddate | cut -d= -f2)" +%s)
	[ "$(date -d "$hint" +%s)" -eq $((to - (to - from) * percent / 100)) ]
}

main_pkcs() {
	local i=0 name device seal type profile
	local -a cases=() ids=() files=() words=()
	mapfile -t cases < <(main_pkcs_cases)
	echo "== ${#cases[@]} PKCS certificates"
	for i in "${!cases[@]}"; do
		read -r name device seal type profile <<<"${cases[i]}"
		main_device_words "$device" "$seal"
		case $name in renew-[0-9]*) words+=(--renew "${name#renew-}") ;; esac
		stage_job "$name" "$device" issue --profile "$profile" --key-type "$type" \
			--subject "CN=User $i,O=Contoso" --user "user-$i" "${words[@]}" \
			--san "email=user$i@contoso.com" --san "upn=user$i@contoso.com" \
			--san "dns=host$i.corp.contoso.com"
		files+=("$STAGE/jobs/$name.job.json")
	done
	mapfile -t ids < <(queuectl submit "${API[@]}" "${files[@]}")
	queuectl wait "${API[@]}" --timeout 240s --out "$STAGE/results" "${ids[@]}" || true
	for i in "${!cases[@]}"; do
		read -r name device seal type profile <<<"${cases[i]}"
		main_check "$name" "$type in a PFX of $profile, sealed $seal to $device, chain verified" \
			check_pkcs_case "$name" "$device" "$seal" "$type" "$profile" "${ids[i]:-none}"
		case $name in
		renew-*) main_check "$name-hint" "the hint when to renew is right" \
			check_renewal "$name" "${ids[i]:-none}" ;;
		esac
	done
}

# ---- imported PFX ----

# One of each maker that is there for an RSA device, in turn under each seal form, and one for an EC device.
main_pfx_cases() {
	local maker i=0 forms=(cms-auth oaep-sha256 windows) others=(phone tablet)
	for maker in "${PFX_MAKERS[@]}"; do
		pfx_maker_is_there "$maker" || { stage_say "left out, since it is not there: $maker"; continue; }
		echo "$maker-rsa $maker rsa-2048 laptop ${forms[i % 3]}"
		echo "$maker-ec $maker ec-p256 ${others[i % 2]} cms-auth"
		i=$((i + 1))
	done
}

# As an administrator has it: S/MIME key and certificate of some other CA, a human's password.
main_import() { # NAME MAKER TYPE
	(cd "$STAGE/made" && "made_by_$2" "$3" aes "$1") >"$STAGE/made/$1.log" 2>&1 ||
		{ cat "$STAGE/made/$1.log"; return 1; }
	chmod 0644 "$STAGE/made/$1.pfx" "$STAGE/made/$1.pem"
	ctl pfx import "$STAGE/made/$1.pfx" --upn "$1@contoso.com" --password-file "$STAGE/made/password" \
		--out "$STAGE/imported" --queue "https://$STAGE_HOST:$STAGE_PRODUCERS" \
		--token-file "$STAGE/producer.token" >/dev/null
}

main_deliver() { # NAME DEVICE SEAL: prints the job's id
	local thumbprint words=()
	thumbprint=$(openssl x509 -in "$STAGE/made/$1.pem" -fingerprint -sha1 -noout |
		sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
	main_device_words "$2" "$3"
	STAGE_RECORD=$STAGE/imported/$thumbprint.json stage_job "$1" "$2" rewrap --user "$1@contoso.com" "${words[@]}"
	queuectl record deliver "${API[@]}" "$STAGE/jobs/$1.job.json"
}

main_pfx() {
	local i name maker type device seal
	local -a cases=() ids=()
	mapfile -t cases < <(main_pfx_cases)
	echo "== ${#cases[@]} imported PFX of $((${#cases[@]} / 2)) makers"
	install -d -m 0755 "$STAGE/made"
	install -m 0600 -o "$STAGE_OWNER" /dev/null "$STAGE/made/password"
	printf '%s\n' "$PFX_PASSWORD" >"$STAGE/made/password"
	for i in "${!cases[@]}"; do
		read -r name maker type device seal <<<"${cases[i]}"
		main_import "$name" "$maker" "$type"
		ids+=("$(main_deliver "$name" "$device" "$seal")")
	done
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}" || true
	for i in "${!cases[@]}"; do
		read -r name maker type device seal <<<"${cases[i]}"
		main_check "$name" "made by $maker, sealed $seal to $device, key and certificate are the imported ones" \
			check_pfx "$name" "$device" "$seal" "${ids[i]:-none}" "$STAGE/made/$name.pem"
	done
}

# ---- what is refused ----

# The queue itself refuses: nothing is taken.
check_unsubmitted() { # NAME WORDS
	local status=0 said
	said=$(queuectl submit "${API[@]}" "$STAGE/jobs/$1.job.json" 2>&1) || status=$?
	echo "$status: $said"
	[ $status -ne 0 ] && [[ $said == *"$2"* ]]
}

# The keyvault refuses: the code for the cloud, the words for the local log.
check_refused() { # JOB-ID CODE WORDS
	cat "$STAGE/results/$1.json"
	grep -F "$1" "$STAGE/connector.log" | grep -F "$3" &&
		grep -Eq '"state": ?"failed"' "$STAGE/results/$1.json" &&
		grep -Eq "\"code\": ?\"$2\"" "$STAGE/results/$1.json"
}

main_refusals() {
	local i name code words status=0
	local -a ids=() files=() with=(issue --profile corp-user --key-type ec-p256 --user user-r)
	local -a cases=(
		"refuse-expired device_key_refused its certificate has expired"
		"refuse-bare-key device_key_refused the form windows needs the device's certificate"
		"refuse-ec-oaep device_key_refused the form oaep-sha256 needs RSA"
		"refuse-domain policy_denied an alternative name (email) is not within what it allows"
	)
	echo "== $((${#cases[@]} + 1)) jobs that are refused"
	stage_device old rsa-2048
	stage_device_certificate old 0
	stage_job refuse-expired old "${with[@]}" --subject CN=R --device old --seal windows \
		--device-certificate "$STAGE/devices/old/device.pem"
	stage_job refuse-bare-key laptop "${with[@]}" --subject CN=R --device laptop --seal windows
	stage_job refuse-ec-oaep phone "${with[@]}" --subject CN=R --device phone --seal oaep-sha256
	stage_job refuse-domain phone "${with[@]}" --subject CN=R --device phone --san email=user@example.org
	stage_job refuse-variable phone "${with[@]}" --subject 'CN={{UserName}}' --device phone
	for i in "${!cases[@]}"; do files+=("$STAGE/jobs/${cases[i]%% *}.job.json"); done
	mapfile -t ids < <(queuectl submit "${API[@]}" "${files[@]}")
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}" 2>/dev/null || status=$?
	[ $status -eq 3 ] || stage_say "certqueuectl wait: exit status $status"
	for i in "${!cases[@]}"; do
		read -r name code words <<<"${cases[i]}"
		main_check "$name" "$words" check_refused "${ids[i]:-none}" "$code" "$words"
	done
	main_check refuse-variable "a variable that was not replaced" \
		check_unsubmitted refuse-variable "variable in {{ }}"
}

# ---- chain and revocation ----

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
	local -a ids=() files=() of=(rsa-2048-laptop-cms-auth ec-p384-phone-cms-auth) good=ec-p256-phone-cms-auth
	echo "== $MAIN_REVOKE revocations"
	for i in $(seq "$MAIN_REVOKE"); do
		name=revoke-$i
		stage_job "$name" laptop revoke --profile corp-user --reason "$i" \
			--certificate "$STAGE/opened/${of[i - 1]}/leaf.pem"
		files+=("$STAGE/jobs/$name.job.json")
	done
	mapfile -t ids < <(queuectl submit "${API[@]}" "${files[@]}")
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${ids[@]}" || true
	# as the caller, since behind full walls the list is in the CA's own folder
	install -m 0644 "$STAGE/state/ca/corp-ca/local/crl.pem" "$STAGE/crl.pem"
	for i in $(seq "$MAIN_REVOKE"); do
		main_check "revoke-$i" "not attested, ${of[i - 1]} is on the CA's list" \
			check_revoked "${ids[i - 1]:-none}" "$STAGE/opened/${of[i - 1]}/leaf.pem"
	done
	main_check revoke-other "$good is still good" openssl_crl_check "$STAGE/opened/$good/leaf.pem"
}

main_job() {
	# PKCS, hints, PFX, refusals, chain, revocations and one that is still good
	MAIN_TOTAL=$(($(main_pkcs_cases | wc -l) + 3 + $(main_pfx_cases 2>/dev/null | wc -l) + 5 + 1 + MAIN_REVOKE + 1))
	main_devices
	main_more_devices
	main_pkcs
	main_pfx
	main_refusals
	main_chain
	main_revoke
	ctl status | grep -E '^(walls|cloud-blind|connection):'
	echo "main job: $MAIN_PASSED passed, $MAIN_FAILED failed"
}
