# A proxy between the stage's connector and its queue; sourced by tests/system/lib.sh where CC_TEST_PROXY is set.
#
#   squid    squid with Basic authentication
#   split    odd_proxy.py, whose answers come byte by byte
#   socks5   microsocks with a user and a password
#
# proxy_carried says what it has carried, and fails when that is too little for a session.
PATH=$PATH:/usr/sbin
STAGE_BEFORE_CONNECTOR=proxy_up
PROXY_PID=
PROXY_BYTES_MIN=2000 # a session's TLS handshake alone is more

proxy_listens() { (exec 3<>"/dev/tcp/127.0.0.1/$PROXY_PORT") 2>/dev/null; }

proxy_squid() {
	printf 'connector-1:%s\n' "$(openssl passwd -apr1 "$1")" | stage_as tee "$STAGE/proxy/users" >/dev/null
	stage_as tee "$STAGE/proxy/squid.conf" >/dev/null <<-CONF
		http_port 127.0.0.1:$PROXY_PORT
		auth_param basic program /usr/lib/squid/basic_ncsa_auth $STAGE/proxy/users
		auth_param basic children 2 startup=1
		acl known proxy_auth REQUIRED
		http_access allow known
		http_access deny all
		cache deny all
		memory_cache_shared off
		sslproxy_session_cache_size 0
		access_log stdio:$STAGE/proxy/access.txt
		cache_log $STAGE/proxy/cache.txt
		coredump_dir $STAGE/proxy
		pid_filename none
		netdb_filename none
		pinger_enable off
		shutdown_lifetime 0 seconds
		visible_hostname proxy.test
	CONF
	stage_start squid.log "${stage_user_prefix[@]}" squid -N -n "stage$PROXY_PORT" -f "$STAGE/proxy/squid.conf"
}

proxy_up() {
	local password='p:@ss w' kind=http credentials=", auth: basic, user: connector-1, secret: $STAGE/proxy/secret"
	[ -z "$PROXY_PID" ] || return 0
	stage_free_port && PROXY_PORT=$STAGE_PORT
	stage_as mkdir "$STAGE/proxy"
	stage_as install -m 0600 /dev/null "$STAGE/proxy/secret"
	printf '%s\n' "$password" | stage_as tee "$STAGE/proxy/secret" >/dev/null
	case $CC_TEST_PROXY in
	squid)
		command -v squid >/dev/null || test_skip "squid is not installed (deploy/install-packages test)"
		proxy_squid "$password"
		;;
	split)
		credentials=
		stage_start split.log "${stage_user_prefix[@]}" /usr/bin/python3 "$top/tests/support/odd_proxy.py" "$PROXY_PORT"
		;;
	socks5)
		command -v microsocks >/dev/null || test_skip "microsocks is not installed (deploy/install-packages test)"
		kind=socks5
		stage_start socks5.log "${stage_user_prefix[@]}" microsocks -i 127.0.0.1 -p "$PROXY_PORT" \
			-u connector-1 -P "$password"
		;;
	*) test_fail "CC_TEST_PROXY=$CC_TEST_PROXY: squid, split or socks5" ;;
	esac
	PROXY_PID=$STAGE_PID
	stage_await 30 "the proxy" proxy_listens
	STAGE_SETTINGS="proxy: {kind: $kind, address: '127.0.0.1:$PROXY_PORT'$credentials}"
}

# Tunnels and bytes so far: the proxy's own account of all but the producers' port.  microsocks keeps no count of
# bytes; it moves them with read and write only, so that the kernel has it.
proxy_account() {
	case $CC_TEST_PROXY in
	squid)
		awk -v not=":$STAGE_PRODUCERS" '$4 == "TCP_TUNNEL/200" && $8 == "connector-1" && $7 !~ not"$" \
			{ n++; bytes += $5 } END { print n + 0, bytes + 0 }' "$STAGE/proxy/access.txt"
		;;
	split)
		awk -v not=":$STAGE_PRODUCERS" '$2 ~ not"$" { next } $1 == "tunnel" { n++ } $1 == "carried" { bytes += $3 }
			END { print n + 0, bytes + 0 }' "$STAGE/split.log"
		;;
	socks5)
		echo "$(grep "connected to $STAGE_HOST:" "$STAGE/socks5.log" | grep -vc ":$STAGE_PRODUCERS\$")" \
			"$(awk '$1 == "wchar:" { print $2 }' "/proc/$PROXY_PID/io")"
		;;
	esac
}

proxy_enough() {
	local account
	read -ra account < <(proxy_account)
	[ "${account[0]:-0}" -ge 1 ] && [ "${account[1]:-0}" -ge $PROXY_BYTES_MIN ]
}

proxy_carried() {
	local account
	[ -n "$PROXY_PID" ] || { stage_say "FAIL: no proxy was started"; return 1; }
	[ -z "${STAGE_CONNECTOR_PID:-}" ] || stage_stop_pid "$STAGE_CONNECTOR_PID" # a tunnel is written down when it ends
	for _ in $(seq 100); do
		! proxy_enough || break
		sleep 0.1
	done
	read -ra account < <(proxy_account)
	proxy_enough || { stage_say "FAIL: ${account[*]} tunnels and bytes went through the proxy"; return 1; }
	echo "proxy $CC_TEST_PROXY: ${account[0]} tunnels, ${account[1]} bytes"
}
