#!/usr/bin/env bash
# What an administrator or a host gets wrong: configuration, key files, ports, sockets, the clock, the tools'
# rights, a password prompt that is left.  Each is told in words that name the place and what to do, and
# what runs goes on or comes back by itself.
. "$(dirname "$0")/lib.sh"
stage_new "$build"

# expect STATUS PATTERN COMMAND...: the exit status, and words that stdout or stderr must have.
expect() {
	local want=$1 pattern=$2 status=0
	shift 2
	"$@" >"$STAGE/said" 2>&1 </dev/null || status=$?
	[ "$status" -eq "$want" ] ||
		{ cat "$STAGE/said" >&2; test_fail "exit status $status, not $want: $*"; }
	grep -qE -- "$pattern" "$STAGE/said" ||
		{ cat "$STAGE/said" >&2; test_fail "no words \"$pattern\": $*"; }
	! grep -qE "AddressSanitizer|runtime error|Assertion" "$STAGE/said" || test_fail "a stack trace: $*"
}

# --- queue.yaml: never started with it
stage_as certqueuectl init --dir "$STAGE/queue" --name "$STAGE_HOST" \
	--connectors-port "$STAGE_CONNECTORS" --producers-port "$STAGE_PRODUCERS" >/dev/null
queue_check=(stage_as certqueued --config "$STAGE/queue/queue.yaml" --check)
# mistakes FILE KEY COMMAND...: each told with file, line and column; KEY is one of its keys that has a value
mistakes() {
	local file=$1 key=$2 lines
	shift 2
	cp -p "$file" "$STAGE/good"
	lines=$(($(wc -l <"$file") + 1))
	mistake() { # PATTERN COMMAND...
		expect 5 "$@"
		cp -p "$STAGE/good" "$file"
	}
	echo "shoe_size: 42" >>"$file"
	mistake "$file:$lines:1: .*shoe_size.*$key" "$@"
	echo "$key: again" >>"$file"
	mistake "$file:$lines:1: key '$key' stands here twice, first in line" "$@"
	sed -i "s|^$key:.*|$key: [a, list]|" "$file"
	mistake "$file:[0-9]+:$((${#key} + 3)): .*$key.*list" "$@"
	sed -i "s|^$key: *|$key: \&anchor |" "$file"
	mistake "$file:[0-9]+:$((${#key} + 3)): an anchor is not allowed" "$@"
	echo "ok: mistakes in ${file##*/} are told with line, column and what is allowed"
}
mistakes "$STAGE/queue/queue.yaml" state_dir "${queue_check[@]}"
stage_connector_config
daemon_check=(stage_as certconnectord --check --config "$STAGE/etc/connector.yaml")
mistakes "$STAGE/etc/connector.yaml" walls "${daemon_check[@]}"
stage_ctl_prefix=(stage_as)
mistakes "$STAGE/etc/connector.yaml" state_dir "${daemon_check[@]}"
expect 0 "configuration is fine" "${daemon_check[@]}"
stage_as sed -i 's/^backend: local/backend: \&a local/' "$STAGE/etc/ca.d/corp-ca.yaml"
expect 5 "ca.d/corp-ca.yaml:1:10: an anchor is not allowed" "${daemon_check[@]}"
stage_as sed -i 's/^backend: .*/backend: local\nbackend: local/' "$STAGE/etc/ca.d/corp-ca.yaml"
expect 5 "ca.d/corp-ca.yaml:2:1: key 'backend' stands here twice, first in line 1" "${daemon_check[@]}"
stage_as sed -i '1d' "$STAGE/etc/ca.d/corp-ca.yaml"
stage_as sed -i 's/^backend: .*/backend: [local]/' "$STAGE/etc/ca.d/corp-ca.yaml"
expect 5 "ca.d/corp-ca.yaml:1:10: backend: not a name" "${daemon_check[@]}"
ca_mistake() { # SED PATTERN: the backend's keys are judged when the file is read
	stage_as sed -i "$1" "$STAGE/etc/ca.d/corp-ca.yaml"
	expect 5 "ca.d/corp-ca.yaml:$2" "${daemon_check[@]}"
	stage_as cp "$STAGE/good-ca" "$STAGE/etc/ca.d/corp-ca.yaml"
}
stage_as sed -i 's/^backend: .*/backend: local/' "$STAGE/etc/ca.d/corp-ca.yaml"
stage_as cp "$STAGE/etc/ca.d/corp-ca.yaml" "$STAGE/good-ca"
ca_mistake 's/^backend: .*/backend: lokal/' "1:10: there is no backend 'lokal'; there is: local"
ca_mistake '1d' "1:1: backend is missing; there is: local"
ca_mistake '1a shoe_size: 42' "2:1: unknown key 'shoe_size'; allowed here: backend, user, secret, on_unknown, templates,"
ca_mistake 's/max_validity:/max_life:/' "[0-9]+:5: unknown key 'max_life'; allowed here: eku, key_usage, max_validity"
ca_mistake 's/max_validity: .*/max_validity: [365d]/' "[0-9]+:19: max_validity must be a single value, here stands a list"
ca_mistake 's/key_usage: .*/key_usage: digitalSignature/' "[0-9]+:16: templates.user.key_usage must be a list"
ca_mistake '1a crl_validity: {a: 7d}' "2:15: crl_validity must be a single value, here stands a map"
expect 0 "configuration is fine" "${daemon_check[@]}"
echo "ok: mistakes in a CA's file are told with line, column and what is allowed"
expect 2 "certconnectord: .*frobnicate" certconnectord frobnicate
expect 2 "certconnectord: .*--frobnicate" certconnectord --frobnicate

