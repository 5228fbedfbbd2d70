#!/usr/bin/env bash
# Commits that fail, in each store of a whole house: what is not on the disk is applied again in place, what is there is
# not applied twice, and no process ends for it.  A flush that fails, and a second failure, end the process with its
# event; it comes back, and no job is lost.  The faults are the disk shim's (tests/chaos/disk_shim.c).
. "$(dirname "$0")/lib.sh"
stage_new "$build"
cc -shared -fPIC -D_GNU_SOURCE -o "$STAGE/bin/disk_shim.so" "$top/tests/chaos/disk_shim.c"
fault() { printf '%-63s\n' "$*" | stage_as dd of="$STAGE/fault" bs=64 conv=notrunc status=none; }
fault none
for program in certqueued certconnectord; do
	mv "$STAGE/bin/$program" "$STAGE/bin/$program.bin"
	tee "$STAGE/bin/$program" >/dev/null <<-SH
		#!/bin/sh
		export LD_PRELOAD=$STAGE/bin/disk_shim.so DISK_FAULT=$STAGE/fault
		export ASAN_OPTIONS="\$ASAN_OPTIONS:verify_asan_link_order=0"
		exec $STAGE/bin/$program.bin "\$@"
	SH
	chmod 0755 "$STAGE/bin/$program"
done
stage_queue_up >/dev/null
stage_connector_up >/dev/null
stage_enroll >/dev/null
stage_device phone ec-p256 >/dev/null
number=0
new_jobs() { # COUNT: signed, their names in `names`
	names=()
	for _ in $(seq "$1"); do
		number=$((number + 1))
		stage_job "job-$number" phone issue --profile corp-user --key-type ec-p256 --subject "CN=job-$number" \
			--user "user-$number" --device phone
		names+=("job-$number")
	done
}
count() { grep -cE -- "$2" "$STAGE/$1.log" || true; } # LOG WORDS
more_than() { [ "$(count "$1" "$2")" -gt "$3" ]; }
done_in_time() { quietly queuectl wait "${API[@]}" --timeout 60s "${IDS[@]}"; }
pids() { echo "$STAGE_QUEUE_PID $(role_pid connector) $(role_pid keyvault) $(role_pid ca-runner)"; }
log_of() { [ "$1" = queue ] && echo queue || echo connector; }

# --- once: mended in place
before=$(pids)
for role in queue keyvault ca-runner connector; do
	for kind in unwritten unsure; do
		log=$(log_of "$role")
		told=$(count "$log" "event=24 .*Bad file descriptor")
		new_jobs 4
		fault "$role $kind"
		submit_jobs "${names[@]}"
		test_expect "$role, $kind: the jobs are done" done_in_time
		stage_await 10 "event 24 of the $role" more_than "$log" "event=24 .*Bad file descriptor" "$told"
	done
done
test_expect "all processes are the same" [ "$before" = "$(pids)" ]

# --- the end of a role: the supervisor starts it again
for role in keyvault ca-runner connector; do
	for kind in sync always; do
		told=$(count connector "event=12 ")
		new_jobs 4
		fault "$role $kind"
		submit_jobs "${names[@]}"
		stage_await 30 "the end of the $role ($kind)" more_than connector "event=12 " "$told"
		fault none
		test_expect "$role, $kind: it ended, came back, and the jobs are done" done_in_time
	done
done

# --- the end of the queue: no answer escapes, a new process has all that was answered
for kind in sync always; do
	new_jobs 2
	submit_jobs "${names[0]}"
	fault "queue $kind"
	test_expect "queue, $kind: the producer gets no answer that says yes" \
		bash -c "! STAGE=$STAGE certqueuectl submit $(printf '%q ' "${API[@]}") $STAGE/jobs/${names[1]}.job.json" 2>/dev/null
	status=0
	wait "$STAGE_QUEUE_PID" || status=$?
	test_expect "queue, $kind: it ended with a failure, and said why (status $status)" \
		[ "$status" -ne 0 -a "$(count queue "event=3 .*/queue/state: ")" -gt 0 ]
	left=()
	for p in "${stage_pids[@]}"; do [ "$p" = "$STAGE_QUEUE_PID" ] || left+=("$p"); done
	stage_pids=("${left[@]}")
	fault none
	stage_queue_start
	stage_await 60 "connection to the queue" stage_connected
	submit_jobs "${names[@]}"
	test_expect "queue, $kind: with the new process the jobs are done" done_in_time
done
