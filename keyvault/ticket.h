/*
 * Tickets: a job and its fresh private key, sealed together for the time between the two halves of an
 * issue.
 *
 * Keyvault; the ring is shared by all threads (a mutex inside).  A ticket is
 *   version (1) | ticket key number (4) | job id (16) | nonce, ciphertext and tag of AES-256-GCM
 * under HKDF(master key, salt of that number, "ticket"); what is authenticated beside the content is
 * version, number, tenant and job id.  The ring holds the keys whose salts are in the state; when a salt
 * is destroyed there, its key goes here, and its tickets open no more.
 *
 * Safety: the content holds a private key: codec_free_secret.  No operation returns it.
 */
#pragma once

#include "base/hash.h"
#include "base/text.h"
#include "vault/v1/vault.pb-c.h"

#define TICKET_MAX (128u * 1024u)
#define TICKET_WHENEVER                                                                            \
	INT64_MIN /* for now_s: past its finish_by it opens too, while its key is there */

struct ticket_ring; /* opaque */

/* `master` is copied: each week's key is derived from it. */
struct ticket_ring *ticket_ring_new(const cc_secret *master);
void ticket_ring_free(struct ticket_ring *r); /* accepts NULL */
/* Known numbers are left as they are.  The highest number seals. */
cc_err ticket_ring_add(struct ticket_ring *r, uint32_t number, cc_view salt) CC_MUST_USE;
/* Drop every key whose number is not among these. */
void ticket_ring_keep(struct ticket_ring *r, const uint32_t *numbers, size_t count);

cc_err ticket_seal(struct ticket_ring *r, const Vault__TicketContent *content, uint32_t *ret_number,
	cc_blob *ret) CC_MUST_USE;
/* CC_MALFORMED, CC_NOT_FOUND (the key is no more), CC_MISMATCH (another tenant, job or byte),
 * CC_EXPIRED (after finish_by). */
cc_err ticket_open(struct ticket_ring *r, cc_view tenant, cc_view ticket, int64_t now_s,
	Vault__TicketContent **ret) CC_MUST_USE;