# --- the queue's key files, ports
queue_start=(timeout 20 "${stage_user_prefix[@]}" certqueued --config "$STAGE/queue/queue.yaml")
for key in server.key queue-ca.key; do
	stage_as chmod 0644 "$STAGE/queue/$key"
	expect 5 "$key: mode 644 lets others in.*chmod 600 .*$key" "${queue_start[@]}"
	stage_as chmod 0000 "$STAGE/queue/$key"
	[ "$STAGE_OWNER" -eq 0 ] || expect 5 "$key: Permission denied" "${queue_start[@]}"
	stage_as chmod 0600 "$STAGE/queue/$key"
	stage_as mv "$STAGE/queue/$key" "$STAGE/queue/$key.away"
	status=0
	"${queue_start[@]}" >"$STAGE/said" 2>&1 || status=$?
	[ $status -ne 0 ] && grep -q "$key: No such file" "$STAGE/said" || { cat "$STAGE/said"; test_fail "no $key"; }
	stage_as mv "$STAGE/queue/$key.away" "$STAGE/queue/$key"
	echo "ok: the queue's $key readable by others, by nobody, missing"
done
stage_as cp -p "$STAGE/queue/server.key" "$STAGE/queue/server.key.good"
stage_as cp "$STAGE/queue/queue-ca.key" "$STAGE/queue/server.key"
expect 5 "server.pem and .*server.key do not belong together" "${queue_start[@]}"
stage_as cp "$STAGE/queue/server.key.good" "$STAGE/queue/server.key"
for port in "$STAGE_CONNECTORS" "$STAGE_PRODUCERS"; do
	stage_start holder.log /usr/bin/python3 -c "
import socket, sys, time
s = socket.create_server(('127.0.0.1', $port))
open('$STAGE/held', 'w').close()
time.sleep(60)"
	stage_await 10 "a program on port $port" test -e "$STAGE/held"
	expect 5 "127.0.0.1 port $port is in use by another program: stop that one" "${queue_start[@]}"
	stage_stop_pid "$STAGE_PID"
	rm "$STAGE/held"
	echo "ok: a port of the queue in use"
done
rm -rf "$STAGE/queue"
stage_queue_up >/dev/null
expect 1 "queue/state: another process has it open" "${queue_start[@]}"
test_expect "a second queue on the same store is refused, the first serves" quietly queuectl show stats

