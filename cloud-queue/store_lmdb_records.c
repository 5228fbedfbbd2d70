/*
 * The embedded store: what the queue keeps beside jobs: tenants, signers, bearer tokens and imported
 * PFX records.
 */
#include "cloud-queue/store_lmdb.h"

#include "base/hash.h"

enum { RECORD_MAX = 160 * 1024 };

/* ---- tenants ---------------------------------------------------------------------------------- */

static cc_err find_tenant(struct store_tx *x, cc_view name, Queue__Tenant **ret)
{
	struct store_dbkey key = store_key_name(name);
	return store_row_find(x, T_TENANT, &key, &queue__tenant__descriptor, ret);
}

static struct store_tenant describe_tenant(cc_view name, const Queue__Tenant *t)
{
	return (struct store_tenant){.name = name,
		.job_root = store_row_view(t->job_root),
		.max_open_jobs = t->max_open_jobs,
		.max_bytes = t->max_bytes,
		.created_ms = t->created_ms};
}

cc_err store_lmdb_tenant_put(
	struct store_tx *x, const struct store_tenant_put_in *in, struct store_tenant_put_out *out)
{
	struct store_dbkey key = store_key_name(in->tenant.name);
	Queue__Tenant row = QUEUE__TENANT__INIT;
	Queue__Tenant *old;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant.name, &old));
	out->result = STORE_NEW;
	if (old != NULL) {
		bool same_root = cc_view_equal(store_row_view(old->job_root), in->tenant.job_root);
		out->result = STORE_CONFLICT;
		if (!same_root && !in->replace)
			return CC_OK;
		out->result = STORE_SAME;
		if (same_root && old->max_open_jobs == in->tenant.max_open_jobs &&
			old->max_bytes == in->tenant.max_bytes)
			return CC_OK;
		out->result = STORE_OK;
	}
	row.job_root = store_row_borrow(in->tenant.job_root);
	row.max_open_jobs = in->tenant.max_open_jobs;
	row.max_bytes = in->tenant.max_bytes;
	row.created_ms = old != NULL ? old->created_ms : x->now;
	TRY(store_row_put(x, T_TENANT, &key, &row));
out:
	return err;
}

cc_err store_lmdb_tenant_get(
	struct store_tx *x, const struct store_tenant_get_in *in, struct store_tenant_get_out *out)
{
	Queue__Tenant *t;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->name, &t));
	out->result = t == NULL ? STORE_UNKNOWN : STORE_OK;
	if (t != NULL)
		out->tenant = describe_tenant(in->name, t);
out:
	return err;
}

cc_err store_lmdb_tenant_list(struct store_tx *x, const struct store_tenant_list_in *in,
	struct store_tenant_list_out *out)
{
	struct store_dbkey all = {.size = 0};
	struct store_dbkey from = store_key_name(in->after);
	size_t limit = store_row_limit(in->limit);
	struct store_tenant *tenants = store_mem_get(x->mem, limit * sizeof(*tenants));
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_u8(&from, 0); /* the first key behind that name */
	TRY(store_row_scan(
		x, T_TENANT, &all, in->after.size > 0 ? &from : NULL, limit + 1, &rows, &count));
	for (size_t i = 0; i < count && i < limit; i++) {
		cc_view rest = rows[i].key, name;
		Queue__Tenant *t;
		TRY(store_key_take_name(&rest, &name));
		TRY(store_row_unpack(x, &queue__tenant__descriptor, rows[i].value, &t));
		tenants[i] = describe_tenant(name, t);
	}
	out->tenants = tenants;
	out->count = count > limit ? limit : count;
	out->more = count > limit;
	out->result = STORE_OK;
out:
	return err;
}

/* ---- signers ---------------------------------------------------------------------------------- */

static struct store_dbkey signer_key(cc_view tenant, cc_view key_id)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add(&k, key_id);
	return k;
}

static enum store_result judge_revision(
	const Queue__Signer *old, const struct store_signer_put_in *in)
{
	if (old == NULL)
		return STORE_NEW;
	if (in->revision > old->revision)
		return STORE_OK;
	if (in->revision == old->revision &&
		cc_view_equal(store_row_view(old->statement), in->statement))
		return STORE_SAME;
	return STORE_CONFLICT;
}

