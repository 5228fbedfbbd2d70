/*
 * Rig: a runner as a process, with the supervisor's part on descriptor 3, the connector's on the
 * conversation, and the keyvault's signature.
 *
 * For one test program; include it after cmocka.  What the runner answers is the test's to judge.
 */
#pragma once

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

static inline void send_link(
	const struct rig *r, const Role__LinkMessage *m, const int *fds, size_t count)
{
	cc_blob packet = codec_pack(m);

	assert_int_equal(link_send(r->link, cc_blob_view(&packet), fds, count), CC_OK);
	cc_blob_free(&packet);
}

static inline void send_setup(const struct rig *r)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Setup s = ROLE__SETUP__INIT;
	Role__RunnerSetup runner = ROLE__RUNNER_SETUP__INIT;
	static const char *const pairs[][2] = {{"templates.user.eku", "1.3.6.1.5.5.7.3.2"},
		{"templates.desk.eku", "1.3.6.1.5.5.7.3.2"}, {"templates.desk.approval", "manual"},
		{"poll_after", "7s"}};
	Role__Option room[4], *options[4];
	char *descriptors[] = {(char *)(uintptr_t) "approval-key", (char *)(uintptr_t) "ca-secret"};
	int fds[2];

	for (size_t i = 0; i < 4; i++) {
		role__option__init(&room[i]);
		room[i].name = (char *)(uintptr_t)pairs[i][0];
		room[i].value = (char *)(uintptr_t)pairs[i][1];
		options[i] = &room[i];
	}
	runner.ca_name = (char *)(uintptr_t) "corp-ca";
	runner.backend = (char *)(uintptr_t)r->backend;
	runner.options = options;
	runner.n_options = 4;
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
static inline void wait_link(const struct rig *r, Role__LinkMessage__BodyCase what)
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

static inline void start_runner(struct rig *r)
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

static inline int wait_exit(struct rig *r)
{
	int status = 0;

	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	close(r->link);
	r->link = -1;
	return status;
}

static inline void stop_runner(struct rig *r)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Stop s = ROLE__STOP__INIT;

	m.body_case = ROLE__LINK_MESSAGE__BODY_STOP;
	m.stop = &s;
	send_link(r, &m, NULL, 0);
	assert_int_equal(wait_exit(r), 0);
}

static inline void pass_conversation(struct rig *r, uint64_t serial)
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

static inline void greet(struct rig *r, Role__RoleKind role, const char *build_id)
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

static inline void connect_runner(struct rig *r)
{
	pass_conversation(r, 1);
	greet(r, ROLE__ROLE_KIND__ROLE_CONNECTOR, BUILD_ID);
}

static inline void send_request(struct rig *r, Ca__CaRequest *q)
{
	cc_blob frame;

	q->request_id = ++r->request_id;
	frame = codec_pack(q);
	assert_int_equal(chan_write_frame(r->conversation, cc_blob_view(&frame), WAIT_MS), CC_OK);
	cc_blob_free(&frame);
}

static inline Ca__CaAnswer *read_answer(struct rig *r)
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

static inline Ca__CaAnswer *ask(struct rig *r, Ca__CaRequest *q)
{
	Ca__CaAnswer *a;

	send_request(r, q);
	a = read_answer(r);
	assert_int_equal(a->request_id, r->request_id);
	return a;
}

/* The runner cut the conversation off. */
static inline void assert_cut_off(struct rig *r)
{
	cc_blob frame = CC_BLOB_NONE;

	assert_int_equal(
		chan_read_frame(r->conversation, CHAN_FRAME_MAX, WAIT_MS, &frame), CC_CLOSED);
	wait_link(r, ROLE__LINK_MESSAGE__BODY_CONVERSATION_LOST);
}

/* ---- the keyvault's part ---- */

static uint8_t job_id[16] = {7, 7, 7}; /* of the orders */

static inline Vault__Order order_for(const struct rig *r, Vault__OrderOp op)
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

static inline Certq__SignedDocument *sign(EVP_PKEY *key, const char *type, const Vault__Order *o)
{
	cc_blob body = codec_pack(o);
	Certq__SignedDocument *d = NULL;

	assert_int_equal(dsse_sign(key, type, cc_blob_view(&body), &d), CC_OK);
	cc_blob_free(&body);
	return d;
}

