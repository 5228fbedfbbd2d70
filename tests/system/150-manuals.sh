#!/usr/bin/env bash
# The manual pages say what the programs say: every option of every --help is in its page and no other,
# every key of a table is in its page and no other, and each page can be read.
. "$(dirname "$0")/lib.sh"
stage_new "$build"
man=$top/docs/man

# --- options: helps PROGRAM COMMAND...: what --help of the program and of each command says
helps() {
	local program=$1 command
	shift
	"$program" --help
	for command in "$@"; do
		# shellcheck disable=SC2086 # a command may be two words
		"$program" $command --help
	done
}

# The commands as the program's own help lists them, two spaces in.
commands_of() { "$1" --help | sed -n '/^commands:$/,/^$/s/^  \([a-z]\{1,\}\) .*/\1/p'; }

# same WHAT FILE FILE: two sorted lists are one; the difference is shown otherwise.
same() {
	diff -u --label "the program: $1" --label "the page" "$2" "$3" >&2 ||
		test_fail "$1: program and page differ"
}

# --help and --version are everywhere, and need not be said by each.
options_agree() {
	local program=$1 page=$2
	mapfile -t commands < <(commands_of "$program")
	helps "$program" ${commands[@]+"${commands[@]}"} >"$STAGE/help" 2>&1
	{
		printf '%s\n' help version
		grep -oE -- '--[a-z][a-z0-9-]+' "$STAGE/help" | sed 's/^--//'
	} | sort -u >"$STAGE/in-help"
	grep -oE 'Fl Fl [a-z][a-z0-9-]+' "$page" | sed 's/^Fl Fl //' | sort -u >"$STAGE/in-page"
	same "options of $program" "$STAGE/in-help" "$STAGE/in-page"
	for command in ${commands[@]+"${commands[@]}"}; do
		grep -qE "^\.(It )?Cm $command( |\$)|^\.It Cm $command\$" "$page" ||
			test_fail "$page does not have the command $command"
	done
	echo "ok: options of $program, $(wc -l <"$STAGE/in-page")"
}

[ "$(commands_of certconnectorctl | wc -l)" -ge 7 ] || test_fail "the commands of certconnectorctl were not found"
[ "$(commands_of certqueuectl | wc -l)" -ge 11 ] || test_fail "the commands of certqueuectl were not found"
options_agree certconnectord "$man/certconnectord.8"
options_agree certqueued "$man/certqueued.8"
options_agree certconnectorctl "$man/certconnectorctl.1"
options_agree certqueuectl "$man/certqueuectl.1"
options_agree certdevice "$man/certdevice.1"

# --- keys
keys_agree() {
	local what=$1 page=$2
	sort -u >"$STAGE/in-table"
	[ "$(wc -l <"$STAGE/in-table")" -ge "$3" ] || test_fail "$what: the table's keys were not found"
	sed -nE 's/^\.It Cm ([A-Za-z0-9_.]+)$/\1/p' "$page" | sort -u >"$STAGE/in-page"
	same "keys of $what" "$STAGE/in-table" "$STAGE/in-page"
	echo "ok: keys of $what, $(wc -l <"$STAGE/in-page")"
}

reference() { sed -nE 's/^([a-z0-9_]+): .*/\1/p'; }
names_in() { sed -nE 's/.*\{ *\.name = "([a-z0-9_]+)".*/\1/p' "$@"; }

certconnectord --keys | reference | keys_agree connector.yaml "$man/connector.yaml.5" 20
certqueued --reference | reference | keys_agree queue.yaml "$man/queue.yaml.5" 20
names_in "$top"/keyvault/policy*.c | keys_agree policy.yaml "$man/policy.yaml.5" 30
names_in "$top/keyvault/pins.c" | keys_agree pins.yaml "$man/pins.yaml.5" 6
{
	printf '%s\n' backend secret user on_unknown
	sed -nE 's/^\t\{"([a-z_.*]+)", (false|true),.*/\1/p' "$top/ca-backends/local/local.c" | sed 's/\*/NAME/'
} | keys_agree ca.d "$man/ca.d.5" 9

# --- the examples are files that are taken
example() { sed -n '/^\.Bd -literal$/,/^\.Ed$/p' "$man/$1" | sed '1d;$d'; }
stage_as mkdir -p "$STAGE/etc/ca.d"
example connector.yaml.5 | sed '/^users:/,/^admin_group/d' | stage_as tee "$STAGE/etc/connector.yaml" >/dev/null
example ca.d.5 | stage_as tee "$STAGE/etc/ca.d/corp-ca.yaml" >/dev/null
test_expect "the examples of connector.yaml and ca.d are taken" \
	stage_as certconnectord --check --config "$STAGE/etc/connector.yaml"
example queue.yaml.5 | stage_as tee "$STAGE/etc/queue.yaml" >/dev/null
test_expect "the example of queue.yaml is taken" stage_as certqueued --check --config "$STAGE/etc/queue.yaml"

# --- each program and file has its page, and each page can be read
for page in certconnectord.8 certqueued.8 certconnectorctl.1 certqueuectl.1 certdevice.1 connector.yaml.5 \
	policy.yaml.5 pins.yaml.5 ca.d.5 queue.yaml.5; do
	mandoc -T ascii "$man/$page" >"$STAGE/text" || test_fail "mandoc $page"
	[ "$(wc -l <"$STAGE/text")" -gt 40 ] || test_fail "$page has no text"
done
echo "ok: every page can be read"
