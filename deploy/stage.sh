# A stage: one queue and one connector as real processes on loopback, everything in one temporary folder.
# Sourced by deploy/quickstart and by the system tests; bash with `set -euo pipefail`.
#
#   stage_new BUILD_DIR        make the folder, copy the programs, choose user and ports
#   stage_queue_up             set up and start certqueued, admit tenant, signer and producer
#   stage_connector_up         set up and start certconnectord with its keyvault and local CA
#   stage_enroll               enrol it and wait until it is connected
#   stage_device NAME TYPE     a device with its key
#   stage_down                 stop what was started (by pid), remove the folder
#
# STAGE is the folder; TENANT contoso, connector hq-1, CA corp-ca, profiles corp-user and corp-compat.  Called by root
# everything runs as one unused numeric uid, otherwise as the caller.  Settings before stage_new:
# STAGE_WALLS=full (root only: a numeric uid for each role), STAGE_POLICY (text appended to policy.yaml),
# STAGE_KEY_TYPES (of corp-user), STAGE_PROFILES (more CA profiles, indented by two spaces), STAGE_REWRAP (more
# keys of `rewrap`), STAGE_KEYVAULT (more keys of `keyvault`), STAGE_INFLIGHT; STAGE_BEFORE_CONNECTOR (a command that
# is run before connector.yaml is written and may set STAGE_SETTINGS, text appended to it).

TENANT=contoso
STAGE_HOST=127.0.0.1 # a number: a bare Debian root has no /etc/hosts
stage_pids=()

stage_say() { printf '%s\n' "$*" >&2; }
stage_die() { stage_say "error: $*"; exit 1; }

# Run as the stage's user, with no privilege.
stage_as() {
	"${stage_user_prefix[@]}" "$@"
}

stage_free_port() {
	local port
	for _ in $(seq 200); do
		port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
		if [[ " ${stage_ports:-} " != *" $port "* ]] &&
			! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			stage_ports="${stage_ports:-} $port"
			STAGE_PORT=$port
			return
		fi
	done
	stage_die "no free port found"
}

# A numeric uid that no account and no process has.
stage_free_uid() {
	local uid
	for _ in $(seq 200); do
		uid=$((64000 + RANDOM % 1000))
		if [[ " ${stage_uids:-} " != *" $uid "* ]] && ! getent passwd "$uid" >/dev/null &&
			! grep -lqs "^Uid:.*\b$uid\b" /proc/[0-9]*/status; then
			stage_uids="${stage_uids:-} $uid"
			STAGE_UID=$uid
			return
		fi
	done
	stage_die "no unused uid found"
}

# stage_await SECONDS WHAT COMMAND...: until the command succeeds.
stage_await() {
	local seconds=$1 what=$2 end=$((SECONDS + $1))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { stage_logs; stage_die "$what: not within $seconds s"; }
		stage_alive || { stage_logs; stage_die "$what: a daemon ended"; }
		sleep 0.1
	done
}

stage_alive() {
	local pid
	for pid in ${stage_pids[@]+"${stage_pids[@]}"}; do
		kill -0 "$pid" 2>/dev/null || return 1
	done
}

stage_logs() {
	local log
	[ -n "${STAGE:-}" ] || return 0
	for log in "$STAGE"/*.log; do
		[ -f "$log" ] || continue
		stage_say "--- last lines of ${log##*/}"
		tail -n 25 "$log" >&2
	done
}

stage_new() {
	local build=$1 program
	STAGE=$(mktemp -d "${TMPDIR:-/tmp}/certconnector.XXXXXX")
	mkdir "$STAGE/bin"
	for program in connector/certconnectord ctl/certconnectorctl cloud-queue/certqueued \
		cloud-queue/certqueuectl cloud-queue/certdevice; do
		cp "$build/$program" "$STAGE/bin/"
	done
	STAGE_OWNER=$(id -u)
	stage_user_prefix=()
	if [ "$STAGE_OWNER" -eq 0 ]; then
		stage_free_uid
		STAGE_OWNER=$STAGE_UID
		stage_user_prefix=(setpriv "--reuid=$STAGE_OWNER" "--regid=$STAGE_OWNER" --clear-groups
			--inh-caps=-all --bounding-set=-all)
		chown -R "$STAGE_OWNER:$STAGE_OWNER" "$STAGE"
	fi
	chmod 0755 "$STAGE" "$STAGE/bin"
	PATH=$STAGE/bin:$PATH
	# the sandbox of a role stops LeakSanitizer; leaks are looked for in the unit tests
	export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
	stage_free_port && STAGE_CONNECTORS=$STAGE_PORT
	stage_free_port && STAGE_PRODUCERS=$STAGE_PORT
	API=(--queue "https://$STAGE_HOST:$STAGE_PRODUCERS" --tenant "$TENANT"
		--token-file "$STAGE/producer.token" --ca-file "$STAGE/queue/queue-ca.pem")
}

