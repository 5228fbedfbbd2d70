/*
 * The embedded store: giving out work.
 *
 * `ready` is sorted by route, lane and priority, then by time.  Lease looks at the head of each such
 * group of the routes that this connector serves, and merges: the lane by weight (revoke 8, issue 4,
 * rewrap 4, chain 1), within a lane the oldest, where a higher priority counts as a head start in time,
 * so that nothing waits for ever.
 */
#include "cloud-queue/store_lmdb.h"

enum { SKIPS_MAX = 1000 };

/* One turn through the weights; the connector's place in it is kept in its session. */
static const uint8_t lane_turns[] = {
	STORE_REVOKE,
	STORE_ISSUE,
	STORE_REWRAP,
	STORE_REVOKE,
	STORE_ISSUE,
	STORE_REVOKE,
	STORE_REWRAP,
	STORE_REVOKE,
	STORE_CHAIN,
	STORE_REVOKE,
	STORE_ISSUE,
	STORE_REWRAP,
	STORE_REVOKE,
	STORE_ISSUE,
	STORE_REVOKE,
	STORE_REWRAP,
	STORE_REVOKE,
};
#define LANE_TURNS (sizeof(lane_turns) / sizeof(lane_turns[0]))

static const int64_t head_start_ms[] = {0, 60 * 1000, 600 * 1000}; /* interactive, normal, bulk */

struct head { /* the first job of a group, or none any more */
	struct store_dbkey group;
	uint8_t lane, priority;
	bool empty;
	int64_t run_at;
	uint64_t number;
	cc_view job_id;
	struct store_dbkey key;
};

struct merge {
	struct store_tx *x;
	const struct store_lease_in *in;
	Queue__Session *session;
	struct store_server server;
	struct head *heads;
	size_t count;
	int64_t next_due; /* of what is not due yet; 0: nothing */
	unsigned skips;
	size_t bytes;
	struct store_leased *jobs;
	size_t leased;
};

static cc_err read_head(const struct store_row *row, size_t tenant_size, struct head *ret)
{
	cc_view rest = cc_view_part(row->key, tenant_size + ROUTE_SIZE, row->key.size);
	uint64_t run_at;
	cc_err err = CC_OK;

	*ret = (struct head){.job_id = row->value};
	TRY(store_key_take_u8(&rest, &ret->lane));
	TRY(store_key_take_u8(&rest, &ret->priority));
	TRY(store_key_take_u64(&rest, &run_at));
	TRY(store_key_take_u64(&rest, &ret->number));
	ENSURE(ret->priority < 3 && row->value.size == STORE_JOB_ID_SIZE,
		cc_fail(CC_CORRUPT, "store: a row of ready"));
	ret->run_at = (int64_t)run_at;
	store_key_add(&ret->key, row->key);
	store_key_add(&ret->group, cc_view_part(row->key, 0, tenant_size + ROUTE_SIZE + 2));
out:
	return err;
}

static void note_due(struct merge *m, int64_t run_at)
{
	if (m->next_due == 0 || run_at < m->next_due)
		m->next_due = run_at;
}

/* The groups of one route: each one's head if it is due. */
static cc_err add_route(struct merge *m, cc_view tenant, cc_view hash)
{
	struct store_dbkey prefix = store_key_name(tenant);
	size_t tenant_size = prefix.size;
	struct store_dbkey from;
	struct store_row *rows;
	struct head head;
	size_t count;
	cc_err err = CC_OK;

	store_key_add(&prefix, hash);
	from = prefix;
	for (;;) {
		TRY(store_row_scan(m->x, T_READY, &prefix, &from, 1, &rows, &count));
		if (count == 0)
			break;
		TRY(read_head(&rows[0], tenant_size, &head));
		if (head.run_at <= m->x->now) {
			m->heads = store_mem_grow(m->x->mem, m->heads, m->count, sizeof(head));
			m->heads[m->count++] = head;
		} else {
			note_due(m, head.run_at);
		}
		from = head.group;
		store_key_add_last(&from);
	}
out:
	return err;
}

