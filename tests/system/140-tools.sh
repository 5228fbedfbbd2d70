#!/usr/bin/env bash
# The tools as a person meets them: help, wrong usage, exit statuses, and what they refuse.
. "$(dirname "$0")/lib.sh"
stage_new "$build"
python() { stage_as /usr/bin/python3 "$@"; }

# expect STATUS PATTERN COMMAND...: the exit status, and words that stdout or stderr must have.
expect() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$@" >"$STAGE/said" 2>&1 </dev/null || status=$?
	[ "$status" -eq "$want" ] ||
		{ cat "$STAGE/said" >&2; test_fail "exit status $status, not $want: $*"; }
	grep -qE -- "$pattern" "$STAGE/said" ||
		{ cat "$STAGE/said" >&2; test_fail "no word of \"$pattern\": $*"; }
}

# --- help and usage, before there is any configuration
nowhere=(certconnectorctl --config "$STAGE/no-such.yaml")
for program in certconnectord certconnectorctl certqueued certqueuectl certdevice; do
	expect 0 "usage: $program" "$program" --help
	expect 0 "[0-9]+\\.[0-9]" "$program" --version
	expect 2 "bogus" "$program" --bogus
done
for command in init enroll ca "ca init" "ca init corp-ca" "ca requests" "ca approve" "ca deny" pfx "pfx import" keys "keys generate" devices jobs "jobs approve" status doctor; do
	expect 0 "usage: certconnectorctl" "${nowhere[@]}" $command --help
done
for command in init root "root new" signer "signer new" "signer state" "signer put" tenant "tenant add" token \
	"token connector contoso" sign verify submit record "record put" "record deliver" wait show connector "connector adopt contoso"; do
	expect 0 "usage: certqueuectl" certqueuectl $command --help
done
for command in new ask "ask issue" open; do
	expect 0 "usage: certdevice" certdevice $command --help
done
for program in certconnectorctl certqueuectl certdevice; do
	expect 2 'no command "frobnicate"; see --help' "$program" frobnicate
	expect 2 "usage: $program" "$program"
done
expect 2 'no command "statsu"; did you mean "status"\?' certconnectorctl statsu
expect 2 'no command "sing"; did you mean "sign"\?' certqueuectl sing
expect 2 'no command "opn"; did you mean "open"\?' certdevice opn
expect 5 "no-such.yaml: No such file" "${nowhere[@]}" status
expect 2 "usage" certqueuectl signer new --p256
expect 2 "usage" certqueuectl signer new "$STAGE/key" --rsa
expect 2 "usage" certqueuectl sign "$STAGE/key"
expect 2 '"0".*not in the range' certqueuectl init --dir "$STAGE/never" --name "$STAGE_HOST" --producers-port 0
expect 2 "host name" certqueuectl init --dir "$STAGE/never" --name 'a"b'
test_expect "wrong usage made nothing" [ ! -e "$STAGE/key" -a ! -e "$STAGE/never" ]
expect 2 "no key type" certdevice new "$STAGE/never" --key dsa
expect 2 "usage" certdevice ask frobnicate --dir "$STAGE/never" --tenant contoso
expect 2 "not clean UTF-8" certdevice ask issue --dir "$STAGE/never" --tenant contoso --subject $'CN=\xff'
echo "ok: help and usage"

# --- nobody is running
stage_connector_config
stage_ctl_prefix=(stage_as)
ctl init >/dev/null 2>&1
for command in status keys "keys generate"; do
	expect 4 "is certconnectord running" ctl $command
done
expect 2 "usage" ctl keys generate more
expect 2 "usage" ctl status more
expect 1 "FAIL +connector: does not answer; fix: start certconnectord" ctl doctor
expect 4 "is certconnectord running" ctl pfx import x.pfx --upn a@contoso.com --out "$STAGE"
expect 4 "is certqueued running.*control.sock" certqueuectl --socket "$STAGE/control.sock" show stats
echo "ok: unreachable"

# --- a queue and a connector that is not enrolled
stage_queue_up >/dev/null
stage_connector_up >/dev/null 2>&1
queuectl token connector "$TENANT" --id hq-1 --groups hq --out "$STAGE/enrol.token" >/dev/null
expect 5 "not enrolled" ctl pfx import x.pfx --upn a@contoso.com --out "$STAGE"
expect 3 "exists already" queuectl token connector "$TENANT" --id hq-1 --out "$STAGE/enrol.token"
expect 3 "connector_id" queuectl token connector "$TENANT" --id 'no name'
expect 2 '"0".*not in the range' queuectl token connector "$TENANT" --id hq-1 --days 0
expect 3 "" queuectl token connector nobody --id hq-1

