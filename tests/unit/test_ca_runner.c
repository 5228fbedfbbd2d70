/*
 * The runner as a process: the test takes the supervisor's part on descriptor 3 and the connector's
 * part on the conversation, an honest one and a hostile one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/chan.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "ca-backends/ca_backend.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include "proto/greeting.h"
#include "proto/role_link.h"
#include "tests/support/local_rig.h"
#include "vault/v1/vault.pb-c.h"
#include <fcntl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS  30000
#define BUILD_ID "0123456789abcdef0123456789abcdef"

struct rig {
	struct local_rig files;
	EVP_PKEY *approval;
	cc_blob approval_spki;
	pid_t pid;
	int link;
	int conversation;
	uint64_t request_id;
	const char *backend;
	cc_blob csr;
	X509 *root;
};

/* ---- the supervisor's part ---- */

static void send_link(const struct rig *r, const Role__LinkMessage *m, const int *fds, size_t count)
{
	cc_blob packet = codec_pack(m);

	assert_int_equal(link_send(r->link, cc_blob_view(&packet), fds, count), CC_OK);
	cc_blob_free(&packet);
}

static void send_setup(const struct rig *r)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Setup s = ROLE__SETUP__INIT;
	Role__RunnerSetup runner = ROLE__RUNNER_SETUP__INIT;
	Role__Option option = ROLE__OPTION__INIT, *options[] = {&option};
	char *descriptors[] = {(char *)(uintptr_t) "approval-key", (char *)(uintptr_t) "ca-secret"};
	int fds[2];

	option.name = (char *)(uintptr_t) "templates.user.eku";
	option.value = (char *)(uintptr_t) "1.3.6.1.5.5.7.3.2";
	runner.ca_name = (char *)(uintptr_t) "corp-ca";
	runner.backend = (char *)(uintptr_t)r->backend;
	runner.options = options;
	runner.n_options = 1;
	s.protocol = 1;
	s.build_id = (char *)(uintptr_t)BUILD_ID;
	s.role = ROLE__ROLE_KIND__ROLE_CA_RUNNER;
	s.name = (char *)(uintptr_t) "corp-ca";
	s.state_dir = r->files.state_dir;
	s.log_format = (char *)(uintptr_t) "logfmt";
	s.log_level = 4;
	s.descriptors = descriptors;
	s.n_descriptors = 2;
	s.runner = &runner;
	m.body_case = ROLE__LINK_MESSAGE__BODY_SETUP;
	m.setup = &s;
	assert_int_equal(file_memfd("key", cc_blob_view(&r->approval_spki), &fds[0]), CC_OK);
	assert_int_equal(file_open(r->files.secret_path, FILE_SECRET, &fds[1]), CC_OK);
	send_link(r, &m, fds, 2);
	close(fds[0]);
	close(fds[1]);
}

/* The next message of this kind; others (Alive) are passed over. */
static void wait_link(const struct rig *r, Role__LinkMessage__BodyCase what)
{
	int64_t until = clock_boottime_ms() + WAIT_MS;
	bool found = false;

	while (!found) {
		struct pollfd p = {.fd = r->link, .events = POLLIN};
		cc_blob packet = CC_BLOB_NONE;
		Role__LinkMessage *m = NULL;
		int fds[LINK_FDS_MAX];
		size_t count = 0;
		assert_true(clock_boottime_ms() < until);
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_int_equal(link_receive(r->link, &packet, fds, &count), CC_OK);
		assert_int_equal(codec_decode(&role__link_message__descriptor,
					 cc_blob_view(&packet), LINK_PACKET_MAX, &m),
			CC_OK);
		found = m->body_case == what;
		codec_free(m);
		cc_blob_free(&packet);
	}
}

static void start_runner(struct rig *r)
{
	int fds[2];

	assert_int_equal(link_pair(fds), CC_OK);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		dup2(fds[1], LINK_FD);
		_exit(runner_role_main());
	}
	close(fds[1]);
	r->link = fds[0];
	send_setup(r);
	wait_link(r, ROLE__LINK_MESSAGE__BODY_READY);
}

static int wait_exit(struct rig *r)
{
	int status = 0;

	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	close(r->link);
	r->link = -1;
	return status;
}