static inline Ca__CaAnswer *submit_document(struct rig *r, Certq__SignedDocument *d)
{
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Submit s = CA__SUBMIT__INIT;

	s.order = d;
	q.op_case = CA__CA_REQUEST__OP_SUBMIT;
	q.submit = &s;
	return ask(r, &q);
}

static inline Ca__CaAnswer *submit_order(struct rig *r, const Vault__Order *o)
{
	Certq__SignedDocument *d = sign(r->approval, DOC_ORDER, o);
	Ca__CaAnswer *a = submit_document(r, d);

	codec_free(d);
	return a;
}

static inline Ca__CaAnswer *submit(struct rig *r)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);

	return submit_order(r, &o);
}

static inline Ca__CaAnswer *submit_to(struct rig *r, const char *template_name)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);

	o.template_ = codec_text(template_name);
	return submit_order(r, &o);
}

/* Once more, at the connector's risk. */
static inline Ca__CaAnswer *submit_again(struct rig *r)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Submit s = CA__SUBMIT__INIT;
	Ca__CaAnswer *a;

	s.order = sign(r->approval, DOC_ORDER, &o);
	s.again = true;
	q.op_case = CA__CA_REQUEST__OP_SUBMIT;
	q.submit = &s;
	a = ask(r, &q);
	codec_free(s.order);
	return a;
}

static inline Ca__CaAnswer *poll_with(struct rig *r, const Vault__Order *o, cc_view cookie)
{
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Poll p = CA__POLL__INIT;
	Ca__CaAnswer *a;

	p.order = sign(r->approval, DOC_ORDER, o);
	p.cookie = codec_bytes(cookie);
	q.op_case = CA__CA_REQUEST__OP_POLL;
	q.poll = &p;
	a = ask(r, &q);
	codec_free(p.order);
	return a;
}

static inline Ca__CaAnswer *poll_order(struct rig *r, cc_view cookie)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);

	return poll_with(r, &o, cookie);
}

static inline Ca__CaAnswer *withdraw_order(struct rig *r, cc_view cookie)
{
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_WITHDRAW);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Withdraw w = CA__WITHDRAW__INIT;
	Ca__CaAnswer *a;

	w.order = sign(r->approval, DOC_ORDER, &o);
	w.cookie = codec_bytes(cookie);
	q.op_case = CA__CA_REQUEST__OP_WITHDRAW;
	q.withdraw = &w;
	a = ask(r, &q);
	codec_free(w.order);
	return a;
}

static inline void expect(Ca__CaAnswer *a, Ca__CaResult result)
{
	if (a->result != result)
		print_message("answer: %.*s\n", (int)a->reason.len, (const char *)a->reason.data);
	assert_int_equal(a->result, result);
	codec_free(a);
}

static inline cc_blob take_cookie(Ca__CaAnswer *a)
{
	cc_blob cookie;

	assert_int_equal(a->result, CA__CA_RESULT__CA_PENDING);
	assert_true(a->cookie.len > 0 && a->cookie.len <= CA_COOKIE_MAX);
	cookie = cc_blob_copy(codec_view(a->cookie));
	codec_free(a);
	return cookie;
}

/* Kill -9, and a new one on the same state. */
static inline void restart_runner(struct rig *r)
{
	kill(r->pid, SIGKILL);
	wait_exit(r);
	start_runner(r);
	connect_runner(r);
}

static inline Ca__CaAnswer *look_up(struct rig *r)
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
static inline void assert_refused(struct rig *r, Ca__CaAnswer *a)
{
	assert_int_equal(a->result, CA__CA_RESULT__CA_ORDER_REFUSED);
	assert_int_equal(a->n_chain, 0);
	assert_true(a->reason.len > 0);
	codec_free(a);
	a = look_up(r);
	assert_int_equal(a->result, CA__CA_RESULT__CA_NOT_ISSUED);
	codec_free(a);
}

static inline cc_blob take_leaf(Ca__CaAnswer *a)
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

static inline int set_up_with(void **state, const char *backend)
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

static inline int set_up(void **state)
{
	return set_up_with(state, "local");
}

static inline int set_up_unknown_backend(void **state)
{
	return set_up_with(state, "no-such-ca");
}

static inline int tear_down(void **state)
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