# forge FIELD VALUE FILE: the stage's token with one field of it changed
forge() {
	python - "$STAGE/enrol.token" "$@" <<-'PY'
		import base64, os, sys
		source, field, value, target = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
		prefix, text = open(source).read().strip().split(".", 1)
		data, at, out = base64.b64decode(text), 0, b""
		def varint(n):
		    out = b""
		    while n > 127:
		        out, n = out + bytes([n & 127 | 128]), n >> 7
		    return out + bytes([n])
		def read():
		    global at
		    n = shift = 0
		    while True:
		        byte = data[at]
		        at, n, shift = at + 1, n | (byte & 127) << shift, shift + 7
		        if byte < 128:
		            return n
		while at < len(data):
		    tag = read()
		    if tag & 7 == 0:
		        number = read()
		        out += varint(tag) + varint(int(value) if tag >> 3 == field else number)
		    else:
		        size = read()
		        part, at = data[at:at + size], at + size
		        if tag >> 3 == field:
		            part = bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()
		        out += varint(tag) + varint(len(part)) + part
		with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
		    f.write(prefix + "." + base64.b64encode(out).decode() + "\n")
	PY
}
refused() { # WHAT PATTERN STATUS TOKEN-FILE: and nothing was written
	expect "$3" "$2" ctl enroll --token-file "$4"
	[ ! -e "$STAGE/state/identity/identity.yaml" ] || test_fail "$1: identity.yaml was written"
	! grep -q "^job_root\|^tenant" "$STAGE/etc/pins.yaml" || test_fail "$1: pins.yaml was written"
	echo "ok: enrolment refused: $1"
}
stage_as chmod 0644 "$STAGE/enrol.token"
refused "a token that others can read" "mode 644 lets others in.*chmod 600 $STAGE/enrol.token" 5 "$STAGE/enrol.token"
stage_as chmod 0600 "$STAGE/enrol.token"
refused "no token there" "no-such.token: No such file" 3 "$STAGE/no-such.token"
refused "a producer's token" "not an enrolment token" 1 "$STAGE/producer.token"
forge 10 1700000000 "$STAGE/expired.token"
refused "an expired token" "past its time; ask the cloud service" 3 "$STAGE/expired.token"
forge 8 "hex:$(printf '%064d' 7)" "$STAGE/foreign.token"
refused "a token with another secret" "HTTP 4[0-9][0-9]" 3 "$STAGE/foreign.token"
forge 2 someone-elses "$STAGE/unknown.token"
refused "a token that the queue never gave" "HTTP 4[0-9][0-9]" 3 "$STAGE/unknown.token"

# --- servers in the queue's place
false_queue() { # NAME ARGUMENT...: its port in FALSE_PORT
	local name=$1
	shift
	stage_start "$name.log" "${stage_user_prefix[@]}" /usr/bin/python3 "$top/tests/support/false_queue.py" \
		--record "$STAGE/$name.bytes" --ready "$STAGE/$name.port" "$@"
	stage_await 10 "$name" test -s "$STAGE/$name.port"
	FALSE_PORT=$(cat "$STAGE/$name.port")
}
stage_as certqueuectl init --dir "$STAGE/other" --name "$STAGE_HOST" >/dev/null
false_queue other --chain "$STAGE/other/server.pem" --key "$STAGE/other/server.key"
forge 5 "https://$STAGE_HOST:$FALSE_PORT" "$STAGE/other.token"
refused "a server under another CA" "SSL certificate problem: self.signed|unable to get" 3 "$STAGE/other.token"
test_expect "nothing was sent to the server under another CA" [ ! -s "$STAGE/other.bytes" ]

# the true queue's own key, so that TLS is good, and answers that are not what the token says
answer() { # MEMBER VALUE
	python - "$STAGE" "$@" <<-'PY'
		import base64, json, subprocess, sys
		stage = sys.argv[1]
		pem = lambda path: base64.b64encode(base64.b64decode("".join(
		    l for l in open(path).read().split("\n") if not l.startswith("-----")))).decode()
		answer = {"tenant": "contoso", "connector_id": "hq-1", "groups": ["hq"], "chain": [],
		          "job_root": pem(stage + "/root.key.pub"), "queue_ca": pem(stage + "/queue/queue-ca.pem"),
		          "queue_url": "wss://127.0.0.1:1", "certificate": pem(stage + "/queue/queue-ca.pem")}
		value = sys.argv[3]
		answer[sys.argv[2]] = pem(value[1:]) if value.startswith("@") else value
		json.dump(answer, open(stage + "/answer.json", "w"))
	PY
}
answer tenant contoso
false_queue lying --chain "$STAGE/queue/server.pem" --key "$STAGE/queue/server.key" --answer "$STAGE/answer.json"
forge 5 "https://$STAGE_HOST:$FALSE_PORT" "$STAGE/lying.token"
refused "a certificate for another key" "for another key" 3 "$STAGE/lying.token"
test_expect "this server was spoken to" [ -s "$STAGE/lying.bytes" ]
secret=$(python -c 'import base64,sys; d=base64.b64decode(open(sys.argv[1]).read().strip().split(".",1)[1]); i=d.index(b"\x42\x20")+2; print(d[i:i+32].hex())' "$STAGE/enrol.token")
python -c 'import base64,sys; b=open(sys.argv[1],"rb").read(); s=bytes.fromhex(sys.argv[2]); sys.exit(s in b or sys.argv[2].encode() in b or base64.b64encode(s)[:40] in b)' \
	"$STAGE/lying.bytes" "$secret" || test_fail "the token's secret was sent"
