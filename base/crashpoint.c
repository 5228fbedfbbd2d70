/*
 * Crash points: one armed place and a counter.
 *
 * Death is by SIGKILL from inside, as from outside: no handler, no flush, no destructor runs.
 */
#include "base/crashpoint.h"
#include "base/text.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[CRASH_COUNT] = {
	[CRASH_NONE] = "",
#define CRASH_POINT(name, word, room, text) [name] = word,
#include "base/crashpoints.def"
#undef CRASH_POINT
};

static enum crashpoint armed;
static atomic_uint_fast64_t passes_left;

const char *crashpoint_word(enum crashpoint at)
{
	return words[at];
}

static enum crashpoint find_word(cc_view word)
{
	for (enum crashpoint i = CRASH_NONE + 1; i < CRASH_COUNT; i++) {
		if (text_equal(word, words[i]))
			return i;
	}
	return CRASH_NONE;
}

cc_err crashpoint_set(const char *setting)
{
	const char *colon = strchr(setting, ':');
	enum crashpoint at;
	uint64_t count = 0;

	if (colon == NULL || text_to_u64(cc_view_text(colon + 1), 1, UINT32_MAX, &count) != CC_OK)
		return cc_fail(CC_USAGE, "crash point: WORD:COUNT, not \"%s\"", setting);
	at = find_word(cc_view_of(setting, (size_t)(colon - setting)));
	if (at == CRASH_NONE)
		return cc_fail(CC_USAGE, "crash point: there is none named in \"%s\"", setting);
	armed = at;
	atomic_store(&passes_left, count);
	return CC_OK;
}

void crashpoint_read_setting(void)
{
	const char *setting = getenv(CRASHPOINT_VARIABLE);
	cc_err err;

	if (setting == NULL)
		return;
	err = crashpoint_set(setting);
	if (err != CC_OK)
		cc_die("%s", cc_err_detail(err));
	unsetenv(CRASHPOINT_VARIABLE);
}

/* The supervisor's own setting is taken out of the environment once, and each offer put there anew. */
void crashpoint_write_offer(const char *role, const char *name, bool first_start)
{
	static char *whole;
	const char *colon;
	cc_view child;

	if (whole == NULL) {
		const char *setting = getenv(CRASHPOINT_VARIABLE);
		whole = cc_strdup(setting != NULL ? setting : "");
	}
	unsetenv(CRASHPOINT_VARIABLE);
	colon = strchr(whole, ':');
	if (!first_start || colon == NULL)
		return;
	child = cc_view_of(whole, (size_t)(colon - whole));
	if (text_equal(child, role) || text_equal(child, name))
		setenv(CRASHPOINT_VARIABLE, colon + 1, 1);
}

void crashpoint_count(enum crashpoint at)
{
	if (at == CRASH_NONE || at != armed)
		return;
	if (atomic_fetch_sub(&passes_left, 1) == 1)
		raise(SIGKILL);
}
