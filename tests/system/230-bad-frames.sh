#!/usr/bin/env bash
# Bad frames in both directions, over real TLS, by a peer that is not of this project: the queue and the
# connector refuse each with words in their log, and both are the same processes and serve afterwards.
#
# Bad input, and where it is tested (u: tests/unit/test_*.c, s: tests/system/*.sh):
#   frames to the queue            s 230; after Hello, fields, order: u queue_gateway, queue_session
#   frames to the connector        s 230; messages, order, limits: u connector_wss, connector_session
#   unknown kinds and versions     u queue_gateway, connector_session, proto_job, proto_signer, proto_enroll
#   the keyvault's and a CA's door u connector_hostile_door, connector_hostile_vault, base_chan, keyvault_role,
#                                  ca_runner, connector_hostile_runner
#   signatures wrong, missing,     s 140 (tools, device); u queue_api, keyvault_issue, keyvault_rewrap,
#     foreign                      connector_hostile_vault, connector_hostile_rewrap, ca_runner, queue_session
#   expired and far-future jobs    u proto_job, queue_api, keyvault_issue; s 232 (a clock that is ahead)
#   unknown profile or template    u keyvault_policy, keyvault_issue, ca_local
#   device keys                    u keyvault_device_keys, keyvault_windows, keyvault_sealer, proto_job
#   PFX files and passwords        s 140, 210, 235; u keyvault_imported, keyvault_pfx, keyvault_rewrap
#   configuration                  s 232; u base_conf, connector_config, queue_config, keyvault_policy,
#                                  keyvault_pins, ca_local
#   full disk                      s 236; u base_committer, base_db, connector_journal
#   key files                      s 232; u base_file, keyvault_keystore, ca_local
#   port or socket in use          s 232
#   clock off                      s 232; u keyvault_state, queue_store_time
#   tools: usage, unreachable,     s 140, 232 (rights, the hidden password prompt)
#     rights
. "$(dirname "$0")/lib.sh"
stage_new "$build"
stage_queue_up >/dev/null
stage_connector_config
# the connector is cut off many times here: let it dial again at once
sed -i 's/backoff_min_ms: 100, backoff_max_ms: 2000/backoff_min_ms: 10, backoff_max_ms: 50/' \
	"$STAGE/etc/connector.yaml"
stage_ctl_prefix=(stage_as)
ctl init >/dev/null
ctl ca init corp-ca --subject "CN=Contoso Demo CA,O=Contoso" >/dev/null
stage_connector_start
stage_enroll >/dev/null
stage_device phone ec-p256 >/dev/null
hostile() { stage_as /usr/bin/python3 "$top/tests/support/hostile_frames.py" "$@"; }
serves() { # NAME: a job goes through
	stage_job "$1" phone issue --profile corp-user --key-type ec-p256 --subject "CN=$1" --user user-1 --device phone
	submit_jobs "$1"
	queuectl wait "${API[@]}" --timeout 30s "${IDS[@]}" >/dev/null
}

before=$(role_pid connector)
test_expect "the queue refuses every bad frame and says why" hostile connector --port "$STAGE_CONNECTORS" \
	--chain "$STAGE/state/identity/transport.pem" --key "$STAGE/state/identity/transport.key" \
	--log "$STAGE/queue.log"
test_expect "the queue is still there" kill -0 "$STAGE_QUEUE_PID"
stage_await 30 "the connector's connection" stage_connected
test_expect "and serves" serves after-bad-connector

stage_stop_pid "$STAGE_QUEUE_PID"
test_expect "the connector refuses every bad frame and says why" hostile gateway --port "$STAGE_CONNECTORS" \
	--chain "$STAGE/queue/server.pem" --key "$STAGE/queue/server.key" \
	--log "$STAGE/connector.log" --ready "$STAGE/hostile.ready"
stage_queue_start
stage_await 30 "connection to the true queue" stage_connected
test_expect "the connector is the same process" [ "$(role_pid connector)" = "$before" ]
test_expect "and serves" serves after-bad-queue
test_expect "no process died" bash -c "! grep -E 'event=(3|12) |AddressSanitizer|runtime error' '$STAGE/connector.log' '$STAGE/queue.log'"