cc_err store_lmdb_signer_put(
	struct store_tx *x, const struct store_signer_put_in *in, struct store_signer_put_out *out)
{
	struct store_dbkey key = signer_key(in->tenant, in->key_id);
	Queue__Signer row = QUEUE__SIGNER__INIT;
	Queue__Signer *old;
	Queue__Tenant *tenant;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant, &tenant));
	out->result = STORE_UNKNOWN;
	if (tenant == NULL)
		return CC_OK;
	TRY(store_row_find(x, T_SIGNER, &key, &queue__signer__descriptor, &old));
	out->result = judge_revision(old, in);
	if (out->result != STORE_NEW && out->result != STORE_OK)
		return CC_OK;
	row.revision = in->revision;
	row.statement = store_row_borrow(in->statement);
	row.not_after_s = in->not_after_s;
	TRY(store_row_put(x, T_SIGNER, &key, &row));
out:
	return err;
}

cc_err store_lmdb_signer_get(
	struct store_tx *x, const struct store_signer_get_in *in, struct store_signer_get_out *out)
{
	struct store_dbkey key = signer_key(in->tenant, in->key_id);
	Queue__Signer *signer;
	Queue__Tenant *tenant;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant, &tenant));
	TRY(store_row_find(x, T_SIGNER, &key, &queue__signer__descriptor, &signer));
	out->result = signer == NULL || tenant == NULL ? STORE_UNKNOWN : STORE_OK;
	if (tenant != NULL)
		out->job_root = store_row_view(tenant->job_root);
	if (out->result == STORE_OK) {
		out->statement = store_row_view(signer->statement);
		out->revision = signer->revision;
	}
out:
	return err;
}

/* ---- producers' tokens ------------------------------------------------------------------------ */

static cc_err find_token(struct store_tx *x, cc_view sha256, Queue__Token **ret)
{
	struct store_dbkey key = {.size = 0};
	store_key_add(&key, sha256);
	return store_row_find(x, T_TOKEN, &key, &queue__token__descriptor, ret);
}

cc_err store_lmdb_token_put(
	struct store_tx *x, const struct store_token_put_in *in, struct store_token_put_out *out)
{
	struct store_dbkey key = {.size = 0};
	Queue__Token row = QUEUE__TOKEN__INIT;
	Queue__Token *old;
	Queue__Tenant *tenant;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant, &tenant));
	TRY(find_token(x, in->sha256, &old));
	out->result = STORE_UNKNOWN;
	if (tenant == NULL)
		return CC_OK;
	if (old != NULL) {
		out->result = cc_view_equal(store_row_view(old->tenant), in->tenant) &&
					      old->scopes == in->scopes &&
					      old->not_after_s == in->not_after_s
				      ? STORE_SAME
				      : STORE_CONFLICT;
		return CC_OK;
	}
	store_key_add(&key, in->sha256);
	row.tenant = store_row_borrow(in->tenant);
	row.name = store_row_borrow(in->name);
	row.scopes = in->scopes;
	row.not_after_s = in->not_after_s;
	TRY(store_row_put(x, T_TOKEN, &key, &row));
	out->result = STORE_NEW;
out:
	return err;
}

cc_err store_lmdb_token_get(
	struct store_tx *x, const struct store_token_get_in *in, struct store_token_get_out *out)
{
	Queue__Token *t;
	cc_err err = CC_OK;

	TRY(find_token(x, in->sha256, &t));
	out->result = t == NULL ? STORE_UNKNOWN : STORE_OK;
	if (t != NULL) {
		out->tenant = store_row_view(t->tenant);
		out->name = store_row_view(t->name);
		out->scopes = t->scopes;
		out->not_after_s = t->not_after_s;
	}
out:
	return err;
}

cc_err store_lmdb_token_delete(struct store_tx *x, const struct store_token_delete_in *in,
	struct store_token_delete_out *out)
{
	struct store_dbkey key = {.size = 0};
	Queue__Token *t;
	cc_err err = CC_OK;

	store_key_add(&key, in->sha256);
	TRY(find_token(x, in->sha256, &t));
	out->result = t == NULL ? STORE_UNKNOWN : STORE_OK;
	TRY(store_row_delete(x, T_TOKEN, &key));
out:
	return err;
}

/* ---- imported PFX records --------------------------------------------------------------------- */

static struct store_dbkey pfx_key(cc_view tenant, cc_view user, cc_view thumbprint)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add_name(&k, user);
	store_key_add_name(&k, thumbprint);
	return k;
}

static enum store_result judge_pfx(const struct store_pfx_put_in *in, cc_view old)
{
	uint8_t version[SHA256_SIZE];

