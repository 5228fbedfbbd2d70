/*
 * The connectors' vhost: its guards, the limits of frames, and who may say what when.
 */
#include "tests/support/queue_peer.h"

#include <openssl/ssl.h>

/* ---- guards ---- */

static bool upgrade(struct qrig *q, const struct tls_client_options *options, const char *path,
	const char *subprotocol, const char *more, int *ret_status)
{
	struct ws_client w;
	bool open = ws_client_open(&w, q->connector_port, options, path, subprotocol, more);

	if (ret_status)
		*ret_status = w.status;
	ws_client_close(&w);
	return open;
}

/* What a certificate gets: nothing, a 101 and then the end, or a session. */
enum reached { REACHED_NOTHING, REACHED_UPGRADE, REACHED_SESSION };

static enum reached upgrade_as(
	struct qrig *q, const struct fixture_ca *ca, const char *san, const char *eku)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	struct tls_client_options options = {
		.key = key, .certificate = qrig_certificate(ca, key, san, eku)};
	struct ws_client w;
	enum reached reached = REACHED_NOTHING;
	cc_blob message = CC_BLOB_NONE;

	if (ws_client_open(&w, q->connector_port, &options, WSS_PATH, WSS_SUBPROTOCOL, "")) {
		ws_client_send(&w, cc_view_text("x"), 16); /* a session would complain */
		reached = ws_client_receive(&w, &message) ? REACHED_SESSION : REACHED_UPGRADE;
	}
	cc_blob_free(&message);
	ws_client_close(&w);
	X509_free(options.certificate);
	EVP_PKEY_free(key);
	return reached;
}

static void without_a_certificate_there_is_no_connection(void **state)
{
	struct qrig *q = *state;

	assert_false(upgrade(q, NULL, WSS_PATH, WSS_SUBPROTOCOL, "", NULL));
}

static void a_certificate_of_another_ca_is_refused(void **state)
{
	struct qrig *q = *state;
	struct fixture_ca evil;

	fixture_ca_make(&evil, "Queue CA");
	assert_int_equal(upgrade_as(q, &evil, "URI:certq://contoso/connector/hq-1", "clientAuth"),
		REACHED_NOTHING);
	fixture_ca_clear(&evil);
}

static void a_certificate_without_a_connectors_identity_is_refused(void **state)
{
	struct qrig *q = *state;

	assert_int_not_equal(
		upgrade_as(q, &q->ca, "URI:certq://contoso/producer/mdm", "clientAuth"),
		REACHED_SESSION);
	assert_int_not_equal(upgrade_as(q, &q->ca, "DNS:hq-1", "clientAuth"), REACHED_SESSION);
	assert_int_equal(upgrade_as(q, &q->ca, "URI:certq://contoso/connector/hq-1", "serverAuth"),
		REACHED_NOTHING);
	assert_int_equal(upgrade_as(q, &q->ca, "URI:certq://contoso/connector/hq-1", "clientAuth"),
		REACHED_SESSION); /* the difference is the certificate's only */
}

static void only_the_exact_path_and_subprotocol_are_upgraded(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct tls_client_options options;

	peer_make(&p, q, "up-1");
	options =
		(struct tls_client_options){.key = p.keys.transport, .certificate = p.certificate};
	assert_true(upgrade(q, &options, WSS_PATH, WSS_SUBPROTOCOL, "", NULL));
	assert_true(upgrade(q, &options, WSS_PATH, "certq.v2, certq.v1", "", NULL));
	assert_false(upgrade(q, &options, WSS_PATH, NULL, "", NULL));
	assert_false(upgrade(q, &options, WSS_PATH, "certq.v2", "", NULL));
	assert_false(upgrade(q, &options, WSS_PATH, "chat", "", NULL));
	assert_false(upgrade(q, &options, "/v1/connect/", WSS_SUBPROTOCOL, "", NULL));
	assert_false(upgrade(q, &options, "/v1/connect?x=1", WSS_SUBPROTOCOL, "", NULL));
	assert_false(upgrade(q, &options, "/", WSS_SUBPROTOCOL, "", NULL));
	peer_clear(&p);
}

