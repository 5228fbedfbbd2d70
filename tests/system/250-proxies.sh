#!/usr/bin/env bash
# Jobs through proxies that nobody here wrote (squid with Basic, Digest, NTLM, Negotiate and over TLS,
# microsocks), through one that splits its answer, and failures that are each called by their name.
. "$(dirname "$0")/lib.sh"
helpers=/usr/lib/squid
for program in squid microsocks krb5kdc kadmin.local kdb5_util; do
	command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin
	command -v "$program" >/dev/null || test_skip "$program is not installed (deploy/install-packages test)"
done
[ -x "$helpers/ntlm_fake_auth" ] || test_skip "squid's helpers are not installed"

# a role's own user and all its walls, where that can be had
[ "$(id -u)" -ne 0 ] || STAGE_WALLS=full
stage_new "$build"
stage_queue_up
stage_connector_up
base=$(cat "$STAGE/etc/connector.yaml")
stage_device phone ec-p256
stage_as mkdir -p "$STAGE/results" "$STAGE/opened" "$STAGE/imported"
px=$STAGE/px
stage_as mkdir "$px"
for port in AUTHENTICATED OVER_TLS FORBIDDEN SOCKS ODD INSPECTING KDC CLOSED; do
	stage_free_port
	printf -v "$port" %s "$STAGE_PORT"
done

# --- the peers
put() { stage_as tee "$px/$1" >/dev/null; }

stage_as openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Proxy CA" \
	-addext "subjectAltName=IP:127.0.0.1" -keyout "$px/tls.key" -out "$px/tls.pem" 2>/dev/null
stage_as openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Corp Inspection CA" \
	-addext "subjectAltName=IP:127.0.0.1" -keyout "$px/inspection.key" -out "$px/inspection.pem" 2>/dev/null

