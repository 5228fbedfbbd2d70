/*
 * Dump: what a stopped connector's journal, its keyvault's decisions, or a stopped local CA's database has
 * on disk, as JSON on standard output, for the checker of invariants.
 *
 *   chaos_journal_dump journal DIR     DIR is STATE/journal
 *   chaos_journal_dump vault DIR       DIR is STATE/vault/state
 *   chaos_journal_dump ca DIR          DIR is STATE/ca/NAME/local/db
 *
 * It reads through the rooms' own code, so that a journal which they could not open is a failure here
 * (exit status 1).  Digests and ids are lower-case hex.
 */
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "ca-backends/local/local_int.h"
#include "connector/job_table.h"
#include "connector/journal_int.h"
#include "keyvault/state_int.h"
#include "proto/codec.h"
#include "vault/v1/vault.pb-c.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_MAX (64u * 1024u)

static json_t *hex(cc_view bytes)
{
	char *text = text_hex_new(bytes);
	json_t *value = json_string(text);

	free(text);
	return value;
}

static json_t *hex_of(ProtobufCBinaryData bytes)
{
	return hex(codec_view(bytes));
}

/* A row that cannot be told is no row that is not there. */
static cc_err append(json_t *to, json_t *row)
{
	if (json_array_append_new(to, row) != 0)
		return cc_fail(CC_CORRUPT, "a row has a text that is not UTF-8");
	return CC_OK;
}

static json_t *text_of(ProtobufCBinaryData bytes)
{
	return json_stringn((const char *)bytes.data, bytes.len);
}

typedef cc_err (*row_fn)(json_t *to, cc_view key, cc_view value);

/* Every row of one database of the journal. */
static cc_err each_row(const struct journal *j, size_t dbi, row_fn fn, json_t *to)
{
	struct db *d = journal_db(j);
	struct db_cursor cursor = {0};
	MDB_txn *txn = NULL;
	cc_err err = CC_OK;

	TRY(db_read_begin(d, &txn));
	TRY(db_scan(d, txn, dbi, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err))
		TRY(fn(to, cursor.key, cursor.value));
out:
	db_scan_end(&cursor);
	db_read_end(txn);
	return err;
}

static cc_err open_row(void *arg, cc_view job_id, const Journal__OpenJob *r)
{
	return append(arg, json_pack("{s:o, s:s, s:o, s:I, s:o, s:o, s:o}", "job", hex(job_id),
				   "state", job_rule(r->state)->name, "ca", text_of(r->ca), "epoch",
				   (json_int_t)r->epoch, "spki_sha256", hex_of(r->spki_sha256),
				   "txid", hex_of(r->txid), "cert_sha256", hex_of(r->cert_sha256)));
}

static cc_err done_row(json_t *to, cc_view key, cc_view value)
{
	Journal__DoneJob *r = NULL;
	cc_err err = codec_decode(&journal__done_job__descriptor, value, ROW_MAX, &r);

	if (err != CC_OK)
		return err;
	err = append(to, json_pack("{s:o, s:o, s:o, s:I, s:o, s:o}", "job", hex(key), "kind",
				 text_of(r->kind), "outcome", text_of(r->outcome), "epoch",
				 (json_int_t)r->epoch, "cert_sha256", hex_of(r->cert_sha256), "ca",
				 text_of(r->ca)));
	codec_free(r);
	return err;
}

static cc_err doubt_row(json_t *to, cc_view key, cc_view value)
{
	Journal__Doubt *r = NULL;
	cc_err err = CC_OK;

	if (key.size < JOB_ID_SIZE)
		return cc_fail(CC_CORRUPT, "the key of a doubt has %zu bytes", key.size);
	err = codec_decode(&journal__doubt__descriptor, value, ROW_MAX, &r);
	if (err != CC_OK)
		return err;
	err = append(to, json_pack("{s:o, s:o, s:o}", "job", hex(cc_view_part(key, 0, JOB_ID_SIZE)),
				 "ca", text_of(r->ca), "spki_sha256", hex_of(r->spki_sha256)));
	codec_free(r);
	return err;
}

static cc_err audit_row(json_t *to, cc_view key, cc_view value)
{
	Vault__DecisionRecord *record = NULL;
	Vault__Decision *decision = NULL;
	uint8_t digest[SHA256_SIZE];
	cc_err err = CC_OK;

	ENSURE(key.size == 8,
		cc_fail(CC_CORRUPT, "the key of an audit record has %zu bytes", key.size));
	TRY(codec_decode(&vault__decision_record__descriptor, value, ROW_MAX, &record));
	TRY(codec_decode(
		&vault__decision__descriptor, codec_view(record->decision), ROW_MAX, &decision));
	hash_sha256(value, digest);
	TRY(append(to,
		json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "key",
			(json_int_t)cc_get_u64(key.data), "counter", (json_int_t)record->counter,
			"previous_sha256", hex_of(record->previous_sha256), "sha256",
			hex(cc_view_of(digest, sizeof(digest))), "operation",
			text_of(decision->operation), "outcome", text_of(decision->outcome), "job",
			hex_of(decision->job_id), "spki_sha256", hex_of(decision->spki_sha256),
			"cert_sha256", hex_of(decision->certificate_sha256))));