static void stop_runner(struct rig *r)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Stop s = ROLE__STOP__INIT;

	m.body_case = ROLE__LINK_MESSAGE__BODY_STOP;
	m.stop = &s;
	send_link(r, &m, NULL, 0);
	assert_int_equal(wait_exit(r), 0);
}

static void pass_conversation(struct rig *r, uint64_t serial)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Conversation c = ROLE__CONVERSATION__INIT;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	c.peer = ROLE__ROLE_KIND__ROLE_CONNECTOR;
	c.peer_name = (char *)(uintptr_t) "connector";
	c.serial = serial;
	m.body_case = ROLE__LINK_MESSAGE__BODY_CONVERSATION;
	m.conversation = &c;
	send_link(r, &m, &fds[1], 1);
	close(fds[1]);
	if (r->conversation >= 0)
		close(r->conversation);
	r->conversation = fds[0];
}

/* ---- the connector's part ---- */

static void greet(struct rig *r, Role__RoleKind role, const char *build_id)
{
	cc_blob ours = greeting_pack(role, "connector", build_id), theirs = CC_BLOB_NONE;

	assert_int_equal(chan_write_frame(r->conversation, cc_blob_view(&ours), WAIT_MS), CC_OK);
	assert_int_equal(chan_read_frame(r->conversation, 4096, WAIT_MS, &theirs), CC_OK);
	assert_int_equal(greeting_check(cc_blob_view(&theirs), ROLE__ROLE_KIND__ROLE_CA_RUNNER,
				 "corp-ca", BUILD_ID),
		CC_OK);
	cc_blob_free(&ours);
	cc_blob_free(&theirs);
}

static void connect_runner(struct rig *r)
{
	pass_conversation(r, 1);
	greet(r, ROLE__ROLE_KIND__ROLE_CONNECTOR, BUILD_ID);
}

static void send_request(struct rig *r, Ca__CaRequest *q)
{
	cc_blob frame;

	q->request_id = ++r->request_id;
	frame = codec_pack(q);
	assert_int_equal(chan_write_frame(r->conversation, cc_blob_view(&frame), WAIT_MS), CC_OK);
	cc_blob_free(&frame);
}

static Ca__CaAnswer *read_answer(struct rig *r)
{
	cc_blob frame = CC_BLOB_NONE;
	Ca__CaAnswer *a = NULL;

	assert_int_equal(chan_read_frame(r->conversation, CHAN_FRAME_MAX, WAIT_MS, &frame), CC_OK);
	assert_int_equal(
		codec_decode(&ca__ca_answer__descriptor, cc_blob_view(&frame), CHAN_FRAME_MAX, &a),
		CC_OK);
	cc_blob_free(&frame);
	return a;
}

static Ca__CaAnswer *ask(struct rig *r, Ca__CaRequest *q)
{
	Ca__CaAnswer *a;

	send_request(r, q);
	a = read_answer(r);
	assert_int_equal(a->request_id, r->request_id);
	return a;
}

/* The runner cut the conversation off. */
static void assert_cut_off(struct rig *r)
{
	cc_blob frame = CC_BLOB_NONE;

	assert_int_equal(
		chan_read_frame(r->conversation, CHAN_FRAME_MAX, WAIT_MS, &frame), CC_CLOSED);
	wait_link(r, ROLE__LINK_MESSAGE__BODY_CONVERSATION_LOST);
}

/* ---- the keyvault's part ---- */

static uint8_t job_id[16] = {7, 7, 7};

static Vault__Order order_for(const struct rig *r, Vault__OrderOp op)
{
	Vault__Order o = VAULT__ORDER__INIT;

	o.version = 1;
	o.op = op;
	o.tenant = codec_text("contoso");
	o.job_id = codec_bytes(cc_view_of(job_id, sizeof(job_id)));
	o.ca = codec_text("corp-ca");
	o.not_after_s = clock_realtime_s() + 600;
	if (op != VAULT__ORDER_OP__ORDER_REVOKE) {
		o.template_ = codec_text("user");
		o.csr = codec_bytes(cc_blob_view(&r->csr));
		o.validity_s = 86400;
	}
	return o;
}