answer tenant fabrikam
refused "an answer for another tenant" "another tenant or connector" 3 "$STAGE/lying.token"
stage_as certqueuectl root new "$STAGE/other-root.key" >/dev/null
answer job_root "@$STAGE/other-root.key.pub"
refused "another job root" "job root is not the one of the token" 3 "$STAGE/lying.token"
answer queue_ca "@$STAGE/other/queue-ca.pem"
refused "another CA for the connector to believe" "CA is not the one of the token" 3 "$STAGE/lying.token"
for url in "https://localhost:1" $'wss://h:1"\nconnector_id: "hq-2' 'wss://h:1/\x'; do
	answer queue_url "$url"
	refused "the address ${url@Q}" "not wss://HOST:PORT" 1 "$STAGE/lying.token"
done
ctl enroll --token-file "$STAGE/enrol.token" >/dev/null
stage_await_connected
expect 3 "HTTP 4[0-9][0-9]" ctl enroll --token-file "$STAGE/enrol.token"
echo "ok: a token is good once"

# --- PFX files
stage_as mkdir -p "$STAGE/imported" "$STAGE/jobs" "$STAGE/results" "$STAGE/opened"
secret_file() { stage_as install -m 0600 /dev/null "$2" && printf '%s\n' "$1" | stage_as tee "$2" >/dev/null; }
secret_file 'Summer2026!' "$STAGE/imported/password"
secret_file 'Winter2026!' "$STAGE/imported/wrong"
(cd "$STAGE/imported" && made_by_openssl rsa-2048 aes mail) 2>"$STAGE/made.txt"
[ "$(id -u)" -ne 0 ] || chown "$STAGE_OWNER:$STAGE_OWNER" "$STAGE"/imported/mail.*
import=(ctl pfx import --upn mail1@contoso.com --out "$STAGE/imported")
expect 3 "mail.pfx: .*password" "${import[@]}" --password-file "$STAGE/imported/wrong" "$STAGE/imported/mail.pfx"
expect 3 "mail.pem: .*PKCS#12" "${import[@]}" --password-file "$STAGE/imported/password" "$STAGE/imported/mail.pem"
expect 3 "no-such.pfx: No such file" "${import[@]}" --password-file "$STAGE/imported/password" "$STAGE/no-such.pfx"
expect 2 "smimeEncryption or" "${import[@]}" --purpose mail "$STAGE/imported/mail.pfx"
expect 2 "not UTF-8" "${import[@]}" --upn $'mail\xff@contoso.com' "$STAGE/imported/mail.pfx"
expect 2 "usage" ctl pfx import --upn mail1@contoso.com "$STAGE/imported/mail.pfx"
stage_as chmod 0644 "$STAGE/imported/password"
expect 5 "chmod 600" "${import[@]}" --password-file "$STAGE/imported/password" "$STAGE/imported/mail.pfx"
stage_as chmod 0600 "$STAGE/imported/password"
# a key where the token is expected is not sent; and a refused upload leaves no record behind
queue=(--queue "https://$STAGE_HOST:$FALSE_PORT" --ca-file "$STAGE/queue/queue-ca.pem")
stage_as truncate -s 0 "$STAGE/lying.bytes"
expect 5 "is it the right file\?" "${import[@]}" --password-file "$STAGE/imported/password" "${queue[@]}" \
	--token-file "$STAGE/signer.key" "$STAGE/imported/mail.pfx"
test_expect "a key in the token's place is not sent" [ ! -s "$STAGE/lying.bytes" ]
test_expect "no import that failed left a record" [ -z "$(find "$STAGE/imported" -name '*.json')" ]
expect 0 "imported as" "${import[@]}" --password-file "$STAGE/imported/password" "$STAGE/imported/mail.pfx"
echo "ok: PFX files"

