/*
 * A list of at most nine, and the two facts by which a round is begun: which worked, and when the first
 * one failed.
 */
#include "connector/addresses.h"

#include "base/clock.h"
#include "base/text.h"
#include <stdlib.h>

static const char scheme[] = "wss://";

struct addresses {
	struct address list[ADDRESSES_MAX];
	size_t count;
	size_t start;    /* of the next round */
	size_t at;       /* tried now */
	size_t tried;    /* in this round */
	int64_t left_ms; /* boottime when the first was left for another */
	int64_t opened_ms;
};

static bool is_url(cc_view text)
{
	return cc_view_equal(cc_view_part(text, 0, sizeof(scheme) - 1), cc_view_text(scheme));
}

static cc_err parse(cc_view text, char **ret_host, uint16_t *ret_port)
{
	cc_blob url = CC_BLOB_NONE;
	cc_err err;

	if (!is_url(text))
		cc_blob_append(&url, cc_view_text(scheme));
	cc_blob_append(&url, text);
	err = identity_parse_url(cc_blob_view(&url), ret_host, ret_port);
	cc_blob_free(&url);
	return err;
}

cc_err addresses_check(cc_view text)
{
	char *host = NULL;
	uint16_t port = 0;
	cc_err err = parse(text, &host, &port);

	free(host);
	return err;
}

static cc_err add_address(struct addresses *a, const struct identity *id, const char *text)
{
	struct address *to = &a->list[a->count];
	cc_err err = CC_OK;

	ENSURE(a->count < ADDRESSES_MAX,
		cc_fail(CC_CONFIG, "more than %d addresses of the queue", ADDRESSES_MAX - 1));
	TRY(parse(cc_view_text(text), &to->host, &to->port));
	to->name = is_url(cc_view_text(text)) ? to->host : id->host;
	a->count++;
out:
	return err;
}

cc_err addresses_new(
	const struct identity *id, char *const *more, size_t count, struct addresses **ret)
{
	struct addresses *a = cc_alloc(sizeof(*a));
	cc_err err = CC_OK;

	a->list[0] = (struct address){cc_strdup(id->host), id->port, id->host};
	a->count = 1;
	for (size_t i = 0; i < count; i++)
		TRY(add_address(a, id, more[i]));
	*ret = a;
	a = NULL;
out:
	addresses_free(a);
	return err;
}

void addresses_free(struct addresses *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < a->count; i++)
		free(a->list[i].host);
	free(a);
}

void addresses_begin_round(struct addresses *a)
{
	if (a->start != 0 && clock_boottime_ms() - a->left_ms >= ADDRESSES_PREFER_MS)
		a->start = 0;
	a->at = a->start;
	a->tried = 1;
}

const struct address *addresses_current(const struct addresses *a)
{
	return &a->list[a->at];
}

static void leave(struct addresses *a)
{
	if (a->at == 0)
		a->left_ms = clock_boottime_ms();
	a->at = (a->at + 1) % a->count;
}

bool addresses_next(struct addresses *a)
{
	leave(a);
	if (a->tried == a->count) {
		a->start = 0; /* none is better than the first */
		return false;
	}
	a->tried++;
	return true;
}

void addresses_opened(struct addresses *a)
{
	a->start = a->at;
	a->opened_ms = clock_boottime_ms();
}

void addresses_ended(struct addresses *a)
{
	if (clock_boottime_ms() - a->opened_ms >= ADDRESSES_SHORT_MS)
		return;
	leave(a);
	a->start = a->at;
}
