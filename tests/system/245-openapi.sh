#!/usr/bin/env bash
# What the queue serves as GET /v1/openapi.json is a valid OpenAPI 3.1 document by the schema of those who define
# OpenAPI, as a validator that nobody here wrote applies it.  Debian 12 has none for 3.1; npm's is pinned in tests/openapi.
. "$(dirname "$0")/lib.sh"
command -v npm >/dev/null || test_skip "no npm, and Debian 12 has no validator for OpenAPI 3.1"

stage_new "$build"
mkdir "$STAGE/openapi"
cp "$top"/tests/openapi/package*.json "$STAGE/openapi/"
(cd "$STAGE/openapi" && HOME=$STAGE npm ci --cache "$STAGE/npm" --ignore-scripts --no-audit --no-fund \
	--fetch-retries 1 --fetch-timeout 30000) >"$STAGE/npm.out" 2>&1 || {
	tail -n 3 "$STAGE/npm.out"
	test_skip "npm could not fetch the pinned validator"
}
validate() { node "$STAGE/openapi/node_modules/@seriousme/openapi-schema-validator/bin/validate-api-cli.js" "$1"; }

stage_queue_up
fetch() { # without credentials, as anybody may
	/usr/bin/python3 -c 'import ssl, sys, urllib.request as r
sys.stdout.buffer.write(r.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read())' "$@"
}
fetch "https://$STAGE_HOST:$STAGE_PRODUCERS/v1/openapi.json" "$STAGE/queue/queue-ca.pem" >"$STAGE/served.json"
test_expect "the queue serves the document of the sources" cmp "$STAGE/served.json" "$top/cloud-queue/openapi.json"
test_expect "it is valid OpenAPI 3.1" validate "$STAGE/served.json"

# the validator does judge: without a title, and with a response that has no description, it must say no
for change in 'd["info"].pop("title")' 'd["paths"]["/v1/health"]["get"]["responses"]["200"].pop("description")'; do
	/usr/bin/python3 -c "import json, sys
d = json.load(sys.stdin); $change; json.dump(d, sys.stdout)" <"$STAGE/served.json" >"$STAGE/wrong.json"
	! quietly validate "$STAGE/wrong.json" >/dev/null || test_fail "the validator takes a document that is wrong: $change"
	echo "ok: refused without: $change"
done