# stage_start LOG COMMAND...: in the background; no shell function, so that STAGE_PID is the program's own.
stage_start() {
	local log=$1
	shift
	"$@" >>"$STAGE/$log" 2>&1 &
	STAGE_PID=$!
	stage_pids+=("$STAGE_PID")
}

queuectl() { stage_as certqueuectl --socket "$STAGE/queue/run/control.sock" "$@"; }
ctl() { "${stage_ctl_prefix[@]}" certconnectorctl --config "$STAGE/etc/connector.yaml" "$@"; }

stage_queue_up() {
	stage_as certqueuectl init --dir "$STAGE/queue" --name "$STAGE_HOST" \
		--connectors-port "$STAGE_CONNECTORS" --producers-port "$STAGE_PRODUCERS"
	stage_queue_start
	stage_as certqueuectl root new "$STAGE/root.key"
	stage_as certqueuectl signer new "$STAGE/signer.key"
	stage_as certqueuectl signer state --root "$STAGE/root.key" --signer "$STAGE/signer.key.pub" \
		--tenant "$TENANT" --kinds issue,rewrap,revoke,chain --out "$STAGE/statement.json"
	queuectl tenant add "$TENANT" --job-root "$STAGE/root.key.pub"
	queuectl token producer "$TENANT" --name mdm --out "$STAGE/producer.token" \
		--scopes jobs:write,jobs:read,pfx:write,pfx:read,signers:write,connectors:read
	queuectl signer put "$STAGE/statement.json" "${API[@]}"
}

stage_queue_start() {
	stage_start queue.log "${stage_user_prefix[@]}" certqueued --config "$STAGE/queue/queue.yaml"
	STAGE_QUEUE_PID=$STAGE_PID
	stage_await 30 "certqueued" queuectl show stats
}

stage_connector_config() {
	local walls=allow_reduced users=
	if [ "${STAGE_WALLS:-reduced}" = full ]; then
		walls=require
		stage_free_uid && STAGE_NET_UID=$STAGE_UID
		stage_free_uid && STAGE_VAULT_UID=$STAGE_UID
		stage_free_uid && STAGE_CA_UID=$STAGE_UID
		users="users: {supervisor: $STAGE_OWNER, connector: $STAGE_NET_UID, keyvault: $STAGE_VAULT_UID, ca: $STAGE_CA_UID}"
	fi
	${STAGE_BEFORE_CONNECTOR:-:}
	stage_as mkdir -p "$STAGE/etc/ca.d"
	stage_as tee "$STAGE/etc/connector.yaml" >/dev/null <<-YAML
		state_dir: $STAGE/state
		run_dir: $STAGE/run
		policy: policy.yaml
		pins: pins.yaml
		ca_dir: ca.d
		walls: $walls
		$users
		log: {format: logfmt, level: info}
		connector: {max_inflight: ${STAGE_INFLIGHT:-16}, backoff_min_ms: 100, backoff_max_ms: 2000}
		keyvault: {master_key: master.key${STAGE_KEYVAULT:+, $STAGE_KEYVAULT}}
		${STAGE_SETTINGS:-}
	YAML
	stage_as tee "$STAGE/etc/ca.d/corp-ca.yaml" >/dev/null <<-YAML
		backend: local
		secret: $STAGE/etc/corp-ca.secret
		templates:
		  user:
		    eku: [1.3.6.1.5.5.7.3.2, 1.3.6.1.5.5.7.3.4]
		    key_usage: [digitalSignature, keyEncipherment]
		    max_validity: 365d
	YAML
	stage_as tee "$STAGE/etc/policy.yaml" >/dev/null <<-YAML
		version: 1
		revision: 1
		device_keys: any_signed
		ca_profiles:
		  corp-user:
		    cas: [corp-ca]
		    template: user
		    key_types: [${STAGE_KEY_TYPES:-rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384}]
		    eku: [1.3.6.1.5.5.7.3.2, 1.3.6.1.5.5.7.3.4]
		    default_eku: [1.3.6.1.5.5.7.3.2]
		    key_usage: [digitalSignature, keyEncipherment]
		    max_validity: 365d
		    default_validity: 90d
		    san: {email: [contoso.com], upn: [contoso.com], dns: [corp.contoso.com]}
		    seal: cms-auth
		    seals: [cms-auth, oaep-sha256, windows]
		    pfx_profile: modern
		  corp-compat:
		    cas: [corp-ca]
		    template: user
		    key_types: [rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384]
		    eku: [1.3.6.1.5.5.7.3.2]
		    key_usage: [digitalSignature, keyEncipherment]
		    max_validity: 365d
		    san: {email: [contoso.com], upn: [contoso.com], dns: [corp.contoso.com]}
		    seals: [cms-auth, windows]
		    pfx_profile: compat
		${STAGE_PROFILES:-}
		rewrap: {purposes: [smimeEncryption, smimeSigning], seals: [cms-auth, oaep-sha256, windows]${STAGE_REWRAP:+, $STAGE_REWRAP}}
		${STAGE_POLICY:-}
	YAML
}

