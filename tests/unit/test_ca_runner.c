/*
 * The runner as a process: the test takes the supervisor's part on descriptor 3 and the connector's
 * part on the conversation, an honest one and a hostile one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/runner_rig.h"

/* ---- orders that are carried out ---- */

static void an_order_that_the_keyvault_signed_is_carried_out(void **state)
{
	struct rig *r = *state;
	cc_blob der = take_leaf(submit(r));
	const unsigned char *at = der.data;
	X509 *cert = d2i_X509(NULL, &at, (long)der.size);

	assert_non_null(cert);
	assert_int_equal(X509_verify(cert, X509_get0_pubkey(r->root)), 1);
	X509_free(cert);
	cc_blob_free(&der);
}

static void a_repeated_order_gets_the_same_certificate(void **state)
{
	struct rig *r = *state;
	cc_blob first = take_leaf(submit(r)), second = take_leaf(submit(r));

	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&second)));
	cc_blob_free(&first);
	cc_blob_free(&second);
}

static void the_same_order_twice_at_once_gets_one_certificate(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Certq__SignedDocument *d = sign(r->approval, DOC_ORDER, &o);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Submit s = CA__SUBMIT__INIT;
	cc_blob first, second;

	s.order = d;
	q.op_case = CA__CA_REQUEST__OP_SUBMIT;
	q.submit = &s;
	send_request(r, &q);
	send_request(r, &q);
	first = take_leaf(read_answer(r));
	second = take_leaf(read_answer(r));
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&second)));
	cc_blob_free(&first);
	cc_blob_free(&second);
	codec_free(d);
}

static void a_killed_runner_gives_the_same_certificate_again(void **state)
{
	struct rig *r = *state;
	cc_blob first = take_leaf(submit(r)), second;

	restart_runner(r);
	second = take_leaf(submit(r));
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&second)));
	cc_blob_free(&second);
	second = take_leaf(look_up(r));
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&second)));
	cc_blob_free(&first);
	cc_blob_free(&second);
}

static Ca__CaResult revoke_with(struct rig *r, cc_view der, uint32_t reason)
{
	const unsigned char *at = der.data;
	X509 *cert = d2i_X509(NULL, &at, (long)der.size);
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_REVOKE);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Revoke revoke_op = CA__REVOKE__INIT;
	unsigned char *issuer = NULL;
	int size = i2d_X509_NAME(X509_get_issuer_name(cert), &issuer);
	Ca__CaResult result;
	Ca__CaAnswer *a;

	o.issuer = codec_bytes(cc_view_of(issuer, (size_t)size));
	o.serial = codec_bytes(cc_view_of(serial->data, (size_t)serial->length));
	o.reason = reason;
	revoke_op.order = sign(r->approval, DOC_ORDER, &o);
	q.op_case = CA__CA_REQUEST__OP_REVOKE;
	q.revoke = &revoke_op;
	a = ask(r, &q);
	result = a->result;
	codec_free(a);
	codec_free(revoke_op.order);
	OPENSSL_free(issuer);
	X509_free(cert);
	return result;
}

static void a_revoke_order_puts_the_certificate_on_the_list(void **state)
{
	struct rig *r = *state;
	cc_blob der = take_leaf(submit(r));

	assert_int_equal(revoke_with(r, cc_blob_view(&der), 1), CA__CA_RESULT__CA_DONE);
	cc_blob_free(&der);
}

static void a_certificate_that_is_revoked_already_may_be_revoked_again(void **state)
{
	struct rig *r = *state;
	cc_blob der = take_leaf(submit(r));

	assert_int_equal(revoke_with(r, cc_blob_view(&der), 1), CA__CA_RESULT__CA_DONE);
	assert_int_equal(revoke_with(r, cc_blob_view(&der), 4), CA__CA_RESULT__CA_DONE);
	cc_blob_free(&der);
}

/* OpenSSL takes an entry with the reason removeFromCRL for one that is not revoked. */
static void a_reason_that_takes_off_the_list_is_refused(void **state)
{
	struct rig *r = *state;
	cc_blob der = take_leaf(submit(r));

	assert_int_equal(revoke_with(r, cc_blob_view(&der), 8), CA__CA_RESULT__CA_ORDER_REFUSED);
	cc_blob_free(&der);
}

static void a_request_that_waits_is_polled_with_its_own_cookie(void **state)
{
	struct rig *r = *state;
	cc_blob cookie = take_cookie(submit_to(r, "desk")), again;

	again = take_cookie(poll_order(r, cc_blob_view(&cookie)));
	expect(poll_order(r, cc_view_text("no such cookie")), CA__CA_RESULT__CA_ORDER_REFUSED);
	expect(withdraw_order(r, cc_blob_view(&again)), CA__CA_RESULT__CA_NOT_ISSUED);
	expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
	cc_blob_free(&cookie);
	cc_blob_free(&again);
}

/* ---- orders that are refused ---- */

