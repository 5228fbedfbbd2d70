#!/usr/bin/env bash
# The queue's store is put back to an older copy: the connector offers what it finished, sends again what the
# copy has not, and the devices open the very same certificates.  The CA makes no second one, whether the
# connector lived through it or was killed meanwhile, and whether the copy knows the jobs or not.
. "$(dirname "$0")/lib.sh"
stage_up
main_devices

store=$(sed -n 's/^state_dir: *//p' "$STAGE/queue/queue.yaml")
case $store in /*) ;; *) store=$STAGE/queue/$store ;; esac
issued() { find "$STAGE/state/ca/corp-ca/local/issued" -name '*.pem' | wc -l; }
count_in() { queuectl --json show stats | /usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["jobs"][sys.argv[1]])' "$1"; }
in_state() { [ "$(count_in "$1")" -eq "$2" ]; }
deliveries() { grep -c 'event=1020 ' "$STAGE/connector.log"; }
said() { [ "$(grep -cE -- "$2" "$STAGE/$1.log")" -ge "$3" ]; }
serials() { # NAME...
	local name
	for name in "$@"; do stage_as openssl x509 -in "$STAGE/opened/$name/leaf.pem" -serial -noout; done
}
make_jobs() { # NAME...
	local name
	for name in "$@"; do
		stage_job "$name" phone issue --profile corp-user --key-type ec-p256 --seal cms-auth \
			--subject "CN=$name" --user "$name" --device phone --san "email=$name@contoso.com"
	done
}
# opened WHAT NAMES IDS: fetched, opened and verified, anew
opened() {
	local what=$1 i
	local -n of_names=$2 of_ids=$3
	rm -rf "$STAGE/results"/* "$STAGE/opened"/*
	queuectl wait "${API[@]}" --timeout 90s --out "$STAGE/results" "${of_ids[@]}" || test_fail "$what: a job failed"
	MAIN_TOTAL=${#of_names[@]} MAIN_PASSED=0 MAIN_FAILED=0
	for i in "${!of_names[@]}"; do
		main_check "${of_names[i]}" "$what: opened and verified" \
			check_pkcs "${of_names[i]}" phone cms-auth "${of_ids[i]}"
	done
	[ "$MAIN_PASSED" -eq "${#of_names[@]}" ] || test_fail "$what: $MAIN_FAILED results are wrong"
}
put_back() {
	stage_stop_pid "$STAGE_QUEUE_PID"
	stage_as cp "$STAGE/copy/data.mdb" "$store/data.mdb"
	stage_as certqueued --config "$STAGE/queue/queue.yaml" --restored
	stage_queue_start
}

# --- known to the copy as done; as waiting; not at all
kept=(kept-1 kept-2) lost=(lost-1 lost-2 lost-3 lost-4) unknown=(unknown-1 unknown-2)
make_jobs "${kept[@]}" "${lost[@]}" "${unknown[@]}"
submit_jobs "${kept[@]}"
kept_ids=("${IDS[@]}")
opened "before the copy" kept kept_ids
stage_stop_pid "$STAGE_CONNECTOR_PID"
submit_jobs "${lost[@]}"
lost_ids=("${IDS[@]}")
stage_stop_pid "$STAGE_QUEUE_PID"
stage_as mkdir "$STAGE/copy"
stage_as cp "$store/data.mdb" "$STAGE/copy/"
stage_queue_start
stage_connector_start
submit_jobs "${unknown[@]}"
unknown_ids=("${IDS[@]}")
all=("${kept[@]}" "${lost[@]}" "${unknown[@]}")
all_ids=("${kept_ids[@]}" "${lost_ids[@]}" "${unknown_ids[@]}")
opened "after the copy" all all_ids
before=$(serials "${all[@]}")
test_expect "the CA has made eight certificates" [ "$(issued)" -eq 8 ]

# --- the copy comes back under a connector that lives
put_back
stage_await 60 "the offer" said connector 'event=5024 .*jobs=8 lost=4 unknown=2 other=0' 1
test_expect "the queue says so too" said queue 'event=7024 .*jobs=8 lost=4 unknown=2' 1
known=("${kept[@]}" "${lost[@]}")
known_ids=("${kept_ids[@]}" "${lost_ids[@]}")
opened "from the journal" known known_ids
test_expect "they are the same certificates" [ "$(serials "${known[@]}")" = "$(head -n 6 <<<"$before")" ]

# --- what the copy does not know is submitted again while the connector is away: it is the connector's all the same
stage_stop_pid "$STAGE_CONNECTOR_PID"
submit_jobs "${unknown[@]}"
test_expect "jobs that are submitted again have their ids" [ "${IDS[*]}" = "${unknown_ids[*]}" ]
test_expect "they are claimed by who has their certificates" in_state claimed 2
delivered=$(deliveries)
stage_connector_start
opened "submitted again" all all_ids
test_expect "they were not delivered once more" [ "$(deliveries)" -eq "$delivered" ]
test_expect "all are the same certificates" [ "$(serials "${all[@]}")" = "$before" ]
test_expect "the CA has made no other" [ "$(issued)" -eq 8 ]

# --- once more, under a connector that was killed and finds another store
kill -KILL "$STAGE_CONNECTOR_PID"
wait "$STAGE_CONNECTOR_PID" 2>/dev/null || true
stage_stop_pid "$STAGE_CONNECTOR_PID"
put_back
stage_connector_start
stage_await 60 "the second offer" said connector 'event=5024 .*jobs=8 lost=4 unknown=2 other=0' 2
delivered=$(deliveries)
submit_jobs "${unknown[@]}"
opened "after the second" all all_ids
test_expect "a connector that is there sends at once" [ "$(deliveries)" -eq "$delivered" ]
test_expect "all are the same certificates again" [ "$(serials "${all[@]}")" = "$before" ]
test_expect "the CA has still made no other" [ "$(issued)" -eq 8 ]

# --- and it goes on
make_jobs new-1
submit_jobs new-1
queuectl wait "${API[@]}" --timeout 60s --out "$STAGE/results" "${IDS[@]}" || test_fail "a new job failed"
test_expect "nine certificates in all" [ "$(issued)" -eq 9 ]
test_expect "nine jobs are done" in_state done 9
test_expect "nothing is claimed or held" [ "$(count_in claimed)$(count_in held)" = 00 ]
test_expect "nothing is in doubt, nothing is an orphan" \
	sh -c "! grep -qE 'event=(5017|5018|5019|7016) ' '$STAGE/connector.log' '$STAGE/queue.log'"