# --- the connector
stage_connector_up >/dev/null 2>&1
stage_enroll >/dev/null
stage_device phone ec-p256 >/dev/null
job() { # NAME
	stage_job "$1" phone issue --profile corp-user --key-type ec-p256 --subject "CN=$1" --user user-1 --device phone
	submit_jobs "$1"
}
served() { queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}" >/dev/null; }
expect 1 "control.sock: another process listens there" timeout 20 "${stage_user_prefix[@]}" \
	certconnectord --config "$STAGE/etc/connector.yaml"
test_expect "a second daemon on the same sockets is refused, the first serves" stage_connected

# said SECONDS PATTERN: a line of connector.log since the mark
mark() { MARK=$(($(wc -l <"$STAGE/connector.log") + 1)); }
said_now() { tail -n "+$MARK" "$STAGE/connector.log" | grep -qE -- "$1"; }
said() {
	stage_await 30 "a line with \"$1\"" said_now "$1"
	echo "ok: told: $1"
}

# --- policy and pins: read anew while it runs; jobs wait for a good one, none is lost
policy=$STAGE/etc/policy.yaml
cp -p "$policy" "$STAGE/policy.good"
lines=$(($(wc -l <"$policy") + 1))
broken() { # PATTERN TEXT
	mark
	printf '%s\n' "$2" >>"$policy"
	kill -HUP "$STAGE_CONNECTOR_PID"
	said "event=5108 .*$1"
	cp -p "$STAGE/policy.good" "$policy"
}
broken "policy[^ ]*:$lines:1: .*shoe_size.*ca_profiles" "shoe_size: 42"
broken "policy[^ ]*:$lines:1: key 'version' stands here twice, first in line 1" "version: 1"
broken "policy[^ ]*:$lines:15: an anchor is not allowed" "revoke_scope: &a any"
broken "policy[^ ]*:$lines:15: .*revoke_scope.*list" "revoke_scope: [any]"
job waits-for-policy
mark
kill -HUP "$STAGE_CONNECTOR_PID"
said "event=5107 "
test_expect "jobs go on with a good policy" served

