#!/usr/bin/env bash
# A full disk under each store in turn: the CA runner's, the queue's, the keyvault's, the connector's
# journal.  The message names the true cause, the processes stay, no job is lost, and all goes on by itself
# when there is room.  What was admitted is done although all disks are full.  Each store lies on a small file
# system of its own, in a mount namespace.
if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] && unshare --mount true 2>/dev/null ||
		{ echo "SKIPPED: needs root and a mount namespace for small file systems"; exit 77; }
	exec unshare --mount --propagation private bash "$0" --inside "$@"
fi
shift
. "$(dirname "$0")/lib.sh"
stage_new "$build"
disks=()
test_clean_up() { for disk in ${disks[@]+"${disks[@]}"}; do umount "$disk"; done; }
disk() { # DIRECTORY SIZE: a file system of its own for it
	stage_as mkdir -p -m 0711 "${1%/*}"
	stage_as mkdir -m 0700 "$1"
	mount -t tmpfs -o "size=$2,mode=0700,uid=$STAGE_OWNER,gid=$STAGE_OWNER" tmpfs "$1"
	disks+=("$1")
}
fill() { # to the last page
	! stage_as dd if=/dev/zero of="$1/filler" bs=64k 2>/dev/null || test_fail "$1 is not full"
	! stage_as dd if=/dev/zero of="$1/filler" bs=4k oflag=append conv=notrunc 2>/dev/null ||
		test_fail "$1 is not full"
}
empty() { stage_as rm "$1/filler"; }
disk "$STAGE/queue/state" 8m
disk "$STAGE/state/vault" 8m
disk "$STAGE/state/ca" 32m
disk "$STAGE/state/journal" 80m # the connector leaves 64 MiB to others
stage_queue_up >/dev/null
stage_connector_up >/dev/null
stage_enroll >/dev/null
stage_device phone ec-p256 >/dev/null
names=() # taken from the front
for n in $(seq 80); do
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

take_jobs() { # COUNT: submitted
	submit_jobs "${names[@]:0:$1}"
	names=("${names[@]:$1}")
}

submit_until_refused() { # counts into `accepted`; the rest of `names` is left
	accepted=0 refused=
	for name in "${names[@]}"; do
		if queuectl submit "${API[@]}" "$STAGE/jobs/$name.job.json" >"$STAGE/said" 2>&1; then
			accepted=$((accepted + 1))
		else
			refused=$name
			break
		fi
	done
	[ -n "$refused" ] || test_fail "all $accepted jobs were accepted"
}

# --- the CA runner before it has kept room: the job waits, and is not refused
fill "$STAGE/state/ca"
take_jobs 2
told connector "event=6003 .*/ca/corp-ca/.*the file system is full"
empty "$STAGE/state/ca"
test_expect "with room again the CA's jobs are done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- and after: a request belongs to a job that was admitted
fill "$STAGE/state/ca"
take_jobs 4
test_expect "the CA's jobs are done on a full disk" quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"
empty "$STAGE/state/ca"

# --- the queue: producers are told, nothing that was accepted is lost
fill "$STAGE/queue/state"
submit_until_refused
test_expect "a producer is told: store_full (after $accepted jobs)" grep -qE "507.*no room" "$STAGE/said"
told queue "event=7013 .*/queue/state: .*the file system is full"
empty "$STAGE/queue/state"
take_jobs $((accepted + 4))
test_expect "with room again the same jobs are accepted and done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- a limit of the file's size is told as that, and the queue outlives it
stage_as prlimit --pid "$STAGE_QUEUE_PID" --fsize="$(stat -c %s "$STAGE/queue/state/data.mdb"):unlimited"
submit_until_refused
test_expect "a producer is told of a limit as well (after $accepted jobs)" grep -qE "507.*no room" "$STAGE/said"
told queue "event=7013 .*/queue/state: .*RLIMIT_FSIZE"
stage_as prlimit --pid "$STAGE_QUEUE_PID" --fsize=unlimited:unlimited
take_jobs $((accepted + 2))
test_expect "without the limit the same jobs are accepted and done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- the keyvault: the job waits, and is not refused
fill "$STAGE/state/vault"
take_jobs 20
told connector "event=5114 .*/vault/state: .*the file system is full"
empty "$STAGE/state/vault"
test_expect "with room again the keyvault's jobs are done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"

# --- the journal: no job is taken, and the queue keeps it
fill "$STAGE/state/journal"
take_jobs 1
first=${IDS[0]}
told connector "event=5011 .*disk_free="
told connector "event=5008 .*job=$first" # given back: this connector takes it again when there is room
empty "$STAGE/state/journal"
take_jobs 1
test_expect "with room again the connector takes jobs" \
	quietly queuectl wait "${API[@]}" --timeout 30s "${IDS[@]}"
test_expect "and what it gave back comes again by itself and is done" \
	quietly queuectl wait "${API[@]}" --timeout 30s "$first"

# --- all of them at once, while jobs wait for the CA: what was admitted has its room to the end
runner=$(role_pid ca-runner)
claimed() { ctl --json status | grep -qE "\"claimed\": $1\b"; }
kill -STOP "$runner"
take_jobs 6
stage_await 30 "six claimed jobs" claimed 6
stores=("$STAGE/queue/state" "$STAGE/state/vault" "$STAGE/state/ca" "$STAGE/state/journal")
for store in "${stores[@]}"; do fill "$store"; done
kill -CONT "$runner"
test_expect "with all disks full six admitted jobs are done" \
	quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"
for store in "${stores[@]}"; do
	test_expect "${store#"$STAGE"/} is full all the while" [ "$(stat -f -c %a "$store")" -eq 0 ]
	empty "$store"
done
test_expect "all processes are the same" \
	[ "$pids" = "$STAGE_QUEUE_PID $(role_pid connector) $(role_pid keyvault)" ]
test_expect "no process died" bash -c "! grep -E 'event=(3|12) |AddressSanitizer' '$STAGE/connector.log' '$STAGE/queue.log'"
