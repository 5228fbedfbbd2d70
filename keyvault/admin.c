/*
 * Administrator's operations.  Keys are made and listed, never handed out.
 */
#include "keyvault/admin.h"
#include "base/chan.h"
#include <stdlib.h>
#include <string.h>

#define DEVICES_PAGE    100 /* rows in one answer, each of two names and a digest */
#define DEVICE_TEXT_MAX 1024
#define WAITING_PAGE    50 /* rows in one answer, each of a few names and digests */
#define CURSOR_MAX      64
#define REASON_TEXT_MAX 200

void admin_serve_generate(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	Vault__NamedPublicKey key = VAULT__NAMED_PUBLIC_KEY__INIT;
	uint8_t id[SHA256_SIZE];
	struct keystore_public made;
	cc_err err = CC_OK;
	uint32_t bits = c->admin->generate_key->bits;

	ENSURE(bits == 0 || bits == 2048 || bits == 3072 || bits == 4096,
		call_refuse(c, REASON_MALFORMED, "2048, 3072 or 4096 bits"));
	TRY(call_step(
		c, REASON_INTERNAL, keystore_generate(c->vault->keys, KEYSTORE_DECRYPT, bits, id)));
	ENSURE(keystore_find(c->vault->keys, cc_view_of(id, sizeof(id)), &made),
		call_refuse(c, REASON_INTERNAL, "the new key is not there"));
	memcpy(c->change.decision.spki_sha256, id, SHA256_SIZE);
	c->change.decision.has_spki = true;
	key.use = codec_text(keystore_use_name(made.use));
	key.key_id = codec_bytes(cc_view_of(id, sizeof(id)));
	key.spki = codec_bytes(made.spki);
	key.current = made.current;
	answer.answer_case = VAULT__ADMIN_ANSWER__ANSWER_KEY;
	answer.key = &key;
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
}

struct device_page {
	Vault__Device *rows[DEVICES_PAGE];
	size_t count;
};

static cc_err add_device(void *arg, uint64_t number, cc_view row)
{
	struct device_page *page = arg;

	(void)number;
	cc_err err = codec_decode(
		&vault__device__descriptor, row, 4 * DEVICE_TEXT_MAX, &page->rows[page->count]);
	if (err == CC_OK)
		page->count++;
	return err;
}

void admin_serve_devices(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	Vault__DeviceList list = VAULT__DEVICE_LIST__INIT;
	struct device_page page = {.count = 0};
	const Vault__AdminListDevices *request = c->admin->list_devices;
	cc_blob next = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(request->after.len <= CURSOR_MAX,
		call_refuse(c, REASON_MALFORMED, "not the place of a page"));
	TRY(call_step(c, REASON_INTERNAL,
		state_list_devices(c->vault->state, codec_view(request->device_id),
			codec_view(request->after), DEVICES_PAGE, add_device, &page, &next)));
	list.n_devices = page.count;
	list.devices = page.rows;
	list.next = codec_bytes(cc_blob_view(&next));
	answer.answer_case = VAULT__ADMIN_ANSWER__ANSWER_DEVICES;
	answer.devices = &list;
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
	for (size_t i = 0; i < page.count; i++)
		codec_free(page.rows[i]);
	cc_blob_free(&next);
}

/* The tenant that is meant, into the change: empty stands for the one of the pins. */
static cc_err take_tenant(struct call *c, cc_view tenant)
{
	if (tenant.size == 0)
		tenant = pins_tenant(c->rules->pins);
	if (!text_is_name(tenant))
		return call_refuse(c, REASON_MALFORMED, "not a tenant's name");
	c->change.tenant = cc_blob_copy(tenant);
	return CC_OK;
}

void admin_serve_block(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	const Vault__AdminBlockDevice *request = c->admin->block_device;
	cc_view device_id = codec_view(request->device_id);
	cc_err err = CC_OK;

	TRY(take_tenant(c, codec_view(request->tenant)));
	ENSURE(device_id.size > 0 && text_is_clean(device_id, DEVICE_TEXT_MAX),
		call_refuse(c, REASON_MALFORMED, "not a device's id"));
	c->change.device.device_id = cc_blob_copy(device_id);
	c->change.device.source = "blocked";
	c->change.blocks = true;
	c->change.decision.subject = cc_blob_copy(device_id);
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
}

/* That the host's clock is right is the administrator's word; the step back is made, and written into
 * the decision record, by the state. */
void admin_serve_accept_clock(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;

	c->change.accepts_clock = true;
	call_answer_admin(c, &answer);
}

/* ---- jobs that wait for an operator ---- */

struct waiting_page {
	Vault__WaitingJob *rows[WAITING_PAGE];
	size_t count;
};

static cc_err add_waiting(void *arg, uint64_t number, cc_view row)
{
	struct waiting_page *page = arg;
	cc_err err = codec_decode(
		&vault__waiting_job__descriptor, row, CHAN_FRAME_MAX, &page->rows[page->count]);

	(void)number;
	if (err == CC_OK)
		page->count++;
	return err;
}

void admin_serve_waiting(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	Vault__WaitingList list = VAULT__WAITING_LIST__INIT;
	struct waiting_page page = {.count = 0};
	cc_view after = codec_view(c->admin->list_waiting->after);
	cc_blob next = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(after.size <= CURSOR_MAX,
		call_refuse(c, REASON_MALFORMED, "not the place of a page"));
	TRY(call_step(c, REASON_INTERNAL,
		state_list_waiting(c->vault->state, after, c->now_s, WAITING_PAGE, add_waiting,
			&page, &next)));
	list.n_jobs = page.count;
	list.jobs = page.rows;
	list.next = codec_bytes(cc_blob_view(&next));
	answer.answer_case = VAULT__ADMIN_ANSWER__ANSWER_WAITING;
	answer.waiting = &list;
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
	for (size_t i = 0; i < page.count; i++)
		codec_free(page.rows[i]);
	cc_blob_free(&next);
}

/* Whether such a job waits, and is not decided yet, is found when it is committed. */
static void rule(struct call *c, enum state_ruling ruling, ProtobufCBinaryData tenant,
	ProtobufCBinaryData job_id, cc_view reason)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	cc_err err = CC_OK;

	TRY(take_tenant(c, codec_view(tenant)));
	ENSURE(job_id.len == JOB_ID_SIZE, call_refuse(c, REASON_MALFORMED, "not a job's id"));
	ENSURE(text_is_clean(reason, REASON_TEXT_MAX),
		call_refuse(c, REASON_MALFORMED, "a reason has at most %d bytes of plain text",
			REASON_TEXT_MAX));
	memcpy(c->change.job_id, job_id.data, JOB_ID_SIZE);
	c->change.has_job = true;
	c->change.rules = ruling;
	c->change.rules_uid = c->uid;
	c->change.rules_reason = cc_blob_copy(reason);
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
}

void admin_serve_approve(struct call *c)
{
	const Vault__AdminApproveJob *request = c->admin->approve_job;
	cc_err err = CC_OK;

	ENSURE(request->question_sha256.len == SHA256_SIZE,
		call_refuse(c, REASON_MALFORMED, "an approval names the question that was shown"));
	memcpy(c->change.rules_question, request->question_sha256.data, SHA256_SIZE);
	rule(c, STATE_RULES_APPROVE, request->tenant, request->job_id, CC_VIEW_NONE);
out:
	(void)err; /* noted by the steps */
}

void admin_serve_deny(struct call *c)
{
	const Vault__AdminDenyJob *request = c->admin->deny_job;

	rule(c, STATE_RULES_DENY, request->tenant, request->job_id, codec_view(request->reason));
}
