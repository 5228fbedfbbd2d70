/*
 * The store's contract for what is kept beside jobs: tenants, signers, tokens, connectors, records.
 */
#include "tests/support/store_rig_jobs.h"

static char got[8][128];
static size_t got_count;
static uint8_t got_version[STORE_DIGEST_SIZE];

static void take_text(cc_view v)
{
	assert_true(got_count < 8 && v.size < 128);
	if (v.size > 0)
		memcpy(got[got_count], v.data, v.size);
	got[got_count++][v.size] = '\0';
}

static void rig_keep_tenant_get(struct rig *r, const struct store_tenant_get_out *out)
{
	(void)r;
	got_count = 0;
	take_text(out->tenant.job_root);
}

static void rig_keep_tenant_list(struct rig *r, const struct store_tenant_list_out *out)
{
	(void)r;
	got_count = 0;
	for (size_t i = 0; i < out->count; i++)
		take_text(out->tenants[i].name);
}

static void rig_keep_signer_get(struct rig *r, const struct store_signer_get_out *out)
{
	(void)r;
	got_count = 0;
	take_text(out->statement);
	take_text(out->job_root);
}

static void rig_keep_token_get(struct rig *r, const struct store_token_get_out *out)
{
	(void)r;
	got_count = 0;
	take_text(out->tenant);
	take_text(out->name);
}

static void rig_keep_enrol_get(struct rig *r, const struct store_enrol_get_out *out)
{
	(void)r;
	got_count = 0;
	take_text(out->connector);
	take_text(out->secret);
	for (size_t i = 0; i < out->group_count; i++)
		take_text(out->groups[i]);
}

static void rig_keep_connector_get(struct rig *r, const struct store_connector_get_out *out)
{
	const struct store_connector *c = &out->connector;
	(void)r;
	got_count = 0;
	take_text(c->result_spki);
	take_text(c->software);
	for (size_t i = 0; i < c->ca_profile_count; i++)
		take_text(c->ca_profiles[i]);
	for (size_t i = 0; i < c->key_count; i++)
		take_text(c->keys[i].spki);
}

static void rig_keep_connector_list(struct rig *r, const struct store_connector_list_out *out)
{
	(void)r;
	got_count = 0;
	for (size_t i = 0; i < out->count; i++)
		take_text(out->connectors[i].id);
}

static void rig_keep_pfx_get(struct rig *r, const struct store_pfx_get_out *out)
{
	(void)r;
	got_count = 0;
	take_text(out->record);
	memcpy(got_version, out->version, sizeof(got_version));
}

static void rig_keep_pfx_list(struct rig *r, const struct store_pfx_list_out *out)
{
	(void)r;
	got_count = 0;
	for (size_t i = 0; i < out->count; i++)
		take_text(out->records[i]);
}

RIG_CALL(tenant_get)
RIG_CALL(tenant_list)
RIG_PLAIN(signer_put)
RIG_CALL(signer_get)
RIG_PLAIN(token_put)
RIG_CALL(token_get)
RIG_PLAIN(token_delete)
RIG_PLAIN(enrol_put)
RIG_CALL(enrol_get)
RIG_PLAIN(enrol_use)
RIG_CALL(connector_get)
RIG_CALL(connector_list)
RIG_PLAIN(pfx_put)
RIG_CALL(pfx_get)
RIG_PLAIN(pfx_delete)
RIG_CALL(pfx_list)

/* ---- tenants and signers ---------------------------------------------------------------------------- */

static void another_job_root_replaces_only_when_asked(void **state)
{
	struct rig *r = *state;
	struct store_tenant_put_in in = {.tenant = {.name = T, .job_root = cc_view_text("root")}};

	assert_int_equal(rig_tenant_put(r, in).result, STORE_SAME);
	in.tenant.job_root = cc_view_text("other");
	assert_int_equal(rig_tenant_put(r, in).result, STORE_CONFLICT);
	assert_int_equal(rig_tenant_get(r, (struct store_tenant_get_in){T}).result, STORE_OK);
	assert_string_equal(got[0], "root");
	in.replace = true;
	assert_int_equal(rig_tenant_put(r, in).result, STORE_OK);
	rig_tenant_get(r, (struct store_tenant_get_in){T});
	assert_string_equal(got[0], "other");
	assert_int_equal(
		rig_tenant_get(r, (struct store_tenant_get_in){cc_view_text("nobody")}).result,
		STORE_UNKNOWN);
}