static void a_page_is_not_served_and_h2c_is_refused(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct tls_client_options options;
	struct tls_client *c;
	struct tls_client_reply r;

	peer_make(&p, q, "up-2");
	options = (struct tls_client_options){
		.key = p.keys.transport, .certificate = p.certificate, .alpn = "h2,http/1.1"};
	c = tls_client_open(q->connector_port, &options);
	assert_string_equal(tls_client_alpn(c), "http/1.1");
	r = tls_client_ask(c, cc_view_text("GET /v1/connect HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_int_equal(r.status, 404);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	c = tls_client_open(q->connector_port, &options);
	r = tls_client_ask(c, cc_view_text("GET /v1/connect HTTP/1.1\r\nHost: x\r\n"
					   "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
					   "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"));
	assert_int_not_equal(r.status, 101);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	peer_clear(&p);
}

static void no_extension_is_taken(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct tls_client_options options;

	peer_make(&p, q, "up-3");
	options =
		(struct tls_client_options){.key = p.keys.transport, .certificate = p.certificate};
	assert_true(ws_client_open(&p.w, q->connector_port, &options, WSS_PATH, WSS_SUBPROTOCOL,
		"Sec-WebSocket-Extensions: permessage-deflate\r\n"));
	assert_false(p.w.extensions);
	peer_clear(&p);
}

static void plaintext_gets_no_answer(void **state)
{
	static const char request[] = "GET /v1/connect HTTP/1.1\r\nHost: x\r\n\r\n";
	struct qrig *q = *state;
	char answer[256] = "";
	int fd = tls_client_tcp("127.0.0.1", q->connector_port);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	(void)!read(fd, answer, sizeof(answer) - 1);
	assert_null(strstr(answer, "HTTP/"));
	close(fd);
}

/* ---- limits of frames ---- */

static void a_text_message_is_refused(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "fr-1");
	assert_true(peer_dial(&p));
	ws_client_frame(&p.w, true, WS_TEXT, cc_view_text("{}"));
	peer_hear_close(&p, 1003);
	peer_clear(&p);
}

static void a_first_message_over_16_kib_is_refused(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "fr-2");
	assert_true(peer_dial(&p));
	ws_client_claim(&p.w, WS_BINARY, WSS_HELLO_MAX + 1);
	peer_hear_close(&p, 1009);
	peer_clear(&p);
}

static void a_message_over_256_kib_is_refused_by_its_first_bytes(void **state)
{
	static const uint64_t sizes[] = {WSS_MESSAGE_MAX + 1, 1ull << 40};
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "fr-3");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		peer_connect(&p);
		ws_client_claim(&p.w, WS_BINARY, sizes[i]);
		peer_hear_close(&p, 1009);
	}
	peer_clear(&p);
}

static size_t resident_bytes(pid_t pid)
{
	char *path = cc_asprintf("/proc/%d/statm", (int)pid);
	unsigned long all = 0, resident = 0;
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &all, &resident), 2);
	fclose(f);
	free(path);
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void a_flood_behind_a_message_over_the_limit_is_closed_and_costs_no_memory(void **state)
{
	static const uint8_t bytes[64 * 1024];
	const size_t flood = 4u << 20;
	struct qrig *q = *state;
	struct peer p, other;
	size_t before;

	signal(SIGPIPE, SIG_IGN); /* the queue may have closed before all is written */
	peer_make(&p, q, "fr-6");
	peer_make(&other, q, "fr-7");
	peer_connect(&other);
	peer_connect(&p);
	before = resident_bytes(q->pid);
	assert_true(ws_client_claim(&p.w, WS_BINARY, WSS_MESSAGE_MAX + flood));
	for (size_t sent = 0; sent < WSS_MESSAGE_MAX + flood; sent += sizeof(bytes)) {
		if (!tls_client_write(p.w.tls, cc_view_of(bytes, sizeof(bytes))))
			break;
	}
	peer_assert_silent(&other); /* is served beside it */
	peer_hear_close(&p, 1009);
	assert_true(resident_bytes(q->pid) < before + (16u << 20));
	peer_connect(&p); /* and it may come back */
	peer_assert_silent(&p);
	peer_clear(&p);
	peer_clear(&other);
}

static void many_small_fragments_are_refused(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "fr-4");
	peer_connect(&p);
	ws_client_frame(&p.w, false, WS_BINARY, cc_view_text("a"));
	for (int i = 0; i < 100; i++)
		ws_client_frame(&p.w, false, WS_CONTINUATION, cc_view_text("a"));
	peer_hear_close(&p, 1008);
	peer_clear(&p);
}