static cc_err find_heads(struct merge *m)
{
	cc_view tenant = m->in->session.tenant;
	cc_view hash = CC_VIEW_NONE;
	Queue__Route *route;
	cc_err err = CC_OK;

	for (;;) {
		TRY(store_route_next_ready(m->x, tenant, hash, &hash));
		if (hash.size == 0)
			break;
		struct store_dbkey key = store_key_name(tenant);
		store_key_add(&key, hash);
		TRY(store_row_find(m->x, T_ROUTE, &key, &queue__route__descriptor, &route));
		if (route != NULL && store_route_served(route, &m->server))
			TRY(add_route(m, tenant, hash));
	}
out:
	return err;
}

/* The next row of the group behind the head. */
static cc_err next_head(struct merge *m, struct head *h)
{
	struct store_dbkey from = h->key;
	size_t tenant_size = store_key_name(m->in->session.tenant).size;
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_u8(&from, 0);
	TRY(store_row_scan(m->x, T_READY, &h->group, &from, 1, &rows, &count));
	h->empty = count == 0;
	if (count == 0)
		return CC_OK;
	TRY(read_head(&rows[0], tenant_size, h));
	if (h->run_at > m->x->now) {
		h->empty = true;
		note_due(m, h->run_at);
	}
out:
	return err;
}

static bool earlier(const struct head *a, const struct head *b)
{
	int64_t at_a = a->run_at + head_start_ms[a->priority];
	int64_t at_b = b->run_at + head_start_ms[b->priority];
	return at_a != at_b ? at_a < at_b : a->number < b->number;
}

static struct head *best_of_lane(struct merge *m, uint8_t lane)
{
	struct head *best = NULL;
	for (size_t i = 0; i < m->count; i++) {
		struct head *h = &m->heads[i];
		if (h->lane == lane && !h->empty && (best == NULL || earlier(h, best)))
			best = h;
	}
	return best;
}

static struct head *pick(struct merge *m)
{
	for (size_t i = 0; i < LANE_TURNS; i++) {
		size_t turn = (m->session->lane_turn + i) % LANE_TURNS;
		struct head *h = best_of_lane(m, lane_turns[turn]);
		if (h != NULL) {
			m->session->lane_turn = (uint32_t)((turn + 1) % LANE_TURNS);
			return h;
		}
	}
	return NULL;
}

/* ---- one job ---------------------------------------------------------------------------------- */

/* The end of the exclusion is when this connector has to look again. */
static bool excluded(struct merge *m, const Queue__JobHeader *h)
{
	for (size_t i = 0; i < h->n_excluded; i++) {
		if (h->excluded[i]->until_ms > m->x->now &&
			cc_view_equal(store_row_view(h->excluded[i]->connector),
				m->in->session.connector)) {
			note_due(m, h->excluded[i]->until_ms);
			return true;
		}
	}
	return false;
}

static cc_err load_passwords(
	struct store_tx *x, const struct store_job_row *j, struct store_leased *ret)
{
	struct store_dbkey key = store_job_part_key(j, PART_PASSWORDS);
	Queue__ByteList *list;
	cc_err err = CC_OK;

	TRY(store_row_find(x, T_BLOB, &key, &queue__byte_list__descriptor, &list));
	if (list != NULL) {
		ret->passwords = store_row_views(x, list->items, list->n_items);
		ret->password_count = list->n_items;
	}
out:
	return err;
}

static cc_err load_signer(
	struct store_tx *x, const struct store_job_row *j, cc_view key_id, cc_view *ret)
{
	struct store_dbkey key = store_key_name(j->tenant);
	Queue__Signer *signer;
	cc_err err = CC_OK;

	if (key_id.size == 0)
		return CC_OK;
	store_key_add(&key, key_id);
	TRY(store_row_find(x, T_SIGNER, &key, &queue__signer__descriptor, &signer));
	if (signer != NULL)
		*ret = store_row_view(signer->statement);
out:
	return err;
}

