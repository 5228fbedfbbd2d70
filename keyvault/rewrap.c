/*
 * rewrap.  PFX and encrypted passwords come beside the job and are nobody's word: their digests are in
 * the job.  For a bound record the OAEP label ties the password to owner, purpose and file, so that no
 * key derivation is needed; a record without a binding is opened and its certificate compared with
 * the job's user, where policy takes such records at all.
 *
 * Everything that goes wrong between ciphertext and PFX is one reason outside.
 */
#include "keyvault/rewrap.h"
#include "keyvault/device.h"
#include "keyvault/names.h"
#include "keyvault/pfx.h"
#include "keyvault/result.h"
#include "keyvault/verify.h"
#include <openssl/x509v3.h>
#include <string.h>

static bool digest_is(ProtobufCBinaryData digest, ProtobufCBinaryData content)
{
	uint8_t actual[SHA256_SIZE];

	hash_sha256(codec_view(content), actual);
	return cc_view_equal(codec_view(digest), cc_view_of(actual, sizeof(actual)));
}

static cc_err check_digests(const Certq__Rewrap *job, const Vault__Rewrap *request)
{
	cc_err err = CC_OK;

	ENSURE(request->pfx.len > 0 && request->pfx.len <= PFX_MAX,
		cc_fail(CC_MISMATCH, "a PFX of %zu bytes", request->pfx.len));
	ENSURE(digest_is(job->pfx_sha256, request->pfx),
		cc_fail(CC_MISMATCH, "the PFX is not the one of the job"));
	ENSURE(request->n_passwords == job->n_passwords,
		cc_fail(CC_MISMATCH, "%zu encrypted passwords, the job has %zu",
			request->n_passwords, job->n_passwords));
	for (size_t i = 0; i < job->n_passwords; i++)
		ENSURE(digest_is(job->passwords[i]->sha256, request->passwords[i]),
			cc_fail(CC_MISMATCH, "encrypted password %zu is not the one of the job",
				i));
out:
	return err;
}

/* The first copy whose key is held. */
static cc_err find_copy(struct call *c, const Certq__Rewrap *job, size_t *ret_index)
{
	struct keystore_public found;

	for (size_t i = 0; i < job->n_passwords; i++) {
		if (keystore_find(c->vault->keys, codec_view(job->passwords[i]->key_id), &found) &&
			found.use == KEYSTORE_DECRYPT) {
			*ret_index = i;
			return CC_OK;
		}
	}
	return call_refuse(c, REASON_KEY_NOT_HELD, "none of the %zu recipients' keys is here",
		job->n_passwords);
}

static cc_err decrypt(struct call *c, const Vault__Rewrap *request, size_t index, cc_secret *ret)
{
	const Certq__Rewrap *job = c->job->rewrap;
	uint8_t label[SHA256_SIZE];
	cc_view label_view = CC_VIEW_NONE;

	if (job->binding == 1) {
		job_pfx_label(codec_view(c->job->tenant), codec_view(job->holder->user_id),
			codec_view(job->purpose), codec_view(job->pfx_sha256), label);
		label_view = cc_view_of(label, sizeof(label));
	}
	return keystore_decrypt(c->vault->keys, codec_view(job->passwords[index]->key_id),
		job->padding, label_view, codec_view(request->passwords[index]), ret);
}

/* ---- records without a binding ---- */

static bool name_fits(const GENERAL_NAME *name, const Certq__Holder *holder)
{
	if (name->type == GEN_EMAIL)
		return names_string_is(name->d.rfc822Name, codec_view(holder->email)) ||
		       names_string_is(name->d.rfc822Name, codec_view(holder->upn));
	if (name->type == GEN_OTHERNAME && OBJ_obj2nid(name->d.otherName->type_id) == NID_ms_upn &&
		name->d.otherName->value->type == V_ASN1_UTF8STRING)
		return names_string_is(
			name->d.otherName->value->value.utf8string, codec_view(holder->upn));
	return false;
}

static bool names_user(X509 *leaf, const Certq__Holder *holder)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(leaf);
	bool fits = false;

	for (int i = 0; !fits && i < sk_GENERAL_NAME_num(names); i++)
		fits = name_fits(sk_GENERAL_NAME_value(names, i), holder);
	for (int i = X509_NAME_get_index_by_NID(subject, NID_pkcs9_emailAddress, -1);
		!fits && i >= 0; i = X509_NAME_get_index_by_NID(subject, NID_pkcs9_emailAddress, i))
		fits = names_string_is(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)),
			codec_view(holder->email));
	GENERAL_NAMES_free(names);
	return fits;
}

/* What was encrypted is one byte a character, ISO 8859-1; PKCS#12 wants UTF-8. */
static cc_secret as_utf8(const cc_secret *password)
{
	cc_secret text = cc_secret_new(2 * password->size);
	size_t used = 0;

	for (size_t i = 0; i < password->size; i++) {
		uint8_t c = password->data[i];

		if (c >= 0x80) {
			text.data[used++] = (uint8_t)(0xc0 | c >> 6);
			c = 0x80 | (c & 0x3f);
		}
		text.data[used++] = c;
	}
	cc_secret_resize(&text, used);
	return text;
}

/* Files under RC2 are not taken here: OpenSSL's legacy provider stays out of the process that has the
 * keys.  Such records are re-protected at import. */
