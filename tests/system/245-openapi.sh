#!/usr/bin/env bash
# What the queue serves as GET /v1/openapi.json is a valid OpenAPI document by the schema of those who define OpenAPI, as
# a validator that nobody here wrote applies it (both are Debian's, which has the schema of 3.0: openapi_check.py); and
# what the queue answers, refusals of a whole batch among them, is what the document says.
. "$(dirname "$0")/lib.sh"
/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || test_skip "no python3-jsonschema (deploy/install-packages test)"
check() { /usr/bin/python3 "$top/tests/support/openapi_check.py" "$@"; }
schema=/usr/share/openapi-specification/schemas/v3.0/schema.json
[ -e "$schema" ] || test_skip "no openapi-specification (deploy/install-packages test)"
validate() { check document "$schema" "$1"; }

stage_new "$build"
stage_queue_up
stage_stop_pid "$STAGE_QUEUE_PID"
echo "quotas: {open_jobs: 3}" | stage_as tee -a "$STAGE/queue/queue.yaml" >/dev/null
stage_queue_start
fetch() { # without credentials, as anybody may
	/usr/bin/python3 -c 'import ssl, sys, urllib.request as r
sys.stdout.buffer.write(r.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read())' "$@"
}
fetch "https://$STAGE_HOST:$STAGE_PRODUCERS/v1/openapi.json" "$STAGE/queue/queue-ca.pem" >"$STAGE/served.json"
test_expect "the queue serves the document of the sources" cmp "$STAGE/served.json" "$top/cloud-queue/openapi.json"
test_expect "it is valid OpenAPI" validate "$STAGE/served.json"

# the validator does judge: without a title, with a response that has no description, with a type that is none
for change in 'd["info"].pop("title")' 'd["paths"]["/v1/health"]["get"]["responses"]["200"].pop("description")' \
	'd["components"]["schemas"]["Problem"].update(type="strong")'; do
	/usr/bin/python3 -c "import json, sys
d = json.load(sys.stdin); $change; json.dump(d, sys.stdout)" <"$STAGE/served.json" >"$STAGE/wrong.json"
	! quietly validate "$STAGE/wrong.json" >/dev/null || test_fail "the validator takes a document that is wrong: $change"
	echo "ok: refused: $change"
done

# --- its answers
stage_device phone ec-p256
certificate() { # NAME SUBJECT
	stage_job "$1" phone issue --profile corp-user --key-type ec-p256 --subject "CN=$2" --user user-1 --device phone
}
record() { # NAME THUMBPRINT TEXT: a record of made-up bytes
	/usr/bin/python3 - "$@" <<-'PY' | stage_as tee "$STAGE/jobs/$1.json" >/dev/null
		import base64, json, sys
		_, _, thumbprint, text = sys.argv
		secret, key = base64.b64encode(text.encode()).decode(), "01" + "0" * 62
		print(json.dumps({"id": "user-1-" + thumbprint, "intendedPurpose": "smimeSigning",
		    "userPrincipalName": "user1@contoso.com", "paddingScheme": 4, "binding": 1, "encryptedPfxBlob": secret,
		    "encryptedPfxPassword": secret, "keyId": key}))
	PY
}
rewrap() { STAGE_RECORD=$STAGE/jobs/$2.json stage_job "$1" phone rewrap --user user-1 --device phone --seal cms-auth; }
for name in a b c d; do certificate $name $name; done
record record-1 "$(printf '1%.0s' {1..40})" one
record record-2 "$(printf '2%.0s' {1..40})" two
rewrap r1 record-1
rewrap r2 record-2
# the same keys of idempotency over other bytes
for name in a r1; do stage_as cp "$STAGE/jobs/$name.job.json" "$STAGE/jobs/kept-$name.json"; done
certificate a somebody-else
rewrap r1 record-2
for name in a r1; do
	stage_as mv "$STAGE/jobs/$name.job.json" "$STAGE/jobs/other-$name.job.json"
	stage_as mv "$STAGE/jobs/kept-$name.json" "$STAGE/jobs/$name.job.json"
done
test_expect "the queue's answers are as described" check answers "$STAGE/served.json" \
	"https://$STAGE_HOST:$STAGE_PRODUCERS" "$TENANT" "$STAGE/producer.token" "$STAGE/queue/queue-ca.pem" "$STAGE/jobs"
