/*
 * Runner: a call's answer, to the connector, to the ledger and back, and to the log.
 */
#include "base/log.h"
#include "ca-backends/cookie.h"
#include "ca-backends/runner_int.h"
#include "proto/codec.h"

void runner_send_answer(struct runner *r, const Ca__CaAnswer *answer)
{
	cc_blob frame = codec_pack(answer);

	if (r->chan != NULL)
		cc_ignore(
			chan_send(r->chan, cc_blob_view(&frame)), "closed() tells when it is over");
	cc_blob_free(&frame);
}

cc_blob runner_pack_answer(const struct call *c, uint64_t request_id)
{
	const struct ca_answer *a = &c->answer;
	ProtobufCBinaryData chain[CA_CHAIN_MAX];
	Ca__CaAnswer m = CA__CA_ANSWER__INIT;

	m.request_id = request_id;
	m.result = a->result;
	m.reason = codec_text(a->reason);
	m.reference = codec_text(a->reference);
	m.cookie = codec_bytes(cc_blob_view(&a->cookie));
	m.delay_s = a->delay_s;
	for (size_t i = 0; i < a->chain_count; i++)
		chain[i] = codec_bytes(cc_blob_view(&a->chain[i]));
	m.chain = chain;
	m.n_chain = a->chain_count;
	return codec_pack(&m);
}

void runner_send_call(struct call *c)
{
	struct runner *r = c->runner;
	cc_blob frame;

	if (c->conversation == 0 || c->conversation != r->conversation || r->chan == NULL)
		return;
	frame = runner_pack_answer(c, c->request_id);
	cc_ignore(chan_send(r->chan, cc_blob_view(&frame)), "closed() tells when it is over");
	cc_blob_free(&frame);
}

void runner_read_answer(cc_view packed, struct ca_answer *ret)
{
	Ca__CaAnswer *stored = NULL;

	ca_answer_clear(ret);
	if (codec_decode(&ca__ca_answer__descriptor, packed, CHAN_FRAME_MAX, &stored) != CC_OK) {
		ca_answer_set(ret, CA__CA_RESULT__CA_UNKNOWN,
			"the ledger's record of this job is damaged");
		return;
	}
	ret->result = stored->result;
	for (size_t i = 0; i < stored->n_chain; i++)
		ca_answer_add(ret, codec_view(stored->chain[i]));
	if (stored->reference.len > 0)
		ret->reference = cc_strndup(codec_view(stored->reference));
	if (stored->reason.len > 0)
		ret->reason = cc_strndup(codec_view(stored->reason));
	ret->cookie = cc_blob_copy(codec_view(stored->cookie));
	ret->delay_s = stored->delay_s;
	codec_free(stored);
}

struct cookie_owner runner_cookie_owner(const struct call *c)
{
	return (struct cookie_owner){.ca = cc_view_text(c->runner->setup->name),
		.tenant = c->ask.tenant,
		.job_id = c->ask.job_id,
		.csr_sha256 = c->ask.csr_sha256};
}

void runner_seal_cookie(struct call *c)
{
	struct cookie_owner owner = runner_cookie_owner(c);
	cc_blob sealed = CC_BLOB_NONE;
	cc_err err = cookie_seal(
		&c->runner->cookie_key, &owner, cc_blob_view(&c->answer.cookie), &sealed);

	if (err !=
		CC_OK) { /* the request is there, and without a cookie only find can tell of it */
		ca_answer_clear(&c->answer);
		ca_answer_set(&c->answer, CA__CA_RESULT__CA_UNKNOWN, "%s", cc_err_detail(err));
		return;
	}
	cc_blob_free(&c->answer.cookie);
	c->answer.cookie = sealed;
}

void runner_log_answer(const struct call *c)
{
	const char *ca = c->runner->setup->name;
	const char *why = c->answer.reason;

	if (c->conversation == 0 && c->answer.result == CA__CA_RESULT__CA_DONE)
		return;
	switch (c->answer.result) {
	case CA__CA_RESULT__CA_ISSUED:
		if (c->order != NULL)
			log_event(EV_CA_ISSUED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
				LV_TEXT("reference", c->answer.reference));
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		log_event(EV_ORDER_REFUSED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
			LV_TEXT("reason", why));
		break;
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NOT_SENT:
	case CA__CA_RESULT__CA_UNKNOWN:
	case CA__CA_RESULT__CA_MISCONFIGURED:
		log_event(EV_CA_FAILED, LV_JOB(c->ask.job_id), LV_TEXT("ca", ca),
			LV_TEXT("reason", why));
		break;
	default:
		break;
	}
}
