/*
 * A small list by name.  What was told is kept in memory only: a process that is started anew tells
 * again, which is once more and not once less.
 */
#include "connector/expiry.h"

#include "base/clock.h"
#include "base/log.h"
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

struct expiries {
	struct expiry items[EXPIRY_MAX];
	size_t count;
};

static const int64_t step_days[] = {30, 14, 7, 1, 0};
enum { EXPIRED = sizeof(step_days) / sizeof(step_days[0]), DAY_S = 86400 };

struct expiries *expiries_new(void)
{
	return cc_alloc(sizeof(struct expiries));
}

void expiries_free(struct expiries *e)
{
	if (e == NULL)
		return;
	for (size_t i = 0; i < e->count; i++)
		free(e->items[i].what);
	free(e);
}

void expiries_put(
	struct expiries *e, const char *what, int64_t not_after_s, int64_t life_s, int64_t now_s)
{
	size_t i = 0;

	if (not_after_s < 1)
		return;
	while (i < e->count && strcmp(e->items[i].what, what) != 0)
		i++;
	if (i == EXPIRY_MAX)
		return;
	if (i == e->count) {
		e->items[i] = (struct expiry){.what = cc_strdup(what)};
		e->count++;
	}
	if (e->items[i].not_after_s != not_after_s) {
		e->items[i].step = 0;
		e->items[i].told_s = 0;
	}
	e->items[i].not_after_s = not_after_s;
	e->items[i].life_s = life_s;
	e->items[i].seen_s = now_s;
}

int64_t expiry_of_issuer(cc_view der)
{
	const unsigned char *at = der.data;
	X509 *cert = d2i_X509(NULL, &at, (long)der.size);
	int64_t end_s = 0;

	if (cert != NULL &&
		X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) != 0)
		end_s = clock_asn1_s(X509_get0_notAfter(cert));
	X509_free(cert);
	ERR_clear_error();
	return end_s;
}

size_t expiries_count(const struct expiries *e)
{
	return e->count;
}

const struct expiry *expiries_at(const struct expiries *e, size_t i)
{
	return &e->items[i];
}

static void forget_old(struct expiries *e, int64_t now_s)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->count; i++) {
		if (now_s - e->items[i].seen_s > EXPIRY_KEEP_S)
			free(e->items[i].what);
		else
			e->items[kept++] = e->items[i];
	}
	e->count = kept;
}

/* 0: far away; EXPIRED: over.  What lives for 30 days only is not near its end from the first day on. */
static unsigned step_of(const struct expiry *x, int64_t now_s)
{
	int64_t left_s = x->not_after_s - now_s;
	unsigned step = 0;

	for (unsigned i = 0; i < EXPIRED; i++) {
		if (left_s <= step_days[i] * DAY_S &&
			(x->life_s == 0 || step_days[i] * DAY_S < x->life_s))
			step = i + 1;
	}
	return step;
}

bool expiry_is_near(const struct expiry *x, int64_t now_s)
{
	return step_of(x, now_s) > 0;
}

static bool is_due(const struct expiry *x, unsigned step, int64_t now_s)
{
	return step > x->step || (step == EXPIRED && now_s - x->told_s >= DAY_S);
}

size_t expiries_tell(struct expiries *e, int64_t now_s)
{
	size_t told = 0;

	forget_old(e, now_s);
	for (size_t i = 0; i < e->count; i++) {
		struct expiry *x = &e->items[i];
		int64_t left_s = x->not_after_s - now_s;
		unsigned step = step_of(x, now_s);
		if (!is_due(x, step, now_s))
			continue;
		if (step == EXPIRED)
			log_event(EV_CERTIFICATE_EXPIRED, LV_TEXT("what", x->what),
				LV_I64("days", -left_s / DAY_S));
		else
			log_event(EV_CERTIFICATE_EXPIRES, LV_TEXT("what", x->what),
				LV_I64("days", left_s / DAY_S));
		x->step = step;
		x->told_s = now_s;
		told++;
	}
	return told;
}
