/*
 * The ring of ticket keys, and tickets sealed and opened under it.
 */
#include "keyvault/ticket.h"
#include "base/crypt.h"
#include "proto/codec.h"
#include <pthread.h>
#include <stdlib.h>

#define TICKET_VERSION 1
#define TICKET_HEAD    (1 + 4 + JOB_ID_SIZE)

struct ticket_key {
	uint32_t number;
	cc_secret key;
};

struct ticket_ring {
	pthread_mutex_t mutex;
	cc_secret master;
	struct ticket_key *keys;
	size_t count;
};

struct ticket_ring *ticket_ring_new(const cc_secret *master)
{
	struct ticket_ring *r = cc_alloc(sizeof(*r));

	pthread_mutex_init(&r->mutex, NULL);
	r->master = cc_secret_copy(cc_secret_view(master));
	return r;
}

void ticket_ring_free(struct ticket_ring *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++)
		cc_secret_free(&r->keys[i].key);
	free(r->keys);
	cc_secret_free(&r->master);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

static struct ticket_key *find(struct ticket_ring *r, uint32_t number)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->keys[i].number == number)
			return &r->keys[i];
	return NULL;
}

cc_err ticket_ring_add(struct ticket_ring *r, uint32_t number, cc_view salt)
{
	cc_secret key = CC_SECRET_NONE;
	cc_err err = CC_OK;

	pthread_mutex_lock(&r->mutex);
	if (find(r, number) != NULL)
		goto out;
	TRY(crypt_derive(&r->master, salt, "ticket", &key));
	r->keys = cc_realloc(r->keys, (r->count + 1) * sizeof(*r->keys));
	r->keys[r->count++] = (struct ticket_key){number, cc_secret_move(&key)};
out:
	pthread_mutex_unlock(&r->mutex);
	cc_secret_free(&key);
	return err;
}

static bool is_among(uint32_t number, const uint32_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

void ticket_ring_keep(struct ticket_ring *r, const uint32_t *numbers, size_t count)
{
	size_t kept = 0;

	pthread_mutex_lock(&r->mutex);
	for (size_t i = 0; i < r->count; i++) {
		if (is_among(r->keys[i].number, numbers, count))
			r->keys[kept++] = r->keys[i];
		else
			cc_secret_free(&r->keys[i].key);
	}
	r->count = kept;
	pthread_mutex_unlock(&r->mutex);
}

/* A copy, so that no lock is held while sealing; number 0: the newest. */
static cc_err copy_key(struct ticket_ring *r, uint32_t number, uint32_t *ret_number, cc_secret *ret)
{
	const struct ticket_key *at = NULL;
	cc_err err = CC_OK;

	pthread_mutex_lock(&r->mutex);
	for (size_t i = 0; i < r->count; i++) {
		bool fits = number != 0 ? r->keys[i].number == number
					: at == NULL || r->keys[i].number > at->number;
		if (fits)
			at = &r->keys[i];
	}
	ENSURE(at, cc_fail(CC_NOT_FOUND, "ticket: its key is no more"));
	*ret_number = at->number;
	*ret = cc_secret_copy(cc_secret_view(&at->key));
out:
	pthread_mutex_unlock(&r->mutex);
	return err;
}

static cc_blob make_aad(uint32_t number, cc_view tenant, cc_view job_id)
{
	cc_blob aad = CC_BLOB_NONE;

	cc_blob_append_byte(&aad, TICKET_VERSION);
	cc_blob_append_u32(&aad, number);
	cc_blob_append_u32(&aad, (uint32_t)tenant.size);
	cc_blob_append(&aad, tenant);
	cc_blob_append(&aad, job_id);
	return aad;
}

cc_err ticket_seal(struct ticket_ring *r, const Vault__TicketContent *content, uint32_t *ret_number,
	cc_blob *ret)
{
	cc_secret key = CC_SECRET_NONE, plain = CC_SECRET_NONE;
	cc_blob sealed = CC_BLOB_NONE, aad = CC_BLOB_NONE, ticket = CC_BLOB_NONE;
	uint32_t number = 0;
	cc_err err = CC_OK;

	TRY(copy_key(r, 0, &number, &key));
	plain = codec_pack_secret(content);
	aad = make_aad(number, codec_view(content->tenant), codec_view(content->job_id));
	TRY(crypt_seal(&key, cc_blob_view(&aad), cc_secret_view(&plain), &sealed));
	cc_blob_append_byte(&ticket, TICKET_VERSION);
	cc_blob_append_u32(&ticket, number);
	cc_blob_append(&ticket, codec_view(content->job_id));
	cc_blob_append(&ticket, cc_blob_view(&sealed));
	ENSURE(ticket.size <= TICKET_MAX, cc_fail(CC_TOO_LARGE, "ticket: %zu bytes", ticket.size));
	*ret_number = number;
	*ret = cc_blob_move(&ticket);
out:
	cc_blob_free(&ticket);
	cc_blob_free(&aad);
	cc_blob_free(&sealed);
	cc_secret_free(&plain);
	cc_secret_free(&key);
	return err;
}

static cc_err check_content(
	const Vault__TicketContent *content, cc_view tenant, cc_view job_id, int64_t now_s)
{
	cc_err err = CC_OK;

	ENSURE(content->version == 1 && content->issue != NULL && content->issue->holder != NULL &&
			content->issue->device_key != NULL &&
			content->job_sha256.len == SHA256_SIZE &&
			content->spki_sha256.len == SHA256_SIZE,
		cc_fail(CC_MISMATCH, "ticket: its content is not whole"));
	ENSURE(cc_view_equal(codec_view(content->tenant), tenant) &&
			cc_view_equal(codec_view(content->job_id), job_id),
		cc_fail(CC_MISMATCH, "ticket: for another job"));
	ENSURE(now_s <= content->finish_by_s, cc_fail(CC_EXPIRED, "ticket: past its finish_by"));
out:
	return err;
}

cc_err ticket_open(struct ticket_ring *r, cc_view tenant, cc_view ticket, int64_t now_s,
	Vault__TicketContent **ret)
{
	Vault__TicketContent *content = NULL;
	cc_secret key = CC_SECRET_NONE, plain = CC_SECRET_NONE;
	cc_blob aad = CC_BLOB_NONE;
	uint32_t number = 0;
	cc_err err = CC_OK;

	ENSURE(ticket.size > TICKET_HEAD && ticket.size <= TICKET_MAX &&
			ticket.data[0] == TICKET_VERSION && cc_get_u32(ticket.data + 1) != 0,
		cc_fail(CC_MALFORMED, "ticket: not one of ours"));
	cc_view job_id = cc_view_part(ticket, 5, JOB_ID_SIZE);
	TRY(copy_key(r, cc_get_u32(ticket.data + 1), &number, &key));
	aad = make_aad(number, tenant, job_id);
	ENSURE(crypt_open(&key, cc_blob_view(&aad),
		       cc_view_part(ticket, TICKET_HEAD, ticket.size - TICKET_HEAD),
		       &plain) == CC_OK,
		cc_fail(CC_MISMATCH, "ticket: altered, or of another tenant or job"));
	TRY(codec_decode_secret(
		&vault__ticket_content__descriptor, cc_secret_view(&plain), TICKET_MAX, &content));
	TRY(check_content(content, tenant, job_id, now_s));
	*ret = content;
	content = NULL;
out:
	codec_free_secret(content);
	cc_blob_free(&aad);
	cc_secret_free(&plain);
	cc_secret_free(&key);
	return err;
}
