#!/usr/bin/env bash
# Producers that were written from the protocol alone, in Python, Go and Java: each agrees with the golden vectors,
# gets a certificate through the real daemons with either type of signer, and tells a refusal by the server's code.
# The golden vectors at the queue's own door get the verdicts that they say.
. "$(dirname "$0")/lib.sh"
vectors=$top/proto/vectors

test_expect "the golden vectors are what their generator makes" /usr/bin/python3 "$vectors/make" --check

# a profile that refuses what the samples ask for
STAGE_PROFILES="  ec-only: {cas: [corp-ca], template: user, key_types: [ec-p256], eku: [1.3.6.1.5.5.7.3.2],
    key_usage: [digitalSignature], max_validity: 30d}"
stage_new "$build"
stage_queue_up
stage_connector_up
stage_enroll
stage_as mkdir -p "$STAGE/jobs" "$STAGE/results" "$STAGE/opened"
stage_device phone ec-p256

# a second signer of the other type, and one that nobody has vouched for
stage_as certqueuectl signer new "$STAGE/p256.key" --p256
stage_as certqueuectl signer new "$STAGE/stranger.key"
stage_as certqueuectl signer state --root "$STAGE/root.key" --signer "$STAGE/p256.key.pub" --tenant "$TENANT" \
	--kinds issue --out "$STAGE/p256.json"
queuectl signer put "$STAGE/p256.json" "${API[@]}" >/dev/null

# --- the vectors through the HTTP door, under a tenant of their own
/usr/bin/python3 "$vectors/make" --at "$(date +%s)" | stage_as tee "$STAGE/fresh.json" >/dev/null
/usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["job_root"]["spki"])' <"$STAGE/fresh.json" |
	openssl base64 -d -A | openssl pkey -pubin -inform DER | stage_as tee "$STAGE/golden.pub" >/dev/null
queuectl tenant add golden --job-root "$STAGE/golden.pub"
queuectl token producer golden --name vectors --out "$STAGE/golden.token" \
	--scopes jobs:write,jobs:read,pfx:write,pfx:read,signers:write
test_expect "the queue's verdicts on the vectors" stage_as /usr/bin/python3 "$top/tests/support/vectors_live.py" \
	"https://$STAGE_HOST:$STAGE_PRODUCERS/v1/tenants/golden" "$STAGE/golden.token" "$STAGE/queue/queue-ca.pem" \
	"$STAGE/fresh.json" "$vectors/jobs.json"

# --- the samples: SAMPLE is the command
produce() { # NAME KEY SIGNER PROFILE SUBJECT: what it prints in $STAGE/said
	stage_as timeout 120 "${SAMPLE[@]}" "${API[@]}" --signer-key "$STAGE/$3" --device-key "$STAGE/devices/phone/device.pub" \
		--profile "$4" --user user-1 --subject "$5" --key "$2" \
		--job-out "$STAGE/jobs/$1.job.json" --result-out "$STAGE/results/$1.json" >"$STAGE/said" 2>&1
}

issued() { # NAME SIGNER
	produce "$1" "$1" "$2" corp-user "CN=$1,O=Contoso" || return 1
	local id
	id=$(sed -n 's/^submitted: 202 \(job_[a-z2-7]*\) [a-z]*$/\1/p' "$STAGE/said")
	[ -n "$id" ] && grep -qx "again: 200 $id" "$STAGE/said" && [ "$(tail -n 1 "$STAGE/said")" = "state: done" ] &&
		check_pkcs "$1" phone cms-auth "$1" >>"$STAGE/said" 2>&1 &&
		stage_as openssl x509 -in "$STAGE/opened/$1/leaf.pem" -noout -subject -nameopt RFC2253 |
		grep -qx "subject=CN=$1,O=Contoso"
}

refused() { # WORDS NAME KEY SIGNER PROFILE SUBJECT: it ends with status 1 and these words
	local words=$1 status=0
	shift
	produce "$@" || status=$?
	[ "$status" -eq 1 ] && grep -q "^error: $words" "$STAGE/said"
}

said() { "$@" || { sed 's/^/    /' "$STAGE/said"; return 1; }; }

check_sample() { # LANGUAGE COMMAND...
	local language=$1
	SAMPLE=("${@:2}")
	test_expect "$language: the golden vectors" stage_as "${SAMPLE[@]}" --vectors "$vectors/jobs.json"
	test_expect "$language: a certificate, signed with Ed25519" said issued "$language-1" signer.key
	test_expect "$language: a certificate, signed with P-256" said issued "$language-2" p256.key
	test_expect "$language: other bytes under a key are told" \
		said refused "409 idempotency_conflict: " "$language-3" "$language-1" signer.key corp-user CN=other
	test_expect "$language: a signer nobody knows is told" \
		said refused "422 unknown_key: " "$language-4" "$language-4" stranger.key corp-user CN=x
	test_expect "$language: the keyvault's refusal is told" \
		said refused "policy_denied" "$language-5" "$language-5" signer.key ec-only CN=x
}

check_sample python /usr/bin/python3 -B "$top/samples/python/producer.py"

if command -v go >/dev/null; then
	env -u GOFLAGS CGO_ENABLED=0 GO111MODULE=off GOCACHE="$STAGE/gocache" GOPATH="$STAGE/gopath" go build -o "$STAGE/bin/go-producer" "$top"/samples/go/*.go
	check_sample go "$STAGE/bin/go-producer"
else
	echo "SKIPPED: the sample in Go: no go compiler (Debian: golang-go)"
fi

if command -v javac >/dev/null; then
	javac -Xlint:all -Werror -d "$STAGE/java" "$top"/samples/java/*.java 2>"$STAGE/javac.out" ||
		{ cat "$STAGE/javac.out"; test_fail "the sample in Java does not compile"; }
	chmod -R a+rX "$STAGE/java"
	check_sample java java -cp "$STAGE/java" Producer
else
	echo "SKIPPED: the sample in Java: no javac (Debian: openjdk-17-jdk-headless)"
fi