static void a_message_in_fragments_is_put_together(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Ping ping = CERTQ__PING__INIT;
	Certq__Envelope *pong;
	cc_blob packed;

	peer_make(&p, q, "fr-5");
	peer_connect(&p);
	ping.token = 123456789;
	e.body_case = CERTQ__ENVELOPE__BODY_PING;
	e.ping = &ping;
	e.seq = ++p.w.seq;
	packed = codec_pack(&e);
	assert_true(ws_client_send(&p.w, cc_blob_view(&packed), 2));
	pong = peer_hear(&p, CERTQ__ENVELOPE__BODY_PONG);
	assert_int_equal(pong->pong->token, 123456789);
	codec_free(pong);
	cc_blob_free(&packed);
	peer_clear(&p);
}

/* ---- rules of the protocol ---- */

static void bytes_that_are_no_envelope_are_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-1");
	assert_true(peer_dial(&p));
	ws_client_send(&p.w, cc_view_text("\xff\xff\xff"), 16);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_MALFORMED, 1002);
	peer_clear(&p);
}

static void a_gap_in_the_numbers_is_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-2");
	peer_connect(&p);
	p.w.seq++;
	peer_say_ping(&p, 1);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_SEQ_GAP, 1002);
	peer_clear(&p);
}

static void a_message_before_hello_and_a_second_hello_are_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-3");
	assert_true(peer_dial(&p));
	peer_say_ping(&p, 1);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE, 1002);
	peer_connect(&p);
	assert_true(peer_say_hello(&p, 0));
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE, 1002);
	peer_clear(&p);
}

static void a_claim_before_the_resume_has_ended_is_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Job job = CERTQ__JOB__INIT;
	uint8_t id[16] = {1};

	peer_make(&p, q, "pr-4");
	assert_true(peer_dial(&p));
	assert_true(peer_say_hello(&p, 0));
	peer_hear_hello_ack(&p);
	job.job_id = codec_bytes(cc_view_of(id, 16));
	job.epoch = 1;
	peer_say_claim(&p, &job);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE, 1002);
	peer_clear(&p);
}

enum { OFFER_MAX = 128 }; /* jobs in a page */

static void say_offer(struct peer *p, size_t jobs, const Certq__OfferedJob *job)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Offer offer = CERTQ__OFFER__INIT;
	Certq__OfferedJob *list[OFFER_MAX + 1];

	for (size_t i = 0; i < jobs; i++)
		list[i] = (Certq__OfferedJob *)(uintptr_t)job;
	offer.n_jobs = jobs;
	offer.jobs = list;
	e.body_case = CERTQ__ENVELOPE__BODY_OFFER;
	e.offer = &offer;
	assert_true(ws_client_say(&p->w, &e));
}

static void an_offer_that_nobody_asked_for_or_that_cannot_be_is_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__OfferedJob job = CERTQ__OFFERED_JOB__INIT;
	uint8_t id[16] = {1};

	peer_make(&p, q, "pr-20");
	job.job_id = codec_bytes(cc_view_of(id, 16));
	job.epoch = 1;
	job.settle = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	peer_connect(&p);
	say_offer(&p, 1, &job);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_OUT_OF_STATE, 1002);
	peer_connect(&p);
	say_offer(&p, OFFER_MAX + 1, &job);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_MALFORMED, 1002);
	job.settle = CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED; /* no reason to offer it */
	peer_connect(&p);
	say_offer(&p, 1, &job);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_MALFORMED, 1002);
	peer_clear(&p);
}

static void a_body_of_a_later_version_is_answered_and_survived(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	cc_blob message = CC_BLOB_NONE;

	peer_make(&p, q, "pr-5");
	peer_connect(&p);
	/* seq, then field 99 with an empty message */
	cc_blob_append_byte(&message, 0x08);
	cc_blob_append_byte(&message, (uint8_t)++p.w.seq);
	cc_blob_append(&message, cc_view_of("\x9a\x06\x00", 3));
	assert_true(ws_client_send(&p.w, cc_blob_view(&message), 64));
	peer_hear_error(&p, CERTQ__ERROR_CODE__ERROR_UNIMPLEMENTED, false);
	peer_assert_silent(&p);
	cc_blob_free(&message);
	peer_clear(&p);
}