static void tenants_are_listed_in_pages(void **state)
{
	struct rig *r = *state;
	struct store_tenant_list_in in = {.limit = 2};

	rig_tenant_put(
		r, (struct store_tenant_put_in){.tenant = {.name = cc_view_text("adatum1")}});
	rig_tenant_put(
		r, (struct store_tenant_put_in){.tenant = {.name = cc_view_text("fabrika")}});
	struct store_tenant_list_out out = rig_tenant_list(r, in);
	assert_int_equal(out.count, 2);
	assert_true(out.more);
	assert_string_equal(got[1], "contoso");
	in.after = T;
	out = rig_tenant_list(r, in);
	assert_int_equal(out.count, 1);
	assert_false(out.more);
	assert_string_equal(got[0], "fabrika");
}

static void an_older_statement_of_a_signer_is_a_conflict(void **state)
{
	struct rig *r = *state;
	struct store_signer_put_in in = {.tenant = T,
		.key_id = rig_digest(1),
		.revision = 5,
		.statement = cc_view_text("five")};
	struct store_signer_get_in get = {T, rig_digest(1)};

	assert_int_equal(rig_signer_get(r, get).result, STORE_UNKNOWN);
	assert_string_equal(got[1], "root");
	assert_int_equal(rig_signer_put(r, in).result, STORE_NEW);
	assert_int_equal(rig_signer_put(r, in).result, STORE_SAME);
	in.statement = cc_view_text("other five");
	assert_int_equal(rig_signer_put(r, in).result, STORE_CONFLICT);
	in.revision = 4;
	assert_int_equal(rig_signer_put(r, in).result, STORE_CONFLICT);
	in.revision = 6;
	in.statement = cc_view_text("six");
	assert_int_equal(rig_signer_put(r, in).result, STORE_OK);
	assert_int_equal(rig_signer_get(r, get).revision, 6);
	assert_string_equal(got[0], "six");
	in.tenant = cc_view_text("nobody");
	assert_int_equal(rig_signer_put(r, in).result, STORE_UNKNOWN);
}

static void a_job_travels_with_the_newest_statement_of_its_signer(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	struct store_signer_put_in signer = {.tenant = T,
		.key_id = rig_digest(1),
		.revision = 1,
		.statement = cc_view_text("first")};

	rig_connect(r, &c, HQ1);
	in.signer_key_id = rig_digest(1);
	assert_int_equal(rig_signer_put(r, signer).result, STORE_NEW);
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	signer.revision = 2;
	signer.statement = cc_view_text("the second");
	assert_int_equal(rig_signer_put(r, signer).result, STORE_OK);
	rig_take_one(r, &c, 1);
	assert_int_equal(r->items[0].signer, strlen("the second"));
}

/* ---- tokens ----------------------------------------------------------------------------------------- */

static void a_bearer_token_is_found_by_its_digest_until_it_is_deleted(void **state)
{
	struct rig *r = *state;
	struct store_token_put_in in = {.sha256 = rig_digest(1),
		.tenant = T,
		.name = cc_view_text("mdm"),
		.scopes = STORE_SCOPE_JOBS_WRITE,
		.not_after_s = 99};
	struct store_token_get_in get = {rig_digest(1)};

	assert_int_equal(rig_token_put(r, in).result, STORE_NEW);
	assert_int_equal(rig_token_put(r, in).result, STORE_SAME);
	in.scopes = STORE_SCOPE_JOBS_READ;
	assert_int_equal(rig_token_put(r, in).result, STORE_CONFLICT);
	struct store_token_get_out out = rig_token_get(r, get);
	assert_int_equal(out.result, STORE_OK);
	assert_int_equal(out.scopes, STORE_SCOPE_JOBS_WRITE);
	assert_int_equal(out.not_after_s, 99);
	assert_string_equal(got[0], "contoso");
	assert_string_equal(got[1], "mdm");
	assert_int_equal(rig_token_delete(r, (struct store_token_delete_in){rig_digest(1)}).result,
		STORE_OK);
	assert_int_equal(rig_token_get(r, get).result, STORE_UNKNOWN);
	assert_int_equal(rig_token_delete(r, (struct store_token_delete_in){rig_digest(1)}).result,
		STORE_UNKNOWN);
}

