/*
 * A journal of an earlier release becomes one of this release, in the transaction that opens it.
 *
 * Format 1 had no field for the settlement of a SETTLING job: its name stood in `code`.  Every other record
 * reads the same.  A journal whose upgrade fails stays as it was.
 */
#include "connector/journal_int.h"

#include "certq/v1/envelope.pb-c.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 256 };

struct old_job {
	uint8_t id[JOB_ID_SIZE];
	Journal__OpenJob *record;
};

static uint32_t settlement_of(cc_view code)
{
	if (text_equal(code, "not_issued"))
		return CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
	if (text_equal(code, "in_doubt"))
		return CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	return CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
}

/* Up to AT_ONCE jobs whose settlement still stands in `code`. */
static cc_err find_old(struct db *d, MDB_txn *txn, struct old_job *jobs, size_t *ret_count)
{
	struct db_cursor cursor = {0};
	Journal__OpenJob *record = NULL;
	size_t count = 0;
	cc_err err = CC_OK;
	TRY(db_scan(d, txn, JOURNAL_DB_OPEN, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (count < AT_ONCE && db_next(&cursor, &err)) {
		codec_free(record);
		record = NULL;
		TRY(codec_decode(
			&journal__open_job__descriptor, cursor.value, JOURNAL_RECORD_MAX, &record));
		ENSURE(cursor.key.size == JOB_ID_SIZE,
			cc_fail(CC_CORRUPT, "a key of %zu bytes in the journal", cursor.key.size));
		if (record->state != JOURNAL__JOB_STATE__STATE_SETTLING || record->code.len == 0 ||
			settlement_of(codec_view(record->code)) == 0)
			continue;
		memcpy(jobs[count].id, cursor.key.data, JOB_ID_SIZE);
		jobs[count++].record = record;
		record = NULL;
	}
	TRY(err);
out:
	codec_free(record);
	db_scan_end(&cursor);
	*ret_count = count;
	return err;
}

static cc_err put_new(struct db *d, MDB_txn *txn, const struct old_job *job)
{
	Journal__OpenJob record = *job->record;
	cc_blob packed = CC_BLOB_NONE;
	cc_err err;
	record.settle = settlement_of(codec_view(record.code));
	record.code = (ProtobufCBinaryData){0};
	packed = codec_pack(&record);
	err = db_put(
		d, txn, JOURNAL_DB_OPEN, cc_view_of(job->id, JOB_ID_SIZE), cc_blob_view(&packed));
	cc_blob_free(&packed);
	return err;
}

cc_err journal_upgrade(struct db *d, MDB_txn *txn, Journal__JournalMeta *meta)
{
	struct old_job *jobs = cc_alloc(AT_ONCE * sizeof *jobs);
	size_t count = 0;
	cc_err err = CC_OK;
	do { /* one that was rewritten is not found again */
		TRY(find_old(d, txn, jobs, &count));
		for (size_t i = 0; i < count; i++)
			TRY(put_new(d, txn, &jobs[i]));
		for (size_t i = 0; i < count; i++)
			codec_free(jobs[i].record);
		memset(jobs, 0, AT_ONCE * sizeof *jobs);
	} while (count == AT_ONCE);
	meta->format = JOURNAL_FORMAT;
	TRY(journal_write_meta(d, txn, meta));
out:
	for (size_t i = 0; i < AT_ONCE; i++)
		codec_free(jobs[i].record);
	free(jobs);
	return err;
}