static void another_version_is_refused(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Hello hello = CERTQ__HELLO__INIT;

	peer_make(&p, q, "pr-6");
	assert_true(peer_dial(&p));
	hello.proto_min = 2;
	hello.proto_max = 3;
	hello.instance_id = codec_bytes(cc_view_of(p.instance, 16));
	hello.journal_id = codec_bytes(cc_view_of(p.journal, 16));
	e.body_case = CERTQ__ENVELOPE__BODY_HELLO;
	e.hello = &hello;
	assert_true(ws_client_say(&p.w, &e));
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_VERSION, 1008);
	peer_clear(&p);
}

static void a_count_that_is_not_what_was_listed_is_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-7");
	assert_true(peer_dial(&p));
	assert_true(peer_say_hello(&p, 3));
	peer_hear_hello_ack(&p);
	peer_say_resume_end(&p, 3);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_MALFORMED, 1002);
	peer_clear(&p);
}

static void the_newer_connection_supersedes_the_older(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct ws_client old;

	peer_make(&p, q, "pr-8");
	peer_connect(&p);
	old = p.w;
	p.w = (struct ws_client){0};
	peer_connect(&p);
	{
		struct ws_client new = p.w;

		p.w = old;
		peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_SUPERSEDED, 1008);
		ws_client_close(&p.w);
		p.w = new;
	}
	peer_assert_silent(&p);
	peer_clear(&p);
}

static void another_journal_under_the_same_identity_is_a_conflict(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-9");
	peer_connect(&p);
	p.journal[0] ^= 1;
	p.has_nonce = false;
	assert_true(peer_dial(&p));
	assert_true(peer_say_hello(&p, 0));
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_IDENTITY_CONFLICT, 1008);
	peer_clear(&p);
}

static void the_certificate_of_an_earlier_enrolment_opens_no_session(void **state)
{
	struct qrig *q = *state;
	struct peer old, now;

	peer_make(&old, q, "pr-12");
	peer_make(&now, q, "pr-12");
	peer_connect(&now);
	assert_true(peer_dial(&old));
	assert_true(peer_say_hello(&old, 0));
	peer_hear_fatal(&old, CERTQ__ERROR_CODE__ERROR_DISABLED, 1008);
	peer_assert_silent(&now); /* and is not superseded */
	peer_clear(&old);
	peer_clear(&now);
}

static void a_connection_ends_when_its_connector_is_enrolled_anew(void **state)
{
	struct qrig *q = *state;
	struct peer old, now;

	peer_make(&old, q, "pr-13");
	peer_connect(&old);
	peer_make(&now, q, "pr-13");
	peer_hear_fatal(&old, CERTQ__ERROR_CODE__ERROR_DISABLED, 1008);
	peer_connect(&now);
	peer_assert_silent(&now);
	peer_clear(&old);
	peer_clear(&now);
}

static void a_disabled_connector_is_cut_off_and_kept_out(void **state)
{
	struct qrig *q = *state;
	struct peer p;

	peer_make(&p, q, "pr-10");
	peer_connect(&p);
	qrig_control_ok(q, "{\"op\":\"connector_disable\",\"tenant\":\"contoso\","
			   "\"connector_id\":\"pr-10\",\"disabled\":true}");
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_DISABLED, 1008);
	assert_true(peer_dial(&p));
	assert_true(peer_say_hello(&p, 0));
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_DISABLED, 1008);
	qrig_control_ok(q, "{\"op\":\"connector_disable\",\"tenant\":\"contoso\","
			   "\"connector_id\":\"pr-10\",\"disabled\":false}");
	peer_connect(&p);
	peer_assert_silent(&p);
	peer_clear(&p);
}

static void fields_of_a_wrong_length_are_fatal(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Job job = CERTQ__JOB__INIT;

	peer_make(&p, q, "pr-11");
	peer_connect(&p);
	job.job_id = codec_text("short");
	peer_say_claim(&p, &job);
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_MALFORMED, 1002);
	peer_clear(&p);
}

/* ---- time ---- */

/* `count` settlements of a job that is not there, as one write. */
static void settle_in_one_go(struct peer *p, uint8_t job_id[16], size_t count)
{
	cc_blob all = CC_BLOB_NONE;

	for (size_t i = 0; i < count; i++) {
		Certq__Envelope e = CERTQ__ENVELOPE__INIT;
		Certq__Settle settle = CERTQ__SETTLE__INIT;
		cc_blob packed;

		settle.job_id = codec_bytes(cc_view_of(job_id, 16));
		settle.epoch = 1;
		settle.ca = codec_text("corp-ca");
		settle.outcome = CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
		e.body_case = CERTQ__ENVELOPE__BODY_SETTLE;
		e.settle = &settle;
		e.seq = ++p->w.seq;
		e.ack_seq = p->w.seen;
		packed = codec_pack(&e);
		ws_client_put(&all, true, WS_BINARY, cc_blob_view(&packed));
		cc_blob_free(&packed);
	}
	assert_true(tls_client_write(p->w.tls, cc_blob_view(&all)));
	cc_blob_free(&all);
}