# --- documents
device=$STAGE/devices/phone
stage_device phone ec-p256 >/dev/null
stage_device other ec-p256 >/dev/null
stage_job doc phone issue --profile corp-user --key-type ec-p256 --subject "CN=Tools" --user user-1 --device phone
stage_job doc-2 phone issue --profile corp-user --key-type ec-p256 --subject "CN=Tools" --user user-1 --device phone
verify=(stage_as certqueuectl verify --root "$STAGE/root.key.pub" --statement "$STAGE/statement.json" --tenant)
expect 0 "good signature" "${verify[@]}" "$TENANT" "$STAGE/jobs/doc.job.json"
expect 3 "another tenant" "${verify[@]}" fabrikam "$STAGE/jobs/doc.job.json"
expect 3 "another key" stage_as certqueuectl verify --root "$STAGE/other-root.key.pub" \
	--statement "$STAGE/statement.json" --tenant "$TENANT" "$STAGE/jobs/doc.job.json"
expect 2 'kinds: "revok"' stage_as certqueuectl signer state --root "$STAGE/root.key" --tenant "$TENANT" \
	--signer "$STAGE/signer.key.pub" --kinds issue,revok
expect 2 '"91".*not in the range' stage_as certqueuectl signer state --root "$STAGE/root.key" \
	--tenant "$TENANT" --signer "$STAGE/signer.key.pub" --kinds issue --days 91
# tamper FROM TO PATH...: flip a bit in the middle of the base64 member at this place
tamper() {
	python - "$@" <<-'PY'
		import base64, json, sys
		value = json.load(open(sys.argv[1]))
		at = value
		for step in sys.argv[3:-1]:
		    at = at[int(step) if step.isdigit() else step]
		data = bytearray(base64.b64decode(at[sys.argv[-1]]))
		data[len(data) // 2] ^= 1
		at[sys.argv[-1]] = base64.b64encode(data).decode()
		json.dump(value, open(sys.argv[2], "w"))
	PY
}
tamper "$STAGE/jobs/doc.job.json" "$STAGE/jobs/bad.json" document
expect 3 "signature is not over these bytes" "${verify[@]}" "$TENANT" "$STAGE/jobs/bad.json"
tamper "$STAGE/jobs/doc.job.json" "$STAGE/jobs/bad.json" signatures 0 signature
expect 3 "signature" "${verify[@]}" "$TENANT" "$STAGE/jobs/bad.json"
printf '{"version": 1, "tenant": "contoso", "shoe_size": 42}' | stage_as tee "$STAGE/odd.json" >/dev/null
expect 1 "/shoe_size: there is no such member" stage_as certqueuectl sign --key "$STAGE/signer.key" "$STAGE/odd.json"
expect 3 "HTTP 4[0-9][0-9]" queuectl submit "${API[@]}" "$STAGE/jobs/bad.json"
expect 2 "not a job id" queuectl wait "${API[@]}" "../../x"
expect 2 "all needed" queuectl submit "$STAGE/jobs/doc.job.json"
expect 4 "https://127.0.0.1:1/" queuectl submit --queue https://127.0.0.1:1 --tenant "$TENANT" \
	--token-file "$STAGE/producer.token" --ca-file "$STAGE/queue/queue-ca.pem" "$STAGE/jobs/doc.job.json"
expect 3 "certificate" queuectl submit "${API[@]}" --ca-file "$STAGE/other/queue-ca.pem" "$STAGE/jobs/doc.job.json"
echo "ok: documents"

# --- what a device refuses to open
submit_jobs doc doc-2
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[@]}"
result=$STAGE/results/${IDS[0]}.json
opens() { # STATUS PATTERN [OPTION...]: later options win
	local want=$1 pattern=$2
	shift 2
	stage_as rm -rf "$STAGE/opened/tools"
	expect "$want" "$pattern" stage_as certdevice open --dir "$device" --job "$STAGE/jobs/doc.job.json" \
		--result "$result" --result-keys "$STAGE/result-keys.json" --root "$ROOT_CERTIFICATE" \
		--out "$STAGE/opened/tools" "$@"
	[ "$want" -eq 0 ] || [ ! -e "$STAGE/opened/tools" ] || test_fail "parts of a refused result were written"
}
opens 0 "password unsealed, key fits certificate, chain verifies"
for place in "document" "signature signature" "pfx" "sealed_password data"; do
	tamper "$result" "$STAGE/results/bad.json" result $place
	opens 3 "signature|not the one that was signed" --result "$STAGE/results/bad.json"
	echo "ok: not opened: a flipped bit in $place"
done
opens 3 "another device" --dir "$STAGE/devices/other"
opens 3 "another job" --job "$STAGE/jobs/doc-2.job.json"
stage_as certqueuectl root new "$STAGE/other-result.key" >/dev/null
printf '[{"use": "result", "spki": "%s"}]' "$(sed '/^-----/d' "$STAGE/other-result.key.pub" | tr -d '\n')" |
	stage_as tee "$STAGE/other-keys.json" >/dev/null
opens 3 "another key than the one expected" --result-keys "$STAGE/other-keys.json"
opens 3 "chain does not verify" --root "$STAGE/other/queue-ca.pem"
echo "ok: not opened: another device, job, result key or root"