static void an_enrolment_token_is_used_once_and_by_the_same_request_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c = {.name = HQ1};
	cc_view groups[2] = {cc_view_text("hq"), cc_view_text("lab")};
	int64_t now_s = store_now_ms(r->store) / 1000;
	struct store_enrol_put_in put = {.token_id = cc_view_text("tok"),
		.tenant = T,
		.connector = HQ1,
		.groups = groups,
		.group_count = 2,
		.secret = cc_view_text("one-time"),
		.not_after_s = now_s + 60};
	struct store_enrol_use_in use = {.token_id = cc_view_text("tok"),
		.request_sha256 = rig_digest(1),
		.result_spki = cc_view_text("result key"),
		.certificate_sha256 = rig_digest(2),
		.now_s = now_s};

	assert_int_equal(rig_enrol_use(r, use).result, STORE_UNKNOWN);
	assert_int_equal(rig_enrol_put(r, put).result, STORE_NEW);
	assert_int_equal(rig_enrol_put(r, put).result, STORE_CONFLICT);
	struct store_enrol_get_out out =
		rig_enrol_get(r, (struct store_enrol_get_in){put.token_id});
	assert_int_equal(out.result, STORE_OK);
	assert_false(out.used);
	assert_string_equal(got[0], "hq-1");
	assert_string_equal(got[1], "one-time");
	assert_string_equal(got[3], "lab");
	assert_int_equal(rig_dial(r, &c).result, STORE_UNKNOWN);
	use.now_s = now_s + 61;
	assert_int_equal(rig_enrol_use(r, use).result, STORE_EXPIRED);
	use.now_s = now_s;
	assert_int_equal(rig_enrol_use(r, use).result, STORE_OK);
	c.certificate = 2;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	assert_int_equal(rig_enrol_use(r, use).result, STORE_SAME);
	assert_true(rig_enrol_get(r, (struct store_enrol_get_in){put.token_id}).used);
	use.request_sha256 = rig_digest(3);
	assert_int_equal(rig_enrol_use(r, use).result, STORE_USED);
}

static void a_used_token_is_worth_nothing_after_the_next_enrolment(void **state)
{
	struct rig *r = *state;
	int64_t now_s = store_now_ms(r->store) / 1000;
	struct store_enrol_put_in put = {.token_id = cc_view_text("old"),
		.tenant = T,
		.connector = HQ1,
		.secret = cc_view_text("one-time"),
		.not_after_s = now_s + 60};
	struct store_enrol_use_in old = {.token_id = cc_view_text("old"),
		.request_sha256 = rig_digest(1),
		.result_spki = cc_view_text("result key"),
		.certificate_sha256 = rig_digest(2),
		.now_s = now_s};
	struct store_enrol_use_in new = old;

	assert_int_equal(rig_enrol_put(r, put).result, STORE_NEW);
	put.token_id = new.token_id = cc_view_text("new");
	assert_int_equal(rig_enrol_put(r, put).result, STORE_NEW);
	new.request_sha256 = rig_digest(3);
	assert_int_equal(rig_enrol_use(r, old).result, STORE_OK);
	assert_int_equal(rig_enrol_use(r, new).result, STORE_OK);
	assert_int_equal(rig_enrol_use(r, old).result, STORE_UNKNOWN);
	assert_int_equal(rig_enrol_use(r, new).result, STORE_SAME);
}

static void an_expired_enrolment_token_is_forgotten_with_its_secret(void **state)
{
	struct rig *r = *state;
	struct store_enrol_put_in put = {.token_id = cc_view_text("tok"),
		.tenant = T,
		.connector = HQ1,
		.secret = cc_view_text("one-time"),
		.not_after_s = store_now_ms(r->store) / 1000 + 60};

	assert_int_equal(rig_enrol_put(r, put).result, STORE_NEW);
	rig_pass(r, (int64_t)25 * 3600 * 1000);
	rig_sweep_all(r);
	assert_int_equal(
		rig_enrol_get(r, (struct store_enrol_get_in){put.token_id}).result, STORE_UNKNOWN);
}

/* ---- connectors ------------------------------------------------------------------------------------- */

static void a_connector_shows_what_it_said_of_itself(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view profile = cc_view_text("corp-user");
	struct store_key key = {rig_digest(5), cc_view_text("a key")};
	struct store_connector_get_in get = {T, HQ1};

	assert_int_equal(rig_connector_get(r, get).result, STORE_UNKNOWN);
	rig_connect(r, &c, HQ1);
	rig_set_capabilities(r, (struct store_set_capabilities_in){.session = c.s,
					.kinds = STORE_KIND_BIT(STORE_ISSUE),
					.ca_profiles = &profile,
					.ca_profile_count = 1,
					.keys = &key,
					.key_count = 1});
	struct store_connector_get_out out = rig_connector_get(r, get);
	assert_int_equal(out.result, STORE_OK);
	assert_true(out.connector.online);
	assert_false(out.connector.disabled);
	assert_int_equal(out.connector.kinds, STORE_KIND_BIT(STORE_ISSUE));
	assert_string_equal(got[0], "result key");
	assert_string_equal(got[2], "corp-user");
	assert_string_equal(got[3], "a key");
	rig_hang_up(r, &c);
	assert_false(rig_connector_get(r, get).connector.online);
}