static void a_store_that_is_behind_makes_retry_later_and_reading_goes_on(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	uint8_t job_id[16] = {1};
	size_t later = 0, unknown = 0;

	peer_make(&p, q, "busy-1");
	peer_connect(&p);
	settle_in_one_go(&p, job_id, 400);
	peer_say_ping(&p, 7);
	for (size_t i = 0; i < 400; i++) {
		Certq__Envelope *e = ws_client_hear(&p.w);
		assert_non_null(e);
		if (e->body_case == CERTQ__ENVELOPE__BODY_PONG) {
			i--;
		} else {
			Certq__SettleVerdict v = e->settle_ack->verdict;
			later += v == CERTQ__SETTLE_VERDICT__SETTLE_ACK_RETRY_LATER;
			unknown += v == CERTQ__SETTLE_VERDICT__SETTLE_ACK_UNKNOWN_ATTEMPT;
		}
		codec_free(e);
	}
	assert_int_equal(later + unknown, 400);
	assert_true(later > 0);
	assert_true(unknown >= 64);
	peer_clear(&p);
}

static void a_peer_that_does_not_say_hello_is_cut_off(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	int64_t began = clock_boottime_ms();

	peer_make(&p, q, "time-1");
	assert_true(peer_dial(&p));
	peer_hear_fatal(&p, CERTQ__ERROR_CODE__ERROR_TIMEOUT, 1008);
	assert_true(clock_boottime_ms() - began >= 9000);
	peer_clear(&p);
}

static void a_peer_that_answers_no_ping_is_hung_up(void **state)
{
	struct qrig *q = qrig_new("ping: 1s\nhangup: 2s\n");
	struct peer p;

	(void)state;
	peer_make(&p, q, "time-2");
	peer_connect(&p);
	p.w.deaf = true;
	assert_null(ws_client_hear(&p.w));
	assert_true(p.w.pings > 0);
	peer_clear(&p);
	qrig_free(q);
}

#define TEST(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_a_certificate_there_is_no_connection),
		TEST(a_certificate_of_another_ca_is_refused),
		TEST(a_certificate_without_a_connectors_identity_is_refused),
		TEST(only_the_exact_path_and_subprotocol_are_upgraded),
		TEST(a_page_is_not_served_and_h2c_is_refused),
		TEST(no_extension_is_taken),
		TEST(plaintext_gets_no_answer),
		TEST(a_text_message_is_refused),
		TEST(a_first_message_over_16_kib_is_refused),
		TEST(a_message_over_256_kib_is_refused_by_its_first_bytes),
		TEST(a_flood_behind_a_message_over_the_limit_is_closed_and_costs_no_memory),
		TEST(many_small_fragments_are_refused),
		TEST(a_message_in_fragments_is_put_together),
		TEST(bytes_that_are_no_envelope_are_fatal),
		TEST(a_gap_in_the_numbers_is_fatal),
		TEST(a_message_before_hello_and_a_second_hello_are_fatal),
		TEST(a_claim_before_the_resume_has_ended_is_fatal),
		TEST(an_offer_that_nobody_asked_for_or_that_cannot_be_is_fatal),
		TEST(a_body_of_a_later_version_is_answered_and_survived),
		TEST(another_version_is_refused),
		TEST(a_count_that_is_not_what_was_listed_is_fatal),
		TEST(the_newer_connection_supersedes_the_older),
		TEST(another_journal_under_the_same_identity_is_a_conflict),
		TEST(the_certificate_of_an_earlier_enrolment_opens_no_session),
		TEST(a_connection_ends_when_its_connector_is_enrolled_anew),
		TEST(a_disabled_connector_is_cut_off_and_kept_out),
		TEST(fields_of_a_wrong_length_are_fatal),
		TEST(a_store_that_is_behind_makes_retry_later_and_reading_goes_on),
		TEST(a_peer_that_does_not_say_hello_is_cut_off),
		TEST(a_peer_that_answers_no_ping_is_hung_up),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}