static Certq__SignedDocument *sign(EVP_PKEY *key, const char *type, const Vault__Order *o)
{
	cc_blob body = codec_pack(o);
	Certq__SignedDocument *d = NULL;

	assert_int_equal(dsse_sign(key, type, cc_blob_view(&body), &d), CC_OK);
	cc_blob_free(&body);
	return d;
}

static Ca__CaAnswer *submit_document(struct rig *r, Certq__SignedDocument *d)
{
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Submit s = CA__SUBMIT__INIT;

	s.order = d;
	q.op_case = CA__CA_REQUEST__OP_SUBMIT;
	q.submit = &s;
	return ask(r, &q);
}

static Ca__CaAnswer *submit_order(struct rig *r, const Vault__Order *o)
{
	Certq__SignedDocument *d = sign(r->approval, DOC_ORDER, o);
	Ca__CaAnswer *a = submit_document(r, d);

	codec_free(d);
	return a;
}

static Ca__CaAnswer *submit(struct rig *r)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);

	return submit_order(r, &o);
}

static Ca__CaAnswer *look_up(struct rig *r)
{
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Find f = CA__FIND__INIT;
	uint8_t digest[SHA256_SIZE];

	hash_sha256(cc_blob_view(&r->csr), digest);
	f.tenant = codec_text("contoso");
	f.job_id = codec_bytes(cc_view_of(job_id, sizeof(job_id)));
	f.csr_sha256 = codec_bytes(cc_view_of(digest, sizeof(digest)));
	q.op_case = CA__CA_REQUEST__OP_FIND;
	q.find = &f;
	return ask(r, &q);
}

/* Refused, and no certificate came to be. */
static void assert_refused(struct rig *r, Ca__CaAnswer *a)
{
	assert_int_equal(a->result, CA__CA_RESULT__CA_ORDER_REFUSED);
	assert_int_equal(a->n_chain, 0);
	assert_true(a->reason.len > 0);
	codec_free(a);
	a = look_up(r);
	assert_int_equal(a->result, CA__CA_RESULT__CA_NOT_ISSUED);
	codec_free(a);
}

static cc_blob take_leaf(Ca__CaAnswer *a)
{
	cc_blob der;

	assert_int_equal(a->result, CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(a->n_chain, 2);
	der = cc_blob_copy(codec_view(a->chain[0]));
	codec_free(a);
	return der;
}

/* ---- set-up ---- */

static const struct local_rig_ext usual[] = {
	{NID_subject_alt_name, "email:alice@contoso.com"}, {0, NULL}};

static int set_up_with(void **state, const char *backend)
{
	struct rig *r = cc_alloc(sizeof(*r));

	signal(SIGPIPE, SIG_IGN);
	r->backend = backend;
	r->conversation = -1;
	local_rig_make(&r->files, local_ca_init_main);
	r->root = local_rig_root(&r->files);
	r->csr = local_rig_csr("alice", usual);
	r->approval = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_non_null(r->approval);
	assert_int_equal(dsse_spki(r->approval, &r->approval_spki), CC_OK);
	start_runner(r);
	connect_runner(r);
	*state = r;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, "local");
}

static int set_up_unknown_backend(void **state)
{
	return set_up_with(state, "no-such-ca");
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	if (r->conversation >= 0)
		close(r->conversation);
	if (r->pid > 0)
		stop_runner(r);
	EVP_PKEY_free(r->approval);
	cc_blob_free(&r->approval_spki);
	cc_blob_free(&r->csr);
	X509_free(r->root);
	local_rig_clear(&r->files);
	free(r);
	return 0;
}

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

	kill(r->pid, SIGKILL);
	wait_exit(r);
	start_runner(r);
	connect_runner(r);
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

static void what_the_backend_cannot_do_is_not_supported(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Poll p = CA__POLL__INIT;
	Ca__CaAnswer *a;

	p.order = sign(r->approval, DOC_ORDER, &o);
	q.op_case = CA__CA_REQUEST__OP_POLL;
	q.poll = &p;
	a = ask(r, &q);
	assert_int_equal(a->result, CA__CA_RESULT__CA_NOT_SUPPORTED);
	codec_free(a);
	codec_free(p.order);
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
	assert_false(a->properties->can_withdraw);
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
		TEST(what_the_backend_cannot_do_is_not_supported),
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
