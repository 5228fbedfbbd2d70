/*
 * A list of packed records that wait for a change, and the counter that the keyvault was last told.
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

struct decisions {
	struct journal *journal;
	struct waiting *first, *last;
	uint64_t confirmed;
};

struct decisions *decisions_new(struct journal *j)
{
	struct decisions *d = cc_alloc(sizeof *d);
	d->journal = j;
	return d;
}

static void free_first(struct decisions *d)
{
	struct waiting *w = d->first;
	d->first = w->next;
	if (d->first == NULL)
		d->last = NULL;
	cc_blob_free(&w->packed);
	free(w);
}

void decisions_free(struct decisions *d)
{
	if (d == NULL)
		return;
	while (d->first != NULL)
		free_first(d);
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
		if (d->last == NULL)
			d->first = w;
		else
			d->last->next = w;
		d->last = w;
	}
}

void decisions_put(struct decisions *d, struct journal_change *change)
{
	while (d->first != NULL) {
		journal_change_audit(change, d->first->counter, cc_blob_view(&d->first->packed),
			d->first->resent);
		free_first(d);
	}
}

void decisions_flush(struct decisions *d, commit_done done, void *arg)
{
	if (d->first == NULL)
		return;
	struct journal_change *change = journal_change_new(d->journal);
	decisions_put(d, change);
	journal_commit(change, done, arg);
}

void decisions_confirm(struct decisions *d, struct vault_client *vault)
{
	uint64_t head = journal_audit_head(d->journal);
	if (head <= d->confirmed || !vault_client_is_connected(vault))
		return;
	if (vault_client_confirm(vault, head) == CC_OK)
		d->confirmed = head;
}

void decisions_forget_confirmed(struct decisions *d)
{
	d->confirmed = 0;
}