static void enrolling_again_starts_the_identity_afresh(void **state)
{
	struct rig *r = *state;
	struct rig_conn old, new;

	rig_connect(r, &old, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &old, 1);
	rig_enrol(r, &new, HQ1);
	assert_int_equal(
		rig_lease(r, (struct store_lease_in){old.s, 1, 0}).result, STORE_SUPERSEDED);
	assert_int_equal(rig_dial(r, &new).result, STORE_OK);
	assert_true(new.s.epoch > old.s.epoch);
	assert_int_equal(rig_dial(r, &old).result, STORE_IDENTITY_CONFLICT);
	assert_int_equal(rig_resume(r, &new, NULL, 0).requeued, 1);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
}

static void connectors_are_listed_in_pages(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_connector_list_in in = {.tenant = T, .limit = 1};

	rig_enrol(r, &c, HQ1);
	rig_enrol(r, &c, HQ2);
	assert_true(rig_connector_list(r, in).more);
	assert_string_equal(got[0], "hq-1");
	in.after = HQ1;
	assert_false(rig_connector_list(r, in).more);
	assert_string_equal(got[0], "hq-2");
	assert_int_equal(rig_connector_set(r, (struct store_connector_set_in){.tenant = T,
						      .id = cc_view_text("hq-9")})
				 .result,
		STORE_UNKNOWN);
}

/* ---- imported PFX records --------------------------------------------------------------------------- */

static struct store_pfx_put_in record(const char *user, const char *thumbprint, const char *text)
{
	return (struct store_pfx_put_in){.tenant = T,
		.user = cc_view_text(user),
		.thumbprint = cc_view_text(thumbprint),
		.record = cc_view_text(text)};
}

static void a_record_is_created_once_and_replaced_by_its_version(void **state)
{
	struct rig *r = *state;
	struct store_pfx_put_in in = record("ann", "ab01", "one");
	struct store_pfx_get_in get = {T, in.user, in.thumbprint};

	in.mode = STORE_PFX_REPLACE;
	assert_int_equal(rig_pfx_put(r, in).result, STORE_UNKNOWN);
	in.mode = STORE_PFX_CREATE;
	assert_int_equal(rig_pfx_put(r, in).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, in).result, STORE_CONFLICT);
	assert_int_equal(rig_pfx_get(r, get).result, STORE_OK);
	assert_string_equal(got[0], "one");
	in = record("ann", "ab01", "two");
	in.mode = STORE_PFX_REPLACE;
	in.if_match = rig_digest(1);
	assert_int_equal(rig_pfx_put(r, in).result, STORE_CONFLICT);
	in.if_match = cc_view_of(got_version, sizeof(got_version));
	assert_int_equal(rig_pfx_put(r, in).result, STORE_OK);
	rig_pfx_get(r, get);
	assert_string_equal(got[0], "two");
	assert_int_equal(
		rig_pfx_delete(r, (struct store_pfx_delete_in){T, in.user, in.thumbprint}).result,
		STORE_OK);
	assert_int_equal(rig_pfx_get(r, get).result, STORE_UNKNOWN);
	assert_int_equal(
		rig_pfx_delete(r, (struct store_pfx_delete_in){T, in.user, in.thumbprint}).result,
		STORE_UNKNOWN);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).bytes, 0);
}

static void records_are_listed_by_user_and_in_pages(void **state)
{
	struct rig *r = *state;
	struct store_pfx_list_in in = {.tenant = T, .user = cc_view_text("ann"), .limit = 2};

	assert_int_equal(rig_pfx_put(r, record("ann", "01", "a1")).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, record("ann", "02", "a2")).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, record("ann", "03", "a3")).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, record("anna", "01", "b1")).result, STORE_NEW);
	struct store_pfx_list_out out = rig_pfx_list(r, in);
	assert_int_equal(out.count, 2);
	assert_true(out.more);
	in.after_user = cc_view_text("ann");
	in.after_thumbprint = cc_view_text("02");
	out = rig_pfx_list(r, in);
	assert_int_equal(out.count, 1);
	assert_false(out.more);
	assert_string_equal(got[0], "a3");
	in = (struct store_pfx_list_in){.tenant = T, .limit = 10};
	assert_int_equal(rig_pfx_list(r, in).count, 4);
}

