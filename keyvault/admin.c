/*
 * Administrator's operations.  Keys are made and listed, never handed out.
 */
#include "keyvault/admin.h"
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX     250 /* rows in one answer: a page for a person, below the codec's limit */
#define DEVICE_TEXT_MAX 1024

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
	Vault__Device **rows;
	size_t count;
};

static cc_err add_device(void *arg, uint64_t number, cc_view row)
{
	struct device_page *page = arg;

	(void)number;
	if (page->count >= DEVICES_MAX)
		return CC_OK;
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
	struct device_page page = {.rows = cc_alloc(DEVICES_MAX * sizeof(*page.rows))};
	cc_view device_id = codec_view(c->admin->list_devices->device_id);
	cc_err err = CC_OK;

	TRY(call_step(c, REASON_INTERNAL,
		state_list_devices(c->vault->state, device_id, add_device, &page)));
	list.n_devices = page.count;
	list.devices = page.rows;
	answer.answer_case = VAULT__ADMIN_ANSWER__ANSWER_DEVICES;
	answer.devices = &list;
	call_answer_admin(c, &answer);
out:
	(void)err; /* noted by the steps */
	for (size_t i = 0; i < page.count; i++)
		codec_free(page.rows[i]);
	free(page.rows);
}

void admin_serve_block(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	const Vault__AdminBlockDevice *request = c->admin->block_device;
	cc_view tenant = codec_view(request->tenant);
	cc_view device_id = codec_view(request->device_id);
	cc_err err = CC_OK;

	if (tenant.size == 0)
		tenant = pins_tenant(c->rules->pins);
	ENSURE(text_is_name(tenant), call_refuse(c, REASON_MALFORMED, "not a tenant's name"));
	ENSURE(device_id.size > 0 && text_is_clean(device_id, DEVICE_TEXT_MAX),
		call_refuse(c, REASON_MALFORMED, "not a device's id"));
	c->change.tenant = cc_blob_copy(tenant);
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