static void a_request_without_an_order_is_refused(void **state)
{
	assert_refused(*state, submit_document(*state, NULL));
}

static void an_unsigned_order_is_refused(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Certq__SignedDocument d = CERTQ__SIGNED_DOCUMENT__INIT;
	cc_blob body = codec_pack(&o);

	d.body = codec_bytes(cc_blob_view(&body));
	assert_refused(r, submit_document(r, &d));
	cc_blob_free(&body);
}

static void an_order_of_a_foreign_key_is_refused(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	EVP_PKEY *foreign = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	Certq__SignedDocument *d = sign(foreign, DOC_ORDER, &o);
	uint8_t id[SHA256_SIZE];

	assert_refused(r, submit_document(r, d));
	dsse_key_id(cc_blob_view(&r->approval_spki), id); /* and one that claims to be ours */
	memcpy(d->key_id.data, id, SHA256_SIZE);
	assert_refused(r, submit_document(r, d));
	codec_free(d);
	EVP_PKEY_free(foreign);
}

static void an_altered_order_is_refused(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Certq__SignedDocument *d = sign(r->approval, DOC_ORDER, &o);

	d->body.data[d->body.len / 2] ^= 1;
	assert_refused(r, submit_document(r, d));
	codec_free(d);
}

static void a_document_of_another_type_is_refused(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Certq__SignedDocument *d = sign(r->approval, DOC_RESULT, &o);

	assert_refused(r, submit_document(r, d));
	codec_free(d);
}

static void refused_order(struct rig *r, const Vault__Order *o)
{
	assert_refused(r, submit_order(r, o));
}

static void an_expired_order_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_SUBMIT);

	o.not_after_s = clock_realtime_s() - 1;
	refused_order(*state, &o);
}

static void an_order_that_lives_for_days_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_SUBMIT);

	o.not_after_s = clock_realtime_s() + 86400;
	refused_order(*state, &o);
}

static void an_order_for_another_ca_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_SUBMIT);

	o.ca = codec_text("backup-ca");
	refused_order(*state, &o);
}

static void an_order_of_another_version_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_SUBMIT);

	o.version = 2;
	refused_order(*state, &o);
}

static void an_order_for_another_operation_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_POLL);

	refused_order(*state, &o);
	o.op = VAULT__ORDER_OP__ORDER_WITHDRAW;
	refused_order(*state, &o);
	o.op = VAULT__ORDER_OP__ORDER_REVOKE;
	refused_order(*state, &o);
}

static void an_order_with_control_characters_is_refused(void **state)
{
	Vault__Order o = order_for(*state, VAULT__ORDER_OP__ORDER_SUBMIT);
	Vault__Attribute attribute = VAULT__ATTRIBUTE__INIT, *list[] = {&attribute};

	o.template_ = codec_text("user\r\nSAN:upn=admin");
	refused_order(*state, &o);
	o.template_ = codec_text("user");
	attribute.name = codec_text("Friendly");
	attribute.value = codec_text("a\nb");
	o.attributes = list;
	o.n_attributes = 1;
	refused_order(*state, &o);
}

static void a_second_csr_for_the_same_job_is_refused(void **state)
{
	struct rig *r = *state;
	cc_blob first = take_leaf(submit(r)), other = local_rig_csr("mallory", usual), kept;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Ca__CaAnswer *a;

	o.csr = codec_bytes(cc_blob_view(&other));
	a = submit_order(r, &o);
	assert_int_equal(a->result, CA__CA_RESULT__CA_ORDER_REFUSED);
	assert_int_equal(a->n_chain, 0);
	codec_free(a);
	kept = take_leaf(look_up(r));
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&kept)));
	cc_blob_free(&first);
	cc_blob_free(&other);
	cc_blob_free(&kept);
}

static void a_revocation_without_an_order_is_refused(void **state)
{
	struct rig *r = *state;
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Revoke op = CA__REVOKE__INIT;

	q.op_case = CA__CA_REQUEST__OP_REVOKE;
	q.revoke = &op;
	assert_refused(r, ask(r, &q));
}

/* ---- what needs no order ---- */

static void describe_chain_and_health_need_no_order(void **state)
{
	struct rig *r = *state;
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Describe describe = CA__DESCRIBE__INIT;
	Ca__Chain chain = CA__CHAIN__INIT;
	Ca__Health health = CA__HEALTH__INIT;
	Ca__CaAnswer *a;

	q.op_case = CA__CA_REQUEST__OP_DESCRIBE;
	q.describe = &describe;
	a = ask(r, &q);
	assert_int_equal(a->result, CA__CA_RESULT__CA_DONE);
	assert_non_null(a->properties);
	assert_int_equal(a->properties->resubmit, CA__CA_RESUBMIT__RESUBMIT_SAME_CERT);
	assert_true(a->properties->can_revoke);
	assert_true(a->properties->can_withdraw);
	codec_free(a);
	q.op_case = CA__CA_REQUEST__OP_CHAIN;
	q.chain = &chain;
	a = ask(r, &q);
	assert_int_equal(a->result, CA__CA_RESULT__CA_DONE);
	assert_int_equal(a->n_chain, 1);
	codec_free(a);
	q.op_case = CA__CA_REQUEST__OP_HEALTH;
	q.health = &health;
	a = ask(r, &q);
	assert_int_equal(a->result, CA__CA_RESULT__CA_DONE);
	codec_free(a);
}