static cc_err check_unbound(
	const Certq__Rewrap *job, const Vault__Rewrap *request, const cc_secret *password)
{
	struct pfx_content content = {0};
	cc_secret text = as_utf8(password);
	cc_err err = CC_OK;

	TRY(pfx_inspect(codec_view(request->pfx), NULL));
	TRY(pfx_open(codec_view(request->pfx), cc_secret_view(&text), NULL, &content));
	ENSURE(names_user(content.leaf, job->holder),
		cc_fail(CC_MISMATCH, "the certificate in the PFX is not the job's user's"));
out:
	pfx_content_clear(&content);
	cc_secret_free(&text);
	return err;
}

/* ---- the answer ---- */

static cc_err sign_rewrapped(struct call *c, const struct device_key *device, Certq__Seal seal,
	const cc_blob *sealed, Certq__SignedDocument **ret)
{
	Certq__ResultDocument document = CERTQ__RESULT_DOCUMENT__INIT;
	uint8_t sealed_sha256[SHA256_SIZE];

	hash_sha256(cc_blob_view(sealed), sealed_sha256);
	document.tenant = c->job->tenant;
	document.job_id = codec_bytes(cc_view_of(c->change.job_id, JOB_ID_SIZE));
	document.job_sha256 = codec_bytes(cc_view_of(c->change.job_sha256, SHA256_SIZE));
	document.outcome = CERTQ__OUTCOME__OUTCOME_REWRAPPED;
	document.device_spki = codec_bytes(cc_blob_view(&device->spki));
	document.seal = seal;
	document.pfx_sha256 = c->job->rewrap->pfx_sha256;
	document.sealed_sha256 = codec_bytes(cc_view_of(sealed_sha256, SHA256_SIZE));
	return result_sign(c->vault->keys, &document, ret);
}

static void plan_effects(struct call *c, const struct device_key *device)
{
	struct state_change *change = &c->change;

	vault__taken_job__init(&change->taken);
	change->taken.kind = codec_text("rewrap");
	change->taken.job_sha256 = codec_bytes(cc_view_of(change->job_sha256, SHA256_SIZE));
	change->taken.not_after_s = c->job->not_after_s;
	change->taken.accepted_s = c->now_s;
	change->taken.correlation_id = c->job->correlation_id;
	change->take = STATE_TAKE_SAME;
	change->rate = "rewrap";
	change->per_hour = policy_limits(c->rules->policy)->rewrap_per_hour;
	memcpy(change->decision.spki_sha256, device->spki_sha256, SHA256_SIZE);
	change->decision.has_spki = true;
	change->decision.subject = cc_blob_copy(codec_view(c->job->rewrap->record_id));
}

static void answer_rewrapped(struct call *c, Certq__SignedDocument *result, const cc_blob *sealed)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	Certq__ResultBundle bundle = CERTQ__RESULT_BUNDLE__INIT;

	bundle.result = result;
	bundle.sealed_password = codec_bytes(cc_blob_view(sealed));
	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_RESULT;
	answer.result = &bundle;
	call_answer(c, &answer);
}

static cc_err read_device(
	struct call *c, const Certq__Rewrap *job, Certq__Seal seal, struct device_key *device)
{
	cc_err err = CC_OK;

	TRY(call_step(c, REASON_DEVICE_KEY, device_key_read(job->device_key, device)));
	TRY(call_step(c, REASON_DEVICE_KEY, device_key_check_form(device, seal, c->now_s)));
	TRY(call_step(c, REASON_DEVICE_KEY,
		device_key_judge(c->rules->policy, job->holder, job->device_key, device, true,
			c->now_s, &c->change.device)));
	c->change.has_device = true;
	c->change.what = cc_blob_copy(codec_view(job->record_id));
out:
	return err;
}

void rewrap_serve(struct call *c)
{
	const Vault__Rewrap *request = c->request->rewrap;
	const Certq__Rewrap *job = NULL;
	Certq__Seal seal = CERTQ__SEAL__SEAL_UNSPECIFIED;
	struct device_key device = {0};
	Certq__SignedDocument *result = NULL;
	cc_secret password = CC_SECRET_NONE;
	cc_blob sealed = CC_BLOB_NONE;
	size_t index = 0;
	cc_err err = CC_OK;

	TRY(verify_job(c, request->job_id, request->job, request->signer,
		CERTQ__JOB_DOCUMENT__KIND_REWRAP));
	job = c->job->rewrap;
	TRY(call_step(c, REASON_POLICY, policy_judge_rewrap(c->rules->policy, job, &seal)));
	TRY(read_device(c, job, seal, &device));
	TRY(call_step(c, REASON_PASSWORD, check_digests(job, request)));
	TRY(find_copy(c, job, &index));
	TRY(call_step(c, REASON_PASSWORD, decrypt(c, request, index, &password)));
	if (job->binding == 0)
		TRY(call_step(c, REASON_PASSWORD, check_unbound(job, request, &password)));
	TRY(call_step(c, REASON_PASSWORD,
		device_key_seal(&device, seal, policy_rewrap_pkcs1(c->rules->policy),
			cc_secret_view(&password), &sealed)));
	TRY(call_step(c, REASON_INTERNAL, sign_rewrapped(c, &device, seal, &sealed, &result)));
	plan_effects(c, &device);
	answer_rewrapped(c, result, &sealed);
out:
	(void)err; /* noted by the steps */
	codec_free(result);
	cc_secret_free(&password);
	cc_blob_free(&sealed);
	device_key_clear(&device);
}