static void records_count_against_the_tenants_bytes(void **state)
{
	struct rig *r = *state;

	rig_tenant_put(r,
		(struct store_tenant_put_in){
			.tenant = {.name = T, .job_root = cc_view_text("root"), .max_bytes = 4}});
	assert_int_equal(rig_pfx_put(r, record("ann", "01", "four")).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, record("ann", "02", "x")).result, STORE_QUOTA);
	assert_int_equal(rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE)).result, STORE_QUOTA);
}

/* ---- idempotency keys ---- */

static struct store_pfx_put_in repeatable(const char *thumbprint, const char *key, uint8_t digest)
{
	struct store_pfx_put_in in = record("ann", thumbprint, "one");

	in.repeat = (struct store_repeat){cc_view_text(key), rig_digest(digest)};
	return in;
}

static void an_idempotency_key_is_kept_for_seven_days(void **state)
{
	struct rig *r = *state;
	struct store_pfx_put_in in = repeatable("01", "k-1", 1);

	assert_int_equal(rig_pfx_put(r, in).result, STORE_NEW);
	rig_reopen(r);
	rig_pass(r, 7 * 86400 * INT64_C(1000) - 60000);
	rig_sweep_all(r);
	assert_int_equal(rig_pfx_put(r, in).result, STORE_SAME);
	assert_int_equal(rig_pfx_put(r, repeatable("02", "k-1", 2)).result, STORE_KEY_TAKEN);
	rig_pass(r, 120000);
	assert_int_equal(rig_pfx_put(r, in).result, STORE_CONFLICT); /* not swept yet, but over */
	rig_sweep_all(r);
	assert_int_equal(rig_pfx_put(r, repeatable("02", "k-1", 2)).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, repeatable("02", "k-1", 2)).result, STORE_SAME);
}

static void a_key_is_not_spent_on_what_was_refused(void **state)
{
	struct rig *r = *state;
	struct store_pfx_put_in in = repeatable("01", "k-1", 1);

	in.mode = STORE_PFX_REPLACE;
	assert_int_equal(rig_pfx_put(r, in).result, STORE_UNKNOWN);
	assert_int_equal(rig_pfx_put(r, repeatable("02", "k-1", 2)).result, STORE_NEW);
	assert_int_equal(rig_pfx_put(r, repeatable("01", "k-1", 1)).result, STORE_KEY_TAKEN);
}

static void keys_of_two_tenants_are_apart(void **state)
{
	struct rig *r = *state;
	struct store_pfx_put_in in = repeatable("01", "k-1", 1);

	assert_int_equal(rig_pfx_put(r, in).result, STORE_NEW);
	rig_tenant_put(r, (struct store_tenant_put_in){.tenant = {.name = cc_view_text("other"),
							       .job_root = cc_view_text("root")}});
	in.tenant = cc_view_text("other");
	in.repeat.request_sha256 = rig_digest(2);
	assert_int_equal(rig_pfx_put(r, in).result, STORE_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(another_job_root_replaces_only_when_asked),
		RIG_TEST(tenants_are_listed_in_pages),
		RIG_TEST(an_older_statement_of_a_signer_is_a_conflict),
		RIG_TEST(a_job_travels_with_the_newest_statement_of_its_signer),
		RIG_TEST(a_bearer_token_is_found_by_its_digest_until_it_is_deleted),
		RIG_TEST(an_enrolment_token_is_used_once_and_by_the_same_request_again),
		RIG_TEST(a_used_token_is_worth_nothing_after_the_next_enrolment),
		RIG_TEST(an_expired_enrolment_token_is_forgotten_with_its_secret),
		RIG_TEST(a_connector_shows_what_it_said_of_itself),
		RIG_TEST(enrolling_again_starts_the_identity_afresh),
		RIG_TEST(connectors_are_listed_in_pages),
		RIG_TEST(a_record_is_created_once_and_replaced_by_its_version),
		RIG_TEST(records_are_listed_by_user_and_in_pages),
		RIG_TEST(records_count_against_the_tenants_bytes),
		RIG_TEST(an_idempotency_key_is_kept_for_seven_days),
		RIG_TEST(a_key_is_not_spent_on_what_was_refused),
		RIG_TEST(keys_of_two_tenants_are_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
