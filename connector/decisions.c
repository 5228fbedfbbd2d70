/*
 * Packed records that wait for a change, those that are in one, and the counter that the keyvault was last
 * told.
 */
#include "connector/decisions.h"

#include "proto/codec.h"
#include <stdlib.h>

struct waiting {
	uint64_t counter;
	bool resent;
	cc_blob packed;
	struct waiting *next;
};

struct list {
	struct waiting *first, *last;
};

struct decisions {
	struct journal *journal;
	struct list waiting, written; /* written: in a change, not yet known to be on disk */
	uint64_t confirmed;
};

struct decisions *decisions_new(struct journal *j)
{
	struct decisions *d = cc_alloc(sizeof *d);
	d->journal = j;
	return d;
}

static struct waiting *list_take(struct list *from)
{
	struct waiting *w = from->first;
	from->first = w->next;
	if (from->first == NULL)
		from->last = NULL;
	w->next = NULL;
	return w;
}

static void list_append(struct list *to, struct waiting *w)
{
	if (to->last == NULL)
		to->first = w;
	else
		to->last->next = w;
	to->last = w;
}

static void drop_first(struct list *from)
{
	struct waiting *w = list_take(from);
	cc_blob_free(&w->packed);
	free(w);
}

void decisions_free(struct decisions *d)
{
	if (d == NULL)
		return;
	while (d->waiting.first != NULL)
		drop_first(&d->waiting);
	while (d->written.first != NULL)
		drop_first(&d->written);
	free(d);
}

void decisions_add(
	struct decisions *d, Vault__DecisionRecord *const *records, size_t count, bool resent)
{
	for (size_t i = 0; i < count; i++) {
		struct waiting *w = cc_alloc(sizeof *w);
		w->counter = records[i]->counter;
		w->resent = resent && i == 0;
		w->packed = codec_pack(records[i]);
		list_append(&d->waiting, w);
	}
}

void decisions_put(struct decisions *d, struct journal_change *change)
{
	while (d->waiting.first != NULL) {
		struct waiting *w = list_take(&d->waiting);
		journal_change_audit(change, w->counter, cc_blob_view(&w->packed), w->resent);
		list_append(&d->written, w);
	}
}

/* What is on disk already is written once more, which changes nothing. */
void decisions_return(struct decisions *d)
{
	while (d->written.first != NULL)
		list_append(&d->waiting, list_take(&d->written));
}

void decisions_flush(struct decisions *d, commit_done done, void *arg)
{
	if (d->waiting.first == NULL)
		return;
	struct journal_change *change = journal_change_new(d->journal);
	decisions_put(d, change);
	journal_commit(change, done, arg);
}

void decisions_confirm(struct decisions *d, struct vault_client *vault)
{
	uint64_t head = journal_audit_head(d->journal);
	while (d->written.first != NULL && d->written.first->counter <= head)
		drop_first(&d->written);
	if (head <= d->confirmed || !vault_client_is_connected(vault))
		return;
	if (vault_client_confirm(vault, head) == CC_OK)
		d->confirmed = head;
}

void decisions_forget_confirmed(struct decisions *d)
{
	d->confirmed = 0;
}
