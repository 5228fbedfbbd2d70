/*
 * Enrolment token: text in and out, and the proof of possession.  The secret in it lives only in
 * memory that is wiped.
 */
#include "proto/enroll.h"
#include "base/text.h"
#include "proto/codec.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define TOKEN_MAX   (4u * 1024u)
#define GROUPS_MAX  16
#define SECRET_SIZE 32

static cc_err check(const Certq__EnrolmentToken *token)
{
	static const char https[] = "https://";
	cc_view url = codec_view(token->url);
	cc_err err = CC_OK;

	ENSURE(token->version == 1,
		cc_fail(CC_VERSION, "enrolment token of version %u", token->version));
	ENSURE(text_is_token(codec_view(token->token_id), 64),
		cc_fail(CC_MALFORMED, "enrolment token: its id"));
	ENSURE(text_is_name(codec_view(token->tenant)),
		cc_fail(CC_MALFORMED, "enrolment token: the tenant's name"));
	ENSURE(text_is_name(codec_view(token->connector_id)),
		cc_fail(CC_MALFORMED, "enrolment token: the connector's id"));
	ENSURE(token->n_groups <= GROUPS_MAX,
		cc_fail(CC_MALFORMED, "enrolment token: too many groups"));
	for (size_t i = 0; i < token->n_groups; i++)
		ENSURE(text_is_name(codec_view(token->groups[i])),
			cc_fail(CC_MALFORMED, "enrolment token: the name of group %zu", i + 1));
	ENSURE(text_is_clean(url, 1024) && url.size > sizeof(https) - 1 &&
			text_equal(cc_view_part(url, 0, sizeof(https) - 1), https),
		cc_fail(CC_MALFORMED, "enrolment token: the address is not https://"));
	ENSURE(token->queue_ca_pin.len == SHA256_SIZE && token->job_root_id.len == SHA256_SIZE,
		cc_fail(CC_MALFORMED, "enrolment token: a pin is not a SHA-256 digest"));
	ENSURE(token->secret.len == SECRET_SIZE,
		cc_fail(CC_MALFORMED, "enrolment token: its secret"));
	ENSURE(token->not_after_s > 0,
		cc_fail(CC_MALFORMED, "enrolment token: no end of its time"));
out:
	return err;
}

static cc_view trim(cc_view text)
{
	while (text.size > 0 && memchr(" \t\r\n", text.data[text.size - 1], 4))
		text.size--;
	return text;
}

cc_err enroll_token_read(cc_view text, Certq__EnrolmentToken **ret)
{
	const size_t prefix = sizeof(ENROLL_PREFIX) - 1;
	Certq__EnrolmentToken *token = NULL;
	cc_blob packed = CC_BLOB_NONE;
	cc_err err = CC_OK;

	text = trim(text);
	ENSURE(text_equal(cc_view_part(text, 0, prefix), ENROLL_PREFIX),
		cc_fail(CC_MALFORMED, "not an enrolment token: it starts with %s", ENROLL_PREFIX));
	TRY(text_from_base64(cc_view_part(text, prefix, text.size - prefix), TOKEN_MAX, &packed));
	TRY(codec_decode_secret(
		&certq__enrolment_token__descriptor, cc_blob_view(&packed), TOKEN_MAX, &token));
	TRY(check(token));
	*ret = token;
	token = NULL;
out:
	codec_free_secret(token);
	if (packed.data)
		OPENSSL_cleanse(packed.data, packed.room);
	cc_blob_free(&packed);
	return err;
}

cc_secret enroll_token_text(const Certq__EnrolmentToken *token)
{
	const size_t prefix = sizeof(ENROLL_PREFIX) - 1;
	cc_secret packed = codec_pack_secret(token);
	size_t base64 = (packed.size + 2) / 3 * 4;
	cc_secret text = cc_secret_new(prefix + base64 + 1); /* EVP_EncodeBlock ends with a NUL */

	memcpy(text.data, ENROLL_PREFIX, prefix);
	(void)EVP_EncodeBlock(text.data + prefix, packed.data, (int)packed.size);
	text.data[prefix + base64] = '\n';
	cc_secret_free(&packed);
	return text;
}

void enroll_mac(cc_view secret, cc_view token_id, cc_view csr, cc_view result_spki,
	uint8_t ret[SHA256_SIZE])
{
	uint8_t digest[SHA256_SIZE];

	HASH_ITEMS(digest, cc_view_text("certq-enroll-v1"), token_id, csr, result_spki);
	hash_hmac_sha256(secret, cc_view_of(digest, sizeof(digest)), ret);
}