kerberos_up() {
	export KRB5_CONFIG=$px/krb5.conf KRB5_KDC_PROFILE=$px/kdc.conf
	put krb5.conf <<-CONF
		[libdefaults]
		  default_realm = PROXY.TEST
		  dns_canonicalize_hostname = false
		  dns_lookup_kdc = false
		  rdns = false
		[realms]
		  PROXY.TEST = {
		    kdc = 127.0.0.1:$KDC
		  }
	CONF
	put kdc.conf <<-CONF
		[realms]
		  PROXY.TEST = {
		    database_name = $px/principal
		    key_stash_file = $px/stash
		    kdc_listen = 127.0.0.1:$KDC
		    kdc_tcp_listen = 127.0.0.1:$KDC
		  }
		[logging]
		  kdc = FILE:$px/kdc.txt
	CONF
	stage_as kdb5_util create -s -P of-no-worth >/dev/null
	local command
	for command in "addprinc -randkey HTTP/127.0.0.1" "addprinc -randkey hq-1" \
		"ktadd -k $px/proxy.keytab HTTP/127.0.0.1" "ktadd -k $px/client.keytab hq-1"; do
		stage_as kadmin.local -p admin@PROXY.TEST -q "$command" >/dev/null
	done
	stage_start kdc.log "${stage_user_prefix[@]}" krb5kdc -n -P "$px/kdc.pid"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# the Negotiate helper is told its principal: with GSS_C_NO_NAME it wants to resolve this host's own name, which a
# bare root cannot, ends, and squid with it
squid_up() {
	printf 'basic-me:%s\n' "$(openssl passwd -apr1 'p:@ss w')" | put basic
	printf 'digest-me:proxy:%s\n' "$(printf 'digest-me:proxy:secret' | md5sum | cut -d' ' -f1)" | put digest
	put squid.conf <<-CONF
		http_port 127.0.0.1:$AUTHENTICATED
		http_port 127.0.0.1:$FORBIDDEN
		https_port 127.0.0.1:$OVER_TLS tls-cert=$px/tls.pem tls-key=$px/tls.key
		auth_param negotiate program $helpers/negotiate_kerberos_auth -k $px/proxy.keytab -s HTTP/127.0.0.1@PROXY.TEST -t none
		auth_param negotiate children 2 startup=1
		auth_param ntlm program $helpers/ntlm_fake_auth
		auth_param ntlm children 2 startup=1
		auth_param digest program $helpers/digest_file_auth -c $px/digest
		auth_param digest realm proxy
		auth_param digest children 2 startup=1
		auth_param basic program $helpers/basic_ncsa_auth $px/basic
		auth_param basic realm proxy
		auth_param basic children 2 startup=1
		acl forbidden localport $FORBIDDEN
		acl over_tls localport $OVER_TLS
		acl known proxy_auth REQUIRED
		http_access deny forbidden
		http_access allow over_tls
		http_access allow known
		http_access deny all
		cache deny all
		memory_cache_shared off
		sslproxy_session_cache_size 0
		access_log stdio:$px/access.txt
		cache_log $px/cache.txt
		coredump_dir $px
		pid_filename none
		netdb_filename none
		pinger_enable off
		shutdown_lifetime 0 seconds
		visible_hostname proxy.test
	CONF
	stage_start squid.log "${stage_user_prefix[@]}" squid -N -n "proxies$AUTHENTICATED" -f "$px/squid.conf"
}

kerberos_up
squid_up
stage_start microsocks.log "${stage_user_prefix[@]}" microsocks -i 127.0.0.1 -p "$SOCKS" -u socks-me -P secret
stage_start odd.log "${stage_user_prefix[@]}" /usr/bin/python3 "$top/tests/support/odd_proxy.py" "$ODD"
ODD_PID=$STAGE_PID
stage_start inspecting.log "${stage_user_prefix[@]}" /usr/bin/python3 "$top/tests/support/odd_proxy.py" \
	"$INSPECTING" "$px/inspection.pem" "$px/inspection.key"
for port in "$AUTHENTICATED" "$OVER_TLS" "$SOCKS" "$ODD" "$INSPECTING" "$KDC"; do
	stage_await 30 "a proxy" listens "$port"
done

# --- using them
secret() { stage_as install -m 0600 /dev/null "$px/secret"; printf '%s\n' "$1" | stage_as tee "$px/secret" >/dev/null; }

# restart_with TEXT: the connector anew with these lines more in its configuration, and an empty log
restart_with() {
	stage_stop_pid "$STAGE_CONNECTOR_PID"
	printf '%s\n%s\n' "$base" "$1" >"$STAGE/etc/connector.yaml"
	: >"$STAGE/connector.log"
	stage_connector_start
}

# By whom the administrator's tool runs; the result is the stage's.
import_pfx() {
	install -m 0600 /dev/null "$STAGE/imported/password"
	printf 'Summer2026!\n' >"$STAGE/imported/password"
	install -m 0600 "$STAGE/producer.token" "$STAGE/imported/token"
	openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=mail" \
		-addext "subjectAltName=email:mail@contoso.com" -addext "extendedKeyUsage=emailProtection" \
		-keyout "$STAGE/imported/pfx.key" -out "$STAGE/imported/pfx.pem" 2>/dev/null
	openssl pkcs12 -export -inkey "$STAGE/imported/pfx.key" -in "$STAGE/imported/pfx.pem" \
		-passout "file:$STAGE/imported/password" -out "$STAGE/imported/pfx.pfx"
	ctl pfx import "$STAGE/imported/pfx.pfx" --upn mail@contoso.com --out "$STAGE/imported" \
		--password-file "$STAGE/imported/password" --queue "https://$STAGE_HOST:$STAGE_PRODUCERS" \
		--token-file "$STAGE/imported/token" >/dev/null
	RECORD=$(openssl x509 -in "$STAGE/imported/pfx.pem" -fingerprint -sha1 -noout |
		sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
	[ "$(id -u)" -ne 0 ] || chown -R "$STAGE_OWNER:$STAGE_OWNER" "$STAGE/imported"
}

# One PKCS job and one imported PFX.
short_job() { # NAME
	local id
	stage_job "$1-pkcs" phone issue --profile corp-user --key-type ec-p256 --seal cms-auth \
		--subject "CN=$1" --user user-1 --device phone
	submit_jobs "$1-pkcs"
	STAGE_RECORD=$STAGE/imported/$RECORD.json stage_job "$1-pfx" phone rewrap \
		--user mail@contoso.com --device phone --seal cms-auth
	id=$(queuectl record deliver "${API[@]}" "$STAGE/jobs/$1-pfx.job.json")
	queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[0]}" "$id"
	test_expect "$1: a certificate came through" quietly check_pkcs "$1-pkcs" phone cms-auth "${IDS[0]}"
	test_expect "$1: an imported PFX came through" \
		quietly check_pfx "$1-pfx" phone cms-auth "$id" "$STAGE/imported/pfx.pem"
}

through() { # NAME TEXT
	restart_with "$2"
	stage_await 60 "connection through $1" stage_connected
	short_job "$1"
}

# squid writes a tunnel's line when it ends
squid_saw() { # WHAT
	stage_stop_pid "$STAGE_CONNECTOR_PID"
	stage_await 10 "squid's line of $1" grep -Eq "TCP_TUNNEL/200 .* CONNECT $STAGE_HOST:$STAGE_CONNECTORS $1" "$px/access.txt"
	echo "ok: squid carried it: $1"
}

ctl status >"$STAGE/status.txt" || true
[ "${STAGE_WALLS:-reduced}" != full ] || test_expect "the walls are full" grep -q '^walls: full' "$STAGE/status.txt"

has_event() { grep -q "name=$1 " "$STAGE/connector.log"; }
no_connection() { ! stage_connected; }

# fails_with NAME EVENT WORDS TEXT: the log and the status say it
fails_with() {
	restart_with "$4"
	stage_await 40 "$1" has_event "$2"
	test_expect "$1: the log says $2" grep -Eq "name=$2 .*$3" "$STAGE/connector.log"
	ctl status >"$STAGE/status.txt" || true
	test_expect "$1: status says so" grep -Eq "$3" "$STAGE/status.txt"
	test_expect "$1: there is no connection" no_connection
}

# the connector is enrolled through the proxy too
secret 'p:@ss w'
basic="proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED', auth: basic, user: basic-me, secret: $px/secret}"
restart_with "$basic"
stage_enroll
stage_await 10 "squid's line of the enrolment" grep -q "TCP_TUNNEL/200 .* CONNECT .* basic-me" "$px/access.txt"
echo "ok: enrolled through squid"
import_pfx
# two tunnels to the producer API: the enrolment's and the import's
imported() { [ "$(grep -c "TCP_TUNNEL/200 .* CONNECT $STAGE_HOST:$STAGE_PRODUCERS basic-me" "$px/access.txt")" -ge 2 ]; }
stage_await 10 "squid's line of the import" imported
echo "ok: a PFX imported through squid"
through basic "$basic"
ctl doctor >"$STAGE/doctor.txt" || true
test_expect "doctor goes through it" grep -q "^ok *TLS to the queue" "$STAGE/doctor.txt"
squid_saw basic-me
secret secret
through digest "proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED', auth: digest, user: digest-me, secret: $px/secret}"
squid_saw digest-me
through ntlm "proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED', auth: ntlm, user: 'CORP\\ntlm-me', secret: $px/secret}"
squid_saw '.*ntlm-me'
through negotiate "proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED', auth: negotiate, secret: $px/client.keytab, krb5_config: $px/krb5.conf}"
squid_saw hq-1@PROXY.TEST
over_tls="proxy: {kind: https, address: '127.0.0.1:$OVER_TLS', ca: $px/tls.pem}"
restart_with "$over_tls"
rm "$STAGE/enrol.token"
stage_enroll # two CAs are to be believed, each by its side: the proxy's file and the pin of the token
stage_await 10 "squid's line of the enrolment over TLS" \
	grep -q "TCP_TUNNEL/200 .* CONNECT $STAGE_HOST:$STAGE_PRODUCERS -" "$px/access.txt"
echo "ok: enrolled through squid over TLS"
through https "$over_tls"
squid_saw -
through socks5 "proxy: {kind: socks5, address: '127.0.0.1:$SOCKS', auth: basic, user: socks-me, secret: $px/secret}"
test_expect "microsocks carried it" grep -q "connected to $STAGE_HOST:$STAGE_CONNECTORS" "$STAGE/microsocks.log"
through odd "proxy: {kind: http, address: '127.0.0.1:$ODD'}"
test_expect "the odd proxy carried it" grep -q "tunnel $STAGE_HOST:$STAGE_CONNECTORS" "$STAGE/odd.log"

# a connection that is half dead: the proxy is there and carries nothing
kill -STOP "$ODD_PID"
begun=$SECONDS
stage_await 40 "the dead connection" no_connection
kill -CONT "$ODD_PID"
test_expect "a dead connection was noticed after $((SECONDS - begun)) s" [ $((SECONDS - begun)) -le 32 ]
stage_await 60 "the connection again" stage_connected

# the environment is not asked
export https_proxy=http://127.0.0.1:$CLOSED all_proxy=http://127.0.0.1:$CLOSED
restart_with ""
stage_await 60 "direct connection" stage_connected
unset https_proxy all_proxy
echo "ok: variables of the environment are not used"

# another address of the queue, when its own does not answer
identity=$STAGE/state/identity/identity.yaml
before=$(cat "$identity")
sed "s/:$STAGE_CONNECTORS/:$CLOSED/" <<<"$before" >"$identity"
restart_with "queue: {addresses: ['$STAGE_HOST:$STAGE_CONNECTORS']}"
stage_await 60 "the second address" stage_connected
short_job second-address
printf '%s\n' "$before" >"$identity"

secret wrong
fails_with "a wrong password" proxy_authentication "did not take basic authentication as basic-me \(407\); it offers Basic, Digest, NTLM, Negotiate" \
	"proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED', auth: basic, user: basic-me, secret: $px/secret}"
test_expect "the password is nowhere in the log" [ "$(grep -c wrong "$STAGE/connector.log")" -eq 0 ]
fails_with "no password" proxy_authentication "wants authentication \(407\) and offers" \
	"proxy: {kind: http, address: '127.0.0.1:$AUTHENTICATED'}"
fails_with "a SOCKS password" proxy_authentication "SOCKS proxy .* did not take" \
	"proxy: {kind: socks5h, address: '127.0.0.1:$SOCKS', auth: basic, user: socks-me, secret: $px/secret}"
fails_with "a forbidden target" proxy_denied "does not allow a connection to $STAGE_HOST port $STAGE_CONNECTORS \(403\)" \
	"proxy: {kind: http, address: '127.0.0.1:$FORBIDDEN'}"
fails_with "a proxy that is not there" proxy_unreachable "the proxy 127.0.0.1 port $CLOSED: Connection refused" \
	"proxy: {kind: http, address: '127.0.0.1:$CLOSED'}"
fails_with "a server that is no proxy" proxy_not_understood "the proxy 127.0.0.1 port $OVER_TLS|does not answer as a proxy does" \
	"proxy: {kind: http, address: '127.0.0.1:$OVER_TLS'}"
fails_with "a proxy of another CA" proxy_not_believed "TLS to the proxy 127.0.0.1 port $OVER_TLS" \
	"proxy: {kind: https, address: '127.0.0.1:$OVER_TLS', ca: $px/inspection.pem}"
fails_with "a name that is not known" name_not_resolved "no-such-proxy.invalid cannot be resolved" \
	"proxy: {kind: http, address: 'no-such-proxy.invalid:3128'}"
fails_with "TLS that is opened" tls_intercepted "issued by CN=Corp Inspection CA, which is not under the pinned queue CA" \
	"proxy: {kind: http, address: '127.0.0.1:$INSPECTING'}"