static void find_knows_nothing_of_a_job_that_was_not_ordered(void **state)
{
	struct rig *r = *state;
	Ca__CaAnswer *a = look_up(r);

	assert_int_equal(a->result, CA__CA_RESULT__CA_NOT_ISSUED);
	codec_free(a);
}

static void a_backend_that_does_not_exist_is_the_cas_health(void **state)
{
	struct rig *r = *state;
	Ca__CaAnswer *a = submit(r);

	assert_int_equal(a->result, CA__CA_RESULT__CA_MISCONFIGURED);
	assert_non_null(memmem(a->reason.data, a->reason.len, "no-such-ca", 10));
	codec_free(a);
}

/* ---- the conversation ---- */

static void a_malformed_request_ends_the_conversation_and_it_is_renewed(void **state)
{
	struct rig *r = *state;
	cc_blob der;

	assert_int_equal(
		chan_write_frame(r->conversation, cc_view_text("\xff\xff\xff"), WAIT_MS), CC_OK);
	assert_cut_off(r);
	pass_conversation(r, 2);
	greet(r, ROLE__ROLE_KIND__ROLE_CONNECTOR, BUILD_ID);
	der = take_leaf(submit(r));
	cc_blob_free(&der);
}

static void a_request_without_an_operation_ends_the_conversation(void **state)
{
	struct rig *r = *state;
	Ca__CaRequest q = CA__CA_REQUEST__INIT;

	send_request(r, &q);
	assert_cut_off(r);
}

static void a_find_of_another_form_ends_the_conversation(void **state)
{
	struct rig *r = *state;
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Find f = CA__FIND__INIT;

	f.tenant = codec_text("con\ntoso");
	q.op_case = CA__CA_REQUEST__OP_FIND;
	q.find = &f;
	send_request(r, &q);
	assert_cut_off(r);
}

static void another_role_is_not_spoken_to(void **state)
{
	struct rig *r = *state;

	pass_conversation(r, 2);
	greet(r, ROLE__ROLE_KIND__ROLE_KEYVAULT, BUILD_ID);
	assert_cut_off(r);
}

static void another_build_is_not_spoken_to(void **state)
{
	struct rig *r = *state;

	pass_conversation(r, 2);
	greet(r, ROLE__ROLE_KIND__ROLE_CONNECTOR, "ffffffffffffffffffffffffffffffff");
	assert_cut_off(r);
}

static void the_runner_ends_when_the_supervisor_is_gone(void **state)
{
	struct rig *r = *state;
	int status = 0;

	close(r->link);
	r->link = -1;
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_order_that_the_keyvault_signed_is_carried_out),
		TEST(a_repeated_order_gets_the_same_certificate),
		TEST(the_same_order_twice_at_once_gets_one_certificate),
		TEST(a_killed_runner_gives_the_same_certificate_again),
		TEST(a_revoke_order_puts_the_certificate_on_the_list),
		TEST(a_certificate_that_is_revoked_already_may_be_revoked_again),
		TEST(a_reason_that_takes_off_the_list_is_refused),
		TEST(a_request_that_waits_is_polled_with_its_own_cookie),
		TEST(a_request_without_an_order_is_refused),
		TEST(an_unsigned_order_is_refused),
		TEST(an_order_of_a_foreign_key_is_refused),
		TEST(an_altered_order_is_refused),
		TEST(a_document_of_another_type_is_refused),
		TEST(an_expired_order_is_refused),
		TEST(an_order_that_lives_for_days_is_refused),
		TEST(an_order_for_another_ca_is_refused),
		TEST(an_order_of_another_version_is_refused),
		TEST(an_order_for_another_operation_is_refused),
		TEST(an_order_with_control_characters_is_refused),
		TEST(a_second_csr_for_the_same_job_is_refused),
		TEST(a_revocation_without_an_order_is_refused),
		TEST(describe_chain_and_health_need_no_order),
		TEST(find_knows_nothing_of_a_job_that_was_not_ordered),
		cmocka_unit_test_setup_teardown(a_backend_that_does_not_exist_is_the_cas_health,
			set_up_unknown_backend, tear_down),
		TEST(a_malformed_request_ends_the_conversation_and_it_is_renewed),
		TEST(a_request_without_an_operation_ends_the_conversation),
		TEST(a_find_of_another_form_ends_the_conversation),
		TEST(another_role_is_not_spoken_to),
		TEST(another_build_is_not_spoken_to),
		TEST(the_runner_ends_when_the_supervisor_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
