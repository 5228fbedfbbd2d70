#!/usr/bin/env bash
# A full disk under each store in turn: the queue's, the keyvault's, the CA runner's, the connector's
# journal.  The message names the true cause, the processes stay, no job is lost, and all goes on by itself
# when there is room.  Each store lies on a small file system of its own, in a mount namespace.
if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null ||
		{ echo "SKIPPED: needs root and a mount namespace for small file systems"; exit 77; }
	exec unshare --mount --propagation private bash "$0" --inside "$@"
fi
shift
. "$(dirname "$0")/lib.sh"
stage_new "$build"
disks=()
unmount() { for disk in ${disks[@]+"${disks[@]}"}; do umount "$disk" || true; done; disks=(); }
disk() { # DIRECTORY SIZE: a file system of its own for it
	stage_as mkdir -p -m 0711 "${1%/*}"
	stage_as mkdir -m 0700 "$1"
	mount -t tmpfs -o "size=$2,mode=0700,uid=$STAGE_OWNER,gid=$STAGE_OWNER" tmpfs "$1"
	disks+=("$1")
}
trap 'status=$?; set +e; trap - EXIT; [ $status -eq 0 ] || stage_logs
	for pid in "${stage_pids[@]}"; do stage_stop_pid "$pid"; done; unmount; stage_down; exit $status' EXIT
fill() { # to the last page
	! stage_as dd if=/dev/zero of="$1/filler" bs=64k 2>/dev/null || test_fail "$1 is not full"
	! stage_as dd if=/dev/zero of="$1/filler" bs=4k oflag=append conv=notrunc 2>/dev/null ||
		test_fail "$1 is not full"
}
empty() { stage_as rm "$1/filler"; }
disk "$STAGE/queue/state" 8m
disk "$STAGE/state/vault" 8m
disk "$STAGE/state/ca" 8m
disk "$STAGE/state/journal" 80m # the connector leaves 64 MiB to others
stage_queue_up >/dev/null
stage_connector_up >/dev/null
stage_enroll >/dev/null
stage_device phone ec-p256 >/dev/null
names=()
for n in $(seq 20); do
	stage_job "job-$n" phone issue --profile corp-user --key-type ec-p256 --subject "CN=job-$n" --user "user-$n" \
		--device phone
	names+=("job-$n")
done
pids="$STAGE_QUEUE_PID $(role_pid connector) $(role_pid keyvault)"
has() { grep -qE -- "$2" "$STAGE/$1.log"; }
told() {
	stage_await 30 "a line of $1.log with \"$2\"" has "$1" "$2"
	echo "ok: told by the $1: $2"
}

# --- the queue: producers are told, nothing that was accepted is lost
fill "$STAGE/queue/state"
accepted=0 refused=
for name in "${names[@]}"; do
	if queuectl submit "${API[@]}" "$STAGE/jobs/$name.job.json" >"$STAGE/said" 2>&1; then
		accepted=$((accepted + 1))
	else
		refused=$name
		break
	fi
done
[ -n "$refused" ] || test_fail "all $accepted jobs were accepted on a full disk"
test_expect "a producer is told: store_full (after $accepted jobs)" grep -qE "507.*no room" "$STAGE/said"
told queue "event=7013 .*/queue/state: .*(file system is full|No space left)"
empty "$STAGE/queue/state"
submit_jobs "${names[@]:0:$((accepted + 4))}"
test_expect "with room again the same jobs are accepted and done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- the keyvault: the job waits, and is not refused
fill "$STAGE/state/vault"
left=("${names[@]:$((accepted + 4))}")
submit_jobs "${left[@]:0:8}"
told connector "event=5114 .*/vault/state: .*(file system is full|No space left)"
empty "$STAGE/state/vault"
test_expect "with room again the keyvault's jobs are done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- the CA runner: ledger and local CA; the job waits, and is not refused
fill "$STAGE/state/ca"
left=("${left[@]:8}")
submit_jobs "${left[@]:0:2}"
told connector "event=6003 .*/ca/corp-ca/.*(file system is full|No space left)"
empty "$STAGE/state/ca"
test_expect "with room again the CA's jobs are done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- the journal: no job is taken, and the queue keeps it
fill "$STAGE/state/journal"
left=("${left[@]:2}")
submit_jobs "${left[0]}"
first=${IDS[0]}
told connector "event=5011 .*disk_free="
told connector "event=5008 .*job=$first" # given back: this connector takes it again when there is room
empty "$STAGE/state/journal"
submit_jobs "${left[1]}"
test_expect "with room again the connector takes jobs" \
	quietly queuectl wait "${API[@]}" --timeout 30s "${IDS[@]}"
test_expect "and what it gave back comes again by itself and is done" \
	quietly queuectl wait "${API[@]}" --timeout 30s "$first"
test_expect "all processes are the same" \
	[ "$pids" = "$STAGE_QUEUE_PID $(role_pid connector) $(role_pid keyvault)" ]
test_expect "no process died" bash -c "! grep -E 'event=(3|12) |AddressSanitizer' '$STAGE/connector.log' '$STAGE/queue.log'"