	if (in->record.size > RECORD_MAX)
		return STORE_TOO_LARGE;
	if (in->mode == STORE_PFX_CREATE)
		return old.size > 0 ? STORE_CONFLICT : STORE_NEW;
	if (old.size == 0)
		return STORE_UNKNOWN;
	hash_sha256(old, version);
	if (in->if_match.size > 0 &&
		!cc_view_equal(in->if_match, cc_view_of(version, sizeof(version))))
		return STORE_CONFLICT;
	return STORE_OK;
}

/* Records count against the tenant's bytes. */
static cc_err charge(
	struct store_tx *x, cc_view name, const Queue__Tenant *t, size_t old, size_t new, bool *ret)
{
	uint64_t max = t->max_bytes > 0 ? t->max_bytes : x->config->max_bytes;
	cc_err err = CC_OK;

	TRY(store_quota_use(x, name));
	*ret = new <= old || x->quota->bytes + (new - old) <= max;
	if (*ret)
		x->quota->bytes = x->quota->bytes + new - old;
out:
	return err;
}

cc_err store_lmdb_pfx_put(
	struct store_tx *x, const struct store_pfx_put_in *in, struct store_pfx_put_out *out)
{
	struct store_dbkey key = pfx_key(in->tenant, in->user, in->thumbprint);
	Queue__Tenant *tenant;
	cc_view old;
	bool fits;
	cc_err err = CC_OK;

	TRY(find_tenant(x, in->tenant, &tenant));
	TRY(store_row_find_bytes(x, T_PFX, &key, &old));
	TRY(store_repeat_judge(x, in->tenant, &in->repeat, &out->result));
	if (out->result != STORE_RESULT_NONE)
		return CC_OK;
	out->result = tenant == NULL ? STORE_UNKNOWN : judge_pfx(in, old);
	if (out->result != STORE_NEW && out->result != STORE_OK)
		return CC_OK;
	TRY(charge(x, in->tenant, tenant, old.size, in->record.size, &fits));
	if (!fits) {
		out->result = STORE_QUOTA;
		return CC_OK;
	}
	TRY(store_row_put_bytes(x, T_PFX, &key, in->record));
	TRY(store_repeat_note(x, in->tenant, &in->repeat));
out:
	return err;
}

cc_err store_lmdb_pfx_get(
	struct store_tx *x, const struct store_pfx_get_in *in, struct store_pfx_get_out *out)
{
	struct store_dbkey key = pfx_key(in->tenant, in->user, in->thumbprint);
	cc_err err = CC_OK;

	TRY(store_row_find_bytes(x, T_PFX, &key, &out->record));
	out->result = out->record.size == 0 ? STORE_UNKNOWN : STORE_OK;
	if (out->record.size > 0)
		hash_sha256(out->record, out->version);
out:
	return err;
}

cc_err store_lmdb_pfx_delete(
	struct store_tx *x, const struct store_pfx_delete_in *in, struct store_pfx_delete_out *out)
{
	struct store_dbkey key = pfx_key(in->tenant, in->user, in->thumbprint);
	cc_view old;
	cc_err err = CC_OK;

	TRY(store_row_find_bytes(x, T_PFX, &key, &old));
	out->result = old.size == 0 ? STORE_UNKNOWN : STORE_OK;
	if (old.size == 0)
		return CC_OK;
	TRY(store_quota_use(x, in->tenant));
	x->quota->bytes -= old.size;
	TRY(store_row_delete(x, T_PFX, &key));
out:
	return err;
}

cc_err store_lmdb_pfx_list(
	struct store_tx *x, const struct store_pfx_list_in *in, struct store_pfx_list_out *out)
{
	struct store_dbkey prefix = store_key_name(in->tenant);
	struct store_dbkey from = pfx_key(in->tenant, in->after_user, in->after_thumbprint);
	size_t limit = store_row_limit(in->limit);
	cc_view *records = store_mem_get(x->mem, limit * sizeof(*records));
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	if (in->user.size > 0)
		store_key_add_name(&prefix, in->user);
	store_key_add_u8(&from, 0);
	TRY(store_row_scan(x, T_PFX, &prefix, in->after_user.size > 0 ? &from : NULL, limit + 1,
		&rows, &count));
	for (size_t i = 0; i < count && i < limit; i++)
		records[i] = rows[i].value;
	out->records = records;
	out->count = count > limit ? limit : count;
	out->more = count > limit;
	out->result = STORE_OK;
out:
	return err;
}