stage_connector_up() {
	stage_connector_config
	# with full walls the administrator's tool runs as root, as it does on a real host
	stage_ctl_prefix=(stage_as)
	if [ "${STAGE_WALLS:-reduced}" = full ]; then
		stage_ctl_prefix=(env)
		chown -R 0:0 "$STAGE/etc"
	fi
	ctl init
	ctl ca init corp-ca --subject "CN=Contoso Demo CA,O=Contoso"
	stage_connector_start
}

stage_connector_start() {
	local run=("${stage_user_prefix[@]}")
	if [ "${STAGE_WALLS:-reduced}" = full ]; then
		run=(setpriv "--reuid=$STAGE_OWNER" "--regid=$STAGE_OWNER" --clear-groups
			--inh-caps=-all,+setuid,+setgid,+kill --ambient-caps=-all,+setuid,+setgid,+kill
			--bounding-set=-all,+setuid,+setgid,+kill)
	fi
	stage_start connector.log "${run[@]}" certconnectord --config "$STAGE/etc/connector.yaml"
	STAGE_CONNECTOR_PID=$STAGE_PID
	stage_await 60 "certconnectord" ctl keys
}

# In two steps, for a test that puts something between connector and queue: join, then wait.
stage_enroll() {
	stage_join
	stage_await_connected
}

stage_join() {
	queuectl token connector "$TENANT" --id hq-1 --groups hq --out "$STAGE/enrol.token"
	[ "${STAGE_WALLS:-reduced}" != full ] || chown 0:0 "$STAGE/enrol.token"
	ctl enroll --token-file "$STAGE/enrol.token"
}

stage_await_connected() {
	stage_await 60 "connection to the queue" stage_connected
	ctl --json keys | stage_as tee "$STAGE/result-keys.json" >/dev/null
	ROOT_CERTIFICATE=$STAGE/root.pem
	cp "$STAGE/state/ca/corp-ca/local/root.pem" "$ROOT_CERTIFICATE"
	chmod 0644 "$ROOT_CERTIFICATE"
}

stage_connected() {
	ctl --json status | grep -q '"connection": "ready"'
}

stage_device() {
	stage_as mkdir -p "$STAGE/devices"
	stage_as certdevice new "$STAGE/devices/$1" --key "$2"
}

# The device's certificate under a CA of devices, with that CA behind it: device.pem in its folder.
stage_device_certificate() { # NAME DAYS
	local ca=$STAGE/device-ca dir=$STAGE/devices/$1
	if [ ! -e "$ca.pem" ]; then
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout "$ca.key" \
			-out "$ca.pem" -subj "/CN=Contoso Device CA" 2>/dev/null
		printf '%s\n' keyUsage=critical,digitalSignature,keyEncipherment extendedKeyUsage=clientAuth \
			>"$ca.extensions"
	fi
	stage_as cat "$dir/device.pub" >"$ca.one"
	openssl x509 -new -force_pubkey "$ca.one" -subj "/CN=$1" -days "$2" -CA "$ca.pem" -CAkey "$ca.key" \
		-extfile "$ca.extensions" | cat - "$ca.pem" | stage_as tee "$dir/device.pem" >/dev/null
}

# stage_job NAME DEVICE KIND [certdevice ask option...]: a request, signed: $STAGE/jobs/NAME.{request,job}.json
stage_job() {
	local name=$1 device=$2 kind=$3
	shift 3
	stage_as mkdir -p "$STAGE/jobs"
	stage_as certdevice ask "$kind" --dir "$STAGE/devices/$device" --tenant "$TENANT" \
		--idempotency-key "$name" --out "$STAGE/jobs/$name.request.json" "$@"
	stage_as certqueuectl sign --key "$STAGE/signer.key" ${STAGE_RECORD:+--record "$STAGE_RECORD"} \
		--out "$STAGE/jobs/$name.job.json" "$STAGE/jobs/$name.request.json"
}

stage_stop_pid() {
	local pid=$1 p left=()
	kill -TERM "$pid" 2>/dev/null || true
	for _ in $(seq 300); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	for p in ${stage_pids[@]+"${stage_pids[@]}"}; do
		[ "$p" = "$pid" ] || left+=("$p")
	done
	stage_pids=(${left[@]+"${left[@]}"})
}

stage_down() {
	local pid
	for pid in ${stage_pids[@]+"${stage_pids[@]}"}; do
		stage_stop_pid "$pid"
	done
	[ -z "${STAGE:-}" ] || rm -rf "$STAGE"
}