out:
	codec_free(decision);
	codec_free(record);
	return err;
}

static cc_err dump_journal(const char *dir, json_t *to)
{
	const struct journal_settings settings = {
		.dir = dir, .max_bytes = 1ull << 30, .result_retention_ms = INT64_C(86400000)};
	struct loop *loop = NULL;
	struct journal *j = NULL;
	json_t *open = json_array(), *done = json_array(), *doubt = json_array(),
	       *audit = json_array();
	cc_err err = CC_OK;

	TRY(loop_new(&loop));
	TRY(journal_open(&settings, loop, &j));
	json_object_set_new(to, "journal_id", hex(journal_id(j)));
	json_object_set_new(to, "audit_head", json_integer((json_int_t)journal_audit_head(j)));
	TRY(journal_each_open(j, open_row, open));
	TRY(each_row(j, JOURNAL_DB_DONE, done_row, done));
	TRY(each_row(j, JOURNAL_DB_DOUBT, doubt_row, doubt));
	TRY(each_row(j, JOURNAL_DB_AUDIT, audit_row, audit));
out:
	json_object_set_new(to, "open", open);
	json_object_set_new(to, "done", done);
	json_object_set_new(to, "doubt", doubt);
	json_object_set_new(to, "audit", audit);
	journal_close(j);
	loop_free(loop);
	return err;
}

/* The keyvault keeps a decision's record until the connector has it on disk. */
static cc_err decision_row(void *arg, uint64_t counter, cc_view row)
{
	(void)row;
	return append(arg, json_integer((json_int_t)counter));
}

static cc_err dump_vault(const char *dir, json_t *to)
{
	const cc_secret no_key = {0}; /* nothing is decided here */
	struct state *s = NULL;
	MDB_txn *txn = NULL;
	Vault__StateMeta *meta = NULL;
	json_t *waiting = json_array();
	cc_err err = CC_OK;

	TRY(state_open(dir, &no_key, 0, &s));
	TRY(state_list_decisions(s, decision_row, waiting));
	TRY(db_read_begin(s->db, &txn));
	TRY(state_meta_get(s->db, txn, &meta));
	json_object_set_new(to, "decisions", json_integer((json_int_t)meta->decisions));
	json_object_set_new(to, "head_sha256", hex_of(meta->head_sha256));
out:
	codec_free(meta);
	db_read_end(txn);
	json_object_set_new(to, "waiting", waiting);
	state_close(s);
	return err;
}

static cc_err issued_row(void *arg, cc_view serial, cc_view der)
{
	uint8_t digest[SHA256_SIZE];

	hash_sha256(der, digest);
	return append(arg, json_pack("{s:o, s:o, s:o}", "serial", hex(serial), "cert_sha256",
				   hex(cc_view_of(digest, sizeof(digest))), "der", hex(der)));
}

static cc_err revoked_row(void *arg, cc_view serial, int64_t time_s, uint32_t reason)
{
	return append(arg, json_pack("{s:o, s:I, s:I}", "serial", hex(serial), "time_s",
				   (json_int_t)time_s, "reason", (json_int_t)reason));
}

static cc_err dump_ca(const char *dir, json_t *to)
{
	struct local_db *d = NULL;
	json_t *issued = json_array(), *revoked = json_array();
	cc_err err = CC_OK;

	TRY(local_db_open(dir, false, &d));
	TRY(local_db_each_latest(d, issued_row, issued));
	TRY(local_db_each_revoked(d, revoked_row, revoked));
out:
	json_object_set_new(to, "issued", issued);
	json_object_set_new(to, "revoked", revoked);
	local_db_close(d);
	return err;
}

int main(int argc, char **argv)
{
	json_t *to = json_object();
	cc_err err;

	if (argc == 3 && strcmp(argv[1], "journal") == 0) {
		err = dump_journal(argv[2], to);
	} else if (argc == 3 && strcmp(argv[1], "vault") == 0) {
		err = dump_vault(argv[2], to);
	} else if (argc == 3 && strcmp(argv[1], "ca") == 0) {
		err = dump_ca(argv[2], to);
	} else {
		fprintf(stderr, "usage: chaos_journal_dump journal DIR | vault DIR | ca DIR\n");
		json_decref(to);
		return EXIT_USAGE;
	}
	if (err != CC_OK)
		fprintf(stderr, "chaos_journal_dump: %s: %s\n", argv[2], cc_err_detail(err));
	else if (json_dumpf(to, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF)
		err = cc_fail(CC_IO, "standard output");
	json_decref(to);
	return err == CC_OK ? EXIT_OK : EXIT_FAILED;
}
