/*
 * Ledger: one database, "tenant NUL job id" to {version, time, state, CSR digest, answer}.
 */
#include "ca-backends/ledger.h"
#include "base/clock.h"
#include "base/committer.h"
#include "base/text.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAP_BYTES   (UINT64_C(64) << 30) /* address space: 90 days of certificates and more */
#define VERSION     1
#define HEAD_SIZE   (1 + 8 + 1 + SHA256_SIZE)
#define AHEAD       (UINT64_C(4) << 20)
#define PRUNE_BATCH 500
#define PRUNE_LOOKS 5000 /* entries looked at in one go: a transaction stays short */

enum { ENTRIES, DATABASES };

/* The state's byte on disk, by its name here; 0: never written. */
static const uint8_t codes[] = {
	[LEDGER_FREE] = 4, [LEDGER_ASKED] = 1, [LEDGER_PENDING] = 3, [LEDGER_ISSUED] = 2};

static const char *const names[DATABASES] = {"entries"};

struct ledger {
	struct db *db;
	struct committer *committer;
	struct op *open; /* handed over and not done */
	bool pruning;
	cc_blob prune_from; /* where the next prune goes on; empty: at the beginning */
};

/* One change on its way through the committer. */
struct op {
	struct ledger *ledger;
	struct op *next, *previous;
	cc_blob key, head, answer;
	bool submits;            /* of a claim */
	enum ledger_state state; /* of a claim: what was found; of a record: what it becomes */
	cc_blob found;           /* of a claim: the answer */
	ledger_claimed claimed;
	ledger_recorded recorded;
	void *arg;
};

struct entry {
	int64_t time_s;
	enum ledger_state state;
	cc_view csr_sha256, answer;
};

static cc_err parse_state(uint8_t code, enum ledger_state *ret)
{
	for (enum ledger_state s = LEDGER_FREE; s <= LEDGER_ISSUED; s++) {
		if (codes[s] == code) {
			*ret = s;
			return CC_OK;
		}
	}
	return cc_fail(CC_CORRUPT, "ledger: an entry in state %d", code);
}

static cc_err parse_entry(cc_view value, struct entry *ret)
{
	if (value.size < HEAD_SIZE || value.data[0] != VERSION)
		return cc_fail(CC_CORRUPT, "ledger: an entry of %zu bytes, version %d", value.size,
			value.size > 0 ? value.data[0] : 0);
	ret->time_s = (int64_t)cc_get_u64(value.data + 1);
	ret->csr_sha256 = cc_view_part(value, 10, SHA256_SIZE);
	ret->answer = cc_view_part(value, HEAD_SIZE, value.size);
	return parse_state(value.data[9], &ret->state);
}

static cc_blob make_key(const struct ledger_key *key)
{
	cc_blob b = CC_BLOB_NONE;

	cc_blob_append(&b, key->tenant);
	cc_blob_append_byte(&b, 0);
	cc_blob_append(&b, key->job_id);
	return b;
}

static void make_value(cc_view csr_sha256, enum ledger_state state, cc_view answer, cc_blob *ret)
{
	cc_blob_clear(ret);
	cc_blob_append_byte(ret, VERSION);
	cc_blob_append_u64(ret, (uint64_t)clock_realtime_s());
	cc_blob_append_byte(ret, codes[state]);
	cc_blob_append(ret, csr_sha256);
	cc_blob_append(ret, answer);
}

/* What stands there for this key, judged for this CSR; views into the transaction. */
static cc_err look(const struct db *d, MDB_txn *txn, cc_view key, cc_view csr_sha256,
	enum ledger_state *ret_state, cc_view *ret_answer)
{
	struct entry e;
	cc_view value;
	cc_err err = db_get(d, txn, ENTRIES, key, &value);