/* Claims that may have made a certificate: the next holder asks about them first. */
static cc_err load_prior(
	struct store_tx *x, const struct store_job_row *j, struct store_leased *ret)
{
	struct store_claim_row *claims;
	struct store_prior *prior;
	size_t count;
	cc_err err = CC_OK;

	TRY(store_claims_of(x, j, 0, &claims, &count));
	prior = store_mem_get(x->mem, count * sizeof(*prior));
	for (size_t i = 0; i < count && ret->prior_count < STORE_CLAIMS_MAX; i++) {
		const Queue__ClaimRow *r = claims[i].row;
		if (r->settlement != STORE_UNSETTLED && r->settlement != STORE_IN_DOUBT)
			continue;
		prior[ret->prior_count++] =
			(struct store_prior){claims[i].ca, store_row_view(r->csr_sha256),
				store_row_view(r->spki_sha256), store_row_view(r->txid)};
	}
	ret->prior = prior;
out:
	return err;
}

static cc_err load_job(struct merge *m, const struct store_job_row *j, struct store_leased *ret)
{
	struct store_dbkey document = store_job_part_key(j, PART_DOCUMENT);
	struct store_dbkey pfx = store_job_part_key(j, PART_PFX);
	Queue__JobFacts *facts;
	cc_err err = CC_OK;

	*ret = (struct store_leased){.job_id = j->id,
		.kind = (enum store_kind)j->h->kind,
		.run = j->h->run,
		.lease_ms = m->x->config->lease_ms};
	TRY(store_job_facts(m->x, j, &facts));
	ret->body_sha256 = store_row_view(facts->body_sha256);
	TRY(store_row_find_bytes(m->x, T_BLOB, &document, &ret->document));
	TRY(load_signer(m->x, j, store_row_view(facts->signer_key_id), &ret->signer));
	if (j->h->kind == STORE_REWRAP) {
		TRY(store_row_find_bytes(m->x, T_BLOB, &pfx, &ret->pfx));
		TRY(load_passwords(m->x, j, ret));
	}
	TRY(load_prior(m->x, j, ret));
out:
	return err;
}

static size_t size_of(const struct store_leased *l)
{
	size_t size = l->document.size + l->signer.size + l->pfx.size;
	for (size_t i = 0; i < l->password_count; i++)
		size += l->passwords[i].size;
	return size;
}

static cc_err hand_out(
	struct merge *m, struct store_job_row *j, uint32_t epoch, struct store_leased *ret)
{
	Queue__Attempt attempt = QUEUE__ATTEMPT__INIT;
	Queue__JobHeader *h = j->h;
	cc_err err = CC_OK;

	h->state = STORE_LEASED;
	h->epoch = epoch;
	h->deliveries++;
	h->holder = store_row_borrow(m->in->session.connector);
	h->lease_until_ms = m->x->now + m->x->config->lease_ms;
	h->listed = m->in->session.epoch;
	ret->epoch = h->epoch;
	attempt.connector = h->holder;
	attempt.run = h->run;
	attempt.leased_ms = m->x->now;
	TRY(store_attempt_put(m->x, j, h->epoch, &attempt));
	TRY(store_job_save(m->x, j));
out:
	return err;
}

enum taken { TAKEN, SKIPPED, NO_ROOM };

static cc_err take(struct merge *m, const struct head *head, enum taken *ret)
{
	struct store_job_row j;
	struct store_leased *l = &m->jobs[m->leased];
	uint32_t epoch;
	cc_err err = CC_OK;

	TRY(store_job_find(m->x, m->in->session.tenant, head->job_id, &j));
	ENSURE(j.h != NULL && j.h->state == STORE_READY,
		cc_fail(CC_CORRUPT, "store: ready has a job that is not"));
	*ret = SKIPPED;
	if (j.h->not_after_ms <= m->x->now || excluded(m, j.h))
		return CC_OK;
	TRY(store_epoch_next(m->x, &j, &epoch));
	if (epoch == 0)
		return CC_OK;
	TRY(load_job(m, &j, l));
	size_t size = size_of(l);
	*ret = NO_ROOM;
	if (m->in->max_bytes > 0 && (size > m->in->max_bytes || m->bytes > m->in->max_bytes - size))
		return CC_OK;
	TRY(hand_out(m, &j, epoch, l));
	m->bytes += size;
	m->leased++;
	*ret = TAKEN;
out:
	return err;
}

