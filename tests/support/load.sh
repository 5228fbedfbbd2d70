# A stage with a load of fast jobs: P-256 certificates and re-wrapped PFX in turn.  Sourced after lib.sh.
#   load_up            the stage, an EC device, one imported record, the signed jobs that are copied
#   load_run NAME N    N jobs until they are done
#   load_processes     NAME PID, one line for each program

load_up() {
	stage_new "$build"
	load_start
}

# The rest, for a caller that changed something about the stage.
load_start() {
	stage_queue_up
	stage_connector_up
	stage_enroll
	stage_device phone ec-p256
	install -d -m 0755 "$STAGE/made"
	install -m 0600 -o "$STAGE_OWNER" /dev/null "$STAGE/made/password"
	printf '%s\n' "$PFX_PASSWORD" >"$STAGE/made/password"
	stage_as mkdir -p "$STAGE/imported"
	main_import load openssl ec-p256
	LOAD_THUMBPRINT=$(openssl x509 -in "$STAGE/made/load.pem" -fingerprint -sha1 -noout |
		sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
	stage_job load-issue phone issue --profile corp-user --key-type ec-p256 --subject "CN=Load,O=Contoso" \
		--user load --device phone --seal cms-auth
	STAGE_RECORD=$STAGE/imported/$LOAD_THUMBPRINT.json stage_job load-rewrap phone rewrap \
		--user load@contoso.com --device phone --seal cms-auth
}

load_run() { # PREFIX COUNT
	/usr/bin/python3 "$top/tests/support/many_jobs.py" "${API[@]}" --signer-key "$STAGE/signer.key" --prefix "$1" \
		--count "$2" "$STAGE/jobs/load-issue.job.json" "$STAGE/jobs/load-rewrap.job.json"
}

load_processes() {
	local role
	echo "queue $STAGE_QUEUE_PID"
	echo "supervisor $STAGE_CONNECTOR_PID"
	for role in connector keyvault ca-runner; do echo "$role $(role_pid "$role")"; done
}
