#!/usr/bin/env bash
# Three connectors of one tenant share the work.  One that is killed loses what it had not claimed at once, and what it
# had claimed after takeover_after, with the takeover on record; when it is back, each claim is settled.
. "$(dirname "$0")/lib.sh"
exec /usr/bin/python3 "$top/tests/support/several.py" "$build"