static cc_err fill(struct merge *m, size_t max_jobs)
{
	struct head *h;
	enum taken taken = SKIPPED;
	cc_err err = CC_OK;

	while (m->leased < max_jobs && (h = pick(m)) != NULL) {
		TRY(take(m, h, &taken));
		if (taken == NO_ROOM)
			break;
		if (taken == SKIPPED && ++m->skips > SKIPS_MAX)
			h->empty = true;
		else
			TRY(next_head(m, h));
	}
out:
	return err;
}

cc_err store_lmdb_lease(
	struct store_tx *x, const struct store_lease_in *in, struct store_lease_out *out)
{
	struct merge m = {.x = x, .in = in};
	size_t max_jobs = in->max_jobs > STORE_LEASE_MAX ? STORE_LEASE_MAX : in->max_jobs;
	bool waits;
	cc_err err = CC_OK;

	out->result = STORE_SUPERSEDED;
	TRY(store_session_current(x, &in->session, &m.session));
	if (m.session == NULL)
		return CC_OK;
	TRY(store_route_server(x, in->session.tenant, in->session.connector, &m.server));
	if (!m.session->resumed || m.session->suspended || m.server.connector == NULL ||
		m.server.connector->disabled) {
		out->result = !m.session->resumed    ? STORE_NOT_RESUMED
			      : m.session->suspended ? STORE_SUSPENDED
						     : STORE_DISABLED;
		return CC_OK;
	}
	TRY(store_restored_waits(x, in->session.tenant, &waits));
	if (waits || m.session->offering) { /* what was finished has to come back first */
		out->result = STORE_EMPTY;
		out->next_ms = waits ? x->s->restored_until_ms - x->now : -1;
		return CC_OK;
	}
	m.jobs = store_mem_get(x->mem, (max_jobs + 1) * sizeof(*m.jobs));
	TRY(find_heads(&m));
	TRY(fill(&m, max_jobs));
	out->jobs = m.jobs;
	out->count = m.leased;
	out->result = m.leased > 0 ? STORE_OK : STORE_EMPTY;
	out->next_ms = m.next_due == 0 ? -1 : m.next_due - x->now;
	if (m.leased > 0) {
		m.session->seen_ms = x->now;
		TRY(store_session_put(x, in->session.tenant, in->session.connector, m.session));
	}
out:
	return err;
}

/* ---- extend ----------------------------------------------------------------------------------- */

static cc_err extend_one(struct store_tx *x, const struct store_session *s,
	const struct store_lease_id *lease, struct store_item_verdict *ret)
{
	struct store_job_row j;
	cc_err err = CC_OK;

	*ret = (struct store_item_verdict){.job_id = lease->job_id, .epoch = lease->epoch};
	TRY(store_session_item(x, s, ret, &j));
	if (ret->result == STORE_KEEP && j.h->state == STORE_LEASED) {
		j.h->lease_until_ms = x->now + x->config->lease_ms;
		ret->lease_ms = x->config->lease_ms;
		TRY(store_job_save(x, &j));
	}
out:
	return err;
}

cc_err store_lmdb_extend(
	struct store_tx *x, const struct store_extend_in *in, struct store_extend_out *out)
{
	struct store_item_verdict *items;
	cc_err err = CC_OK;

	TRY(store_session_items(x, &in->session, in->count, &items, &out->result));
	for (size_t i = 0; items != NULL && i < in->count; i++)
		TRY(extend_one(x, &in->session, &in->leases[i], &items[i]));
	out->items = items;
	out->count = items == NULL ? 0 : in->count;
out:
	return err;
}