# --- pins, identity and a CA's own keys: told by the role that reads them; the daemon stays
restart() {
	mark
	stage_stop_pid "$STAGE_CONNECTOR_PID"
	stage_start connector.log "${stage_user_prefix[@]}" certconnectord --config "$STAGE/etc/connector.yaml"
	STAGE_CONNECTOR_PID=$STAGE_PID
}
role_mistakes() { # FILE EVENT: a mistake of each kind, about its key `tenant`
	local file=$1 event=$2 name=${1##*/} lines
	lines=$(($(wc -l <"$file") + 1))
	cp -p "$file" "$STAGE/good"
	role_mistake() { # PATTERN
		restart
		said "event=$event .*$name:$1"
		cp -p "$STAGE/good" "$file"
	}
	echo "shoe_size: 42" >>"$file"
	role_mistake "$lines:1: unknown key 'shoe_size'; allowed here: tenant, connector_id"
	echo "tenant: again" >>"$file"
	role_mistake "$lines:1: key 'tenant' stands here twice, first in line 2"
	sed -i 's/^tenant:.*/tenant: [a, list]/' "$file"
	role_mistake "2:9: tenant must be a single value, here stands a list"
	sed -i 's/^tenant: */tenant: \&a /' "$file"
	role_mistake "2:9: an anchor is not allowed: write the value where it is needed"
}
role_mistakes "$STAGE/etc/pins.yaml" 5108
role_mistakes "$STAGE/state/identity/identity.yaml" 4
ca=$STAGE/etc/ca.d/corp-ca.yaml
cp -p "$ca" "$STAGE/good"
echo "shoe_size: 42" >>"$ca"
expect 5 "ca.d/corp-ca.yaml:$(wc -l <"$ca"):1: unknown key .*shoe_size" timeout 20 "${stage_user_prefix[@]}" \
	certconnectord --config "$STAGE/etc/connector.yaml"
mark
kill -HUP "$STAGE_CONNECTOR_PID"
said "event=4 .*ca.d/corp-ca.yaml:$(wc -l <"$ca"):1: unknown key 'shoe_size'"
cp -p "$STAGE/good" "$ca"
sed -i 's/max_validity: .*/max_validity: a while/' "$ca"
restart
said "event=6003 .*templates.user.max_validity: a time such as 365d, from 1m to 3650d"
cp -p "$STAGE/good" "$ca"

# --- key files of the roles
key_file() { # FILE: of a role, readable by others, by nobody
	stage_as chmod 0644 "$1"
	restart
	said "${1##*/}: mode 644 lets others in, only its owner may have access: chmod 600"
	stage_as chmod 0000 "$1"
	if [ "$STAGE_OWNER" -ne 0 ]; then
		restart
		said "${1##*/}: Permission denied"
	fi
	stage_as chmod 0600 "$1"
}
key_file "$STAGE/state/identity/transport.key"
key_file "$STAGE/etc/corp-ca.secret"
key_file "$STAGE/etc/master.key"
missing() { # FILE PATTERN
	stage_as mv "$1" "$1.away"
	restart
	said "$2"
	stage_as mv "$1.away" "$1"
}
missing "$STAGE/state/identity/transport.key" \
	"event=4 .*transport.key: No such file.*says that this connector is enrolled: put the file back, or enroll again"
missing "$STAGE/etc/corp-ca.secret" "event=6003 .*corp-ca.yaml: .secret. is missing, or its file"

# --- keys in the state directories: the role that needs one tells, the others serve; mended, it comes back
# without a restart of the daemon
linked() { { ctl --json status || true; } | grep -q '"connection": "ready"'; } # status 1 tells of the CA
lost() { # FILE PATTERN [COMMAND that succeeds all the same]: moved away, and put back
	stage_as mv "$1" "$STAGE/away"
	restart
	said "$2"
	[ $# -lt 3 ] || stage_await 30 "the rest, without ${1##*/}" "$3"
	stage_as mv "$STAGE/away" "$1"
}
altered() { # FILE CONTENT PATTERN [COMMAND]: with other content, and its own again
	cp -p "$1" "$STAGE/good"
	printf '%s\n' "$2" >"$1"
	restart
	said "$3"
	[ $# -lt 4 ] || stage_await 30 "the rest, with a wrong ${1##*/}" "$4"
	cp -p "$STAGE/good" "$1"
}
serves() { # NAME
	stage_await 30 "the connection" linked
	job "$1"
	test_expect "$1: it serves again by itself" served
}
ca_state=$STAGE/state/ca/corp-ca
key_file "$ca_state/local/ca.key"
lost "$ca_state/local/root.pem" "event=6003 .*root.pem: No such file.*: put the CA's certificate back" linked
lost "$ca_state/local/ca.key" \
	"event=6003 .*ca.key: No such file.*root.pem is there: put the CA's key back" linked
serves after-ca-key
altered "$STAGE/etc/corp-ca.secret" short \
	"event=6003 .*ca.d/corp-ca.yaml: .secret.: the first line .* is not a passphrase of 20" linked
altered "$STAGE/etc/corp-ca.secret" "another secret, long enough" \
	"event=6003 .*ca.key: the CA's secret does not open this key" linked
key_file "$ca_state/cookie.key"
altered "$ca_state/cookie.key" short "event=3 .*cookie.key: not a key; move it away and a new one is made" \
	linked
serves after-cookie-key
rm "$ca_state/cookie.key"
restart
serves with-a-new-cookie-key
test_expect "a missing cookie.key, which only opens cookies, is made anew" test -s "$ca_state/cookie.key"
altered "$STAGE/state/identity/transport.key" nonsense \
	"event=4 .*TLS cannot be set up with .*/transport.key and .*: put the right files back, or enroll again"
altered "$STAGE/etc/master.key" short \
	"event=3 .*the master key .keyvault.master_key of connector.yaml. has 6 bytes, at least 32 .*: put the right"
altered "$STAGE/etc/master.key" "$(printf '%040d' 0)" \
	"event=3 .*vault/keys/[0-9a-f]+.key: sealed with another master key .*: put the right file back"
vault_keys=("$STAGE"/state/vault/keys/*.key)
key_file "${vault_keys[0]}"
for key in "${vault_keys[@]}"; do
	lost "$key" "event=3 .*/vault/keys: its (result|approval|decrypt) key is missing, .*: put the file back"
done
serves after-vault-keys

# --- pins and identity: not there, readable by nobody, writable by all
pins=$STAGE/etc/pins.yaml
lost "$pins" "event=5108 .*there is no pins file, so no tenant is known: put pins.yaml back" linked
kill -HUP "$STAGE_CONNECTOR_PID"
serves after-pins
moded() { # FILE MODE PATTERN: and its own mode again
	local mode
	mode=$(stat -c %a "$1")
	stage_as chmod "$2" "$1"
	restart
	said "$3"
	stage_as chmod "$mode" "$1"
}
moded "$pins" 0666 "event=12 .*pins.yaml: mode 666 lets group or others write: chmod go-w"
serves after-open-pins
if [ "$STAGE_OWNER" -ne 0 ]; then
	moded "$pins" 0000 "event=12 .*pins.yaml: Permission denied"
	moded "$STAGE/state/identity/identity.yaml" 0000 "event=4 .*identity.yaml: Permission denied"
fi
lost "$STAGE/state/identity/transport.pem" "event=4 .*transport.pem: No such file.*put the file back, or enroll again"
lost "$STAGE/state/identity/queue-ca.pem" "event=4 .*queue-ca.pem: No such file.*put the file back, or enroll again"
stage_stop_pid "$STAGE_CONNECTOR_PID"
stage_as mv "$STAGE/etc/master.key" "$STAGE/etc/master.key.away"
expect 5 "master.key: the master key is missing, and .*/vault has a store that needs it: put the file back" \
	timeout 20 "${stage_user_prefix[@]}" certconnectord --config "$STAGE/etc/connector.yaml"
stage_as mv "$STAGE/etc/master.key.away" "$STAGE/etc/master.key"
restart
stage_await 30 "the connection" stage_connected

# --- the tools: no right, and a prompt that is left
if [ "$(id -u)" -eq 0 ]; then
	stage_free_uid
	stranger=(setpriv "--reuid=$STAGE_UID" "--regid=$STAGE_UID" --clear-groups --inh-caps=-all --bounding-set=-all)
	expect 4 "control.sock: Permission denied" "${stranger[@]}" "$STAGE/bin/certqueuectl" \
		--socket "$STAGE/queue/run/control.sock" show stats
	expect 5 "connector.yaml: owned by uid $STAGE_OWNER, must be owned by root or uid $STAGE_UID" \
		"${stranger[@]}" "$STAGE/bin/certconnectorctl" \
		--config "$STAGE/etc/connector.yaml" keys
	expect 5 "signer.key: Permission denied|signer.key: owned by" "${stranger[@]}" "$STAGE/bin/certqueuectl" sign \
		--key "$STAGE/signer.key" "$STAGE/jobs/after-vault-keys.request.json"
	echo "ok: a user without rights is told in one line"
else
	echo "SKIPPED: a user without rights (only root can become one)"
fi
cat >"$STAGE/prompt.py" <<'PY'
"""The hidden prompt on a terminal of its own: what a key does to it, and that echo is on afterwards."""
import fcntl, os, pty, signal, subprocess, sys, termios
def echo(fd):
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)
for key, by in ((b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT), (b"\x04", None)):
    master, slave = pty.openpty()
    def own():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # a shell's background job ignores them
    p = subprocess.Popen(sys.argv[1:], stdin=slave, stdout=slave, stderr=slave, preexec_fn=own)
    said = b""
    while b"password of the PFX files:" not in said:
        said += os.read(master, 1000)
    if echo(slave):
        sys.exit("echo is on while the password is typed")
    os.write(master, key)
    status = p.wait(20)
    if not echo(slave):
        sys.exit("echo is off after %r" % key)
    if by is not None and status != -by:
        sys.exit("status %d after %r" % (status, key))
    if by is None and (status != 2 or b"no password given" not in os.read(master, 1000)):
        sys.exit("status %d after %r" % (status, key))
PY
chmod 0644 "$STAGE/prompt.py"
test_expect "Ctrl-C at the password prompt leaves the terminal as it was" \
	stage_as /usr/bin/python3 "$STAGE/prompt.py" certconnectorctl --config "$STAGE/etc/connector.yaml" \
	pfx import "$STAGE/etc/policy.yaml" --upn a@contoso.com --out "$STAGE/jobs"

# --- an IPv6 address as the queue's name
stage_free_port && six_connectors=$STAGE_PORT
stage_free_port && six_producers=$STAGE_PORT
stage_as certqueuectl init --dir "$STAGE/six" --name ::1 --listen ::1 --connectors-port "$six_connectors" \
	--producers-port "$six_producers" >/dev/null
test_expect "a configuration with it is taken" stage_as certqueued --config "$STAGE/six/queue.yaml" --check
test_expect "an IPv6 name stands in brackets" grep -q "url: \"wss://\[::1\]:$six_connectors\"" "$STAGE/six/queue.yaml"
if [ -s /proc/net/if_inet6 ]; then
	stage_start six.log "${stage_user_prefix[@]}" certqueued --config "$STAGE/six/queue.yaml"
	stage_await 30 "a queue on ::1" stage_as certqueuectl --socket "$STAGE/six/run/control.sock" show stats
	expect 3 "HTTP 401" queuectl submit --queue "https://[::1]:$six_producers" --tenant "$TENANT" \
		--token-file "$STAGE/producer.token" --ca-file "$STAGE/six/queue-ca.pem" "$STAGE/jobs/after-vault-keys.job.json"
	echo "ok: it is reached under that address, by its certificate"
	stage_stop_pid "$STAGE_PID"
else
	echo "SKIPPED: a queue on ::1 (this kernel has no IPv6)"
fi

# --- the clock: only the connector's; the C library's answers are shifted
cc -shared -fPIC -O1 -o "$STAGE/clock.so" -x c - <<'C'
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift;
__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("CLOCK_SHIFT");
	shift = text ? atol(text) : 0;
}
int clock_gettime(clockid_t id, struct timespec *ret)
{
	int rc = (int)syscall(SYS_clock_gettime, id, ret);
	if (rc == 0 && id == CLOCK_REALTIME)
		ret->tv_sec += shift;
	return rc;
}
time_t time(time_t *ret)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
int gettimeofday(struct timeval *ret, void *zone)
{
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}
C
chmod 0755 "$STAGE/clock.so"
restart_at() { # SECONDS that its clock is off
	mark
	stage_stop_pid "$STAGE_CONNECTOR_PID"
	stage_start connector.log env "LD_PRELOAD=$STAGE/clock.so" "CLOCK_SHIFT=$1" \
		"ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0" "${stage_user_prefix[@]}" \
		certconnectord --config "$STAGE/etc/connector.yaml"
	STAGE_CONNECTOR_PID=$STAGE_PID
}
restart_at -200
said "event=5012 .*skew_ms=(19|20)[0-9]{4} .*this clock is behind the queue's"
restart_at -7200
said "event=5042 .*error=tls_expired .*this host's clock says 20[0-9-]+T[0-9:]+Z: certificate is not yet valid"
job clock-behind
restart_at 0
stage_await 30 "the connection" stage_connected
test_expect "a job that came while the clock was behind is done when it is right" served
restart_at 691200
said "event=5012 .*skew_ms=-691[0-9]{6} .*this clock is ahead of the queue's"
job clock-ahead
said "event=5101 .*job=${IDS[0]} .*code=expired reason=\"past its not_after\""
has_failed() { queuectl show job "$TENANT" "${IDS[0]}" | grep -q '"code": "expired"'; }
stage_await 30 "the job's end at the queue: failed, expired" has_failed
restart_at 0
stage_await 30 "the connection" stage_connected
job clock-was-ahead
said "event=5109 .*job=${IDS[0]} "
test_expect "an administrator says that the clock is right now" quietly ctl clock accept
said "event=5110 .*operation=accept_clock uid=$STAGE_OWNER outcome=done"
job after-accept
test_expect "and jobs are taken again" served
restart_at 86400000
said "event=5042 .*error=tls_expired .*this host's clock says 20[0-9-]+T[0-9:]+Z: certificate has expired"
test_expect "no process shows a stack trace" bash -c "! grep -qE 'AddressSanitizer|runtime error' '$STAGE/connector.log' '$STAGE/queue.log'"