	*ret_answer = CC_VIEW_NONE;
	if (err == CC_NOT_FOUND) {
		*ret_state = LEDGER_NEW;
		return CC_OK;
	}
	if (err != CC_OK)
		return err;
	err = parse_entry(value, &e);
	if (err != CC_OK)
		return err;
	if (!cc_view_equal(e.csr_sha256, csr_sha256)) {
		*ret_state = LEDGER_OTHER;
	} else {
		*ret_state = e.state;
		*ret_answer = e.answer;
	}
	return CC_OK;
}

/* ---- open and close ---- */

cc_err ledger_open(const char *dir, struct ledger **ret)
{
	struct ledger *l = cc_alloc(sizeof(*l));
	cc_err err = CC_OK;

	TRY(db_open(dir, MAP_BYTES, names, DATABASES, &l->db));
	*ret = l;
	l = NULL;
out:
	free(l);
	return err;
}

cc_err ledger_start(
	struct ledger *l, struct loop *loop, void (*fatal)(void *arg, cc_err err), void *arg)
{
	cc_err err = committer_start(l->db, loop, fatal, arg, &l->committer);

	if (err == CC_OK)
		committer_name_points(
			l->committer, CRASH_LEDGER_BEFORE_COMMIT, CRASH_LEDGER_AFTER_COMMIT);
	return err;
}

static struct op *new_op(struct ledger *l)
{
	struct op *o = cc_alloc(sizeof(*o));

	o->ledger = l;
	o->next = l->open;
	if (o->next != NULL)
		o->next->previous = o;
	l->open = o;
	return o;
}

static struct op *new_job_op(struct ledger *l, const struct ledger_key *key, void *arg)
{
	struct op *o = new_op(l);

	assert(key->csr_sha256.size == SHA256_SIZE);
	o->arg = arg;
	o->key = make_key(key);
	o->head = cc_blob_copy(key->csr_sha256);
	return o;
}

static void free_op(struct op *o)
{
	if (o->previous != NULL)
		o->previous->next = o->next;
	else
		o->ledger->open = o->next;
	if (o->next != NULL)
		o->next->previous = o->previous;
	cc_blob_free(&o->key);
	cc_blob_free(&o->head);
	cc_blob_free(&o->answer);
	cc_blob_free(&o->found);
	free(o);
}

void ledger_close(struct ledger *l)
{
	if (l == NULL)
		return;
	committer_stop(l->committer);
	while (l->open != NULL)
		free_op(l->open);
	cc_blob_free(&l->prune_from);
	db_close(l->db);
	free(l);
}

/* ---- claim and record ---- */

/* Both belong to a job that was admitted elsewhere: they may use what is kept ahead, which is renewed
 * whenever it can be. */
static void renew_room(struct db *d, const struct op *o)
{
	cc_ignore(db_reserve(d, o->answer.size, AHEAD), "what there is has to do");
}

static cc_err apply_claim(struct db *d, MDB_txn *txn, void *arg)
{
	struct op *o = arg;
	cc_blob value = CC_BLOB_NONE;
	cc_view answer;
	cc_err err = CC_OK;

	renew_room(d, o);
	cc_blob_free(&o->found);
	TRY(look(d, txn, cc_blob_view(&o->key), cc_blob_view(&o->head), &o->state, &answer));
	o->found = cc_blob_copy(answer);
	if (o->state != LEDGER_NEW && !(o->submits && o->state == LEDGER_FREE))
		goto out;
	make_value(cc_blob_view(&o->head), LEDGER_ASKED, CC_VIEW_NONE, &value);
	TRY(db_put(d, txn, ENTRIES, cc_blob_view(&o->key), cc_blob_view(&value)));
out:
	cc_blob_free(&value);
	return err;
}

static void claim_done(void *arg, cc_err err)
{
	struct op *o = arg;

	o->claimed(o->arg, err, o->state, cc_blob_view(&o->found));
	free_op(o);
}

void ledger_claim(struct ledger *l, const struct ledger_key *key, bool submits, ledger_claimed done,
	void *arg)
{
	struct op *o = new_job_op(l, key, arg);

	o->submits = submits;
	o->claimed = done;
	committer_submit(l->committer, apply_claim, claim_done, o);
}

