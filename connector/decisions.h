/*
 * Decisions: the keyvault's audit records on their way into the journal.
 *
 * Connector process; the loop's thread only.  Records ride on the keyvault's answers.  They wait here
 * until the handler of that answer makes a change, and go into that very change; what no change took
 * is committed on its own.  When everything up to a counter is on disk, the keyvault is told, and only
 * then does it forget: the chain has no gap.
 */
#pragma once

#include "connector/journal.h"
#include "connector/vault_client.h"

struct decisions; /* opaque */

struct decisions *decisions_new(struct journal *j);
void decisions_free(struct decisions *d); /* accepts NULL */
void decisions_add(
	struct decisions *d, Vault__DecisionRecord *const *records, size_t count, bool resent);
/* Move what waits into this change. */
void decisions_put(struct decisions *d, struct journal_change *change);
/* A change with some of them failed: they wait for the next. */
void decisions_return(struct decisions *d);
/* What still waits is committed on its own; `done` as of journal_commit, only when it is. */
void decisions_flush(struct decisions *d, commit_done done, void *arg);
/* After each commit: tell the keyvault how far the disk has it. */
void decisions_confirm(struct decisions *d, struct vault_client *vault);
/* The conversation is new: tell it again. */
void decisions_forget_confirmed(struct decisions *d);