static cc_err apply_record(struct db *d, MDB_txn *txn, void *arg)
{
	struct op *o = arg;
	enum ledger_state state;
	cc_blob value = CC_BLOB_NONE;
	cc_view answer;
	cc_err err = CC_OK;

	renew_room(d, o);
	TRY(look(d, txn, cc_blob_view(&o->key), cc_blob_view(&o->head), &state, &answer));
	ENSURE(state != LEDGER_OTHER,
		cc_fail(CC_CONFLICT, "ledger: an answer for a CSR that was not claimed"));
	if (state == LEDGER_ISSUED)
		goto out;
	make_value(cc_blob_view(&o->head), o->state, cc_blob_view(&o->answer), &value);
	TRY(db_put(d, txn, ENTRIES, cc_blob_view(&o->key), cc_blob_view(&value)));
out:
	cc_blob_free(&value);
	return err;
}

static void record_done(void *arg, cc_err err)
{
	struct op *o = arg;

	o->recorded(o->arg, err);
	free_op(o);
}

void ledger_record(struct ledger *l, const struct ledger_key *key, enum ledger_state state,
	cc_view answer, ledger_recorded done, void *arg)
{
	struct op *o = new_job_op(l, key, arg);

	o->recorded = done;
	o->state = state;
	o->answer = cc_blob_copy(answer);
	committer_submit(l->committer, apply_record, record_done, o);
}

cc_err ledger_find(const struct ledger *l, const struct ledger_key *key,
	enum ledger_state *ret_state, cc_blob *ret_answer)
{
	cc_blob k = make_key(key);
	MDB_txn *txn = NULL;
	enum ledger_state state;
	cc_view answer;
	cc_err err = CC_OK;

	TRY(db_read_begin(l->db, &txn));
	TRY(look(l->db, txn, cc_blob_view(&k), key->csr_sha256, &state, &answer));
	*ret_state = state;
	*ret_answer = cc_blob_copy(answer);
out:
	if (txn != NULL)
		db_read_end(txn);
	cc_blob_free(&k);
	return err;
}

/* ---- prune ---- */

/* `found` becomes the key to go on from: behind the last one that was looked at, or empty at the end. */
static cc_err apply_prune(struct db *d, MDB_txn *txn, void *arg)
{
	struct op *o = arg;
	int64_t before = clock_realtime_s() - LEDGER_KEEP_S;
	struct db_cursor cursor = {0};
	cc_blob old[PRUNE_BATCH] = {0};
	size_t count = 0, looks = 0;
	cc_err err = CC_OK;

	cc_blob_clear(&o->found);
	TRY(db_scan(d, txn, ENTRIES, CC_VIEW_NONE, cc_blob_view(&o->key), &cursor));
	while (db_next(&cursor, &err)) {
		struct entry e;
		if (count == PRUNE_BATCH || looks++ == PRUNE_LOOKS) {
			cc_blob_append(&o->found, cursor.key);
			break;
		}
		TRY(parse_entry(cursor.value, &e));
		if (e.time_s < before)
			old[count++] = cc_blob_copy(cursor.key);
	}
	TRY(err);
	for (size_t i = 0; i < count; i++)
		TRY(db_delete(d, txn, ENTRIES, cc_blob_view(&old[i])));
out:
	db_scan_end(&cursor);
	for (size_t i = 0; i < count; i++)
		cc_blob_free(&old[i]);
	return err;
}

static void prune_done(void *arg, cc_err err)
{
	struct op *o = arg;

	o->ledger->pruning = false;
	if (err == CC_OK) {
		cc_blob_free(&o->ledger->prune_from);
		o->ledger->prune_from = cc_blob_move(&o->found);
	}
	free_op(o);
}

void ledger_prune(struct ledger *l)
{
	struct op *o;

	if (l->pruning)
		return;
	l->pruning = true;
	o = new_op(l);
	o->key = cc_blob_copy(cc_blob_view(&l->prune_from));
	committer_submit(l->committer, apply_prune, prune_done, o);
}
