/*
 * Shape of jobs: lengths, counts, clean text, ranges.  Syntax that another module parses (subjects,
 * alternative names, keys) is only bounded here.
 */
#include "proto/job_shape.h"
#include "proto/codec.h"

#define TEXT_MAX        1024u
#define SUBJECT_MAX     4096u
#define ISSUER_MAX      4096u
#define SPKI_MAX        2048u
#define CERTIFICATE_MAX (16u * 1024u)
#define CHAIN_MAX       10
#define SAN_MAX         64
#define EKU_MAX         32
#define PASSWORDS_MAX   16
#define SERIAL_MAX      21 /* RFC 5280: 20 octets, and a zero in front of a high bit */
#define KEY_USAGE_BITS  9

static cc_err bad(const char *field, const char *what)
{
	return cc_fail(CC_MALFORMED, "job: %s %s", field, what);
}

static cc_err need_text(ProtobufCBinaryData value, const char *field)
{
	return value.len > 0 && text_is_clean(codec_view(value), TEXT_MAX)
		       ? CC_OK
		       : bad(field, "is empty, too long or not clean text");
}

static cc_err maybe_text(ProtobufCBinaryData value, size_t max, const char *field)
{
	return text_is_clean(codec_view(value), max) ? CC_OK
						     : bad(field, "is too long or not clean text");
}

static cc_err need_digest(ProtobufCBinaryData value, const char *field)
{
	return value.len == SHA256_SIZE ? CC_OK : bad(field, "is not a SHA-256 digest");
}

static cc_err check_holder(const Certq__Holder *holder)
{
	cc_err err = CC_OK;

	ENSURE(holder, bad("holder", "is missing"));
	TRY(maybe_text(holder->user_id, TEXT_MAX, "holder.user_id"));
	TRY(maybe_text(holder->upn, TEXT_MAX, "holder.upn"));
	TRY(maybe_text(holder->email, TEXT_MAX, "holder.email"));
	TRY(maybe_text(holder->sid, TEXT_MAX, "holder.sid"));
	TRY(maybe_text(holder->device_id, TEXT_MAX, "holder.device_id"));
	ENSURE(holder->user_id.len > 0 || holder->device_id.len > 0,
		bad("holder", "names neither user nor device"));
out:
	return err;
}

static cc_err check_device_key(const Certq__DeviceKey *key)
{
	cc_err err = CC_OK;

	ENSURE(key, bad("device_key", "is missing"));
	ENSURE((key->spki.len > 0) != (key->n_certificate_chain > 0),
		bad("device_key", "has not exactly one of spki and certificate_chain"));
	ENSURE(key->spki.len <= SPKI_MAX, bad("device_key.spki", "is too long"));
	ENSURE(key->n_certificate_chain <= CHAIN_MAX,
		bad("device_key.certificate_chain", "has too many certificates"));
	for (size_t i = 0; i < key->n_certificate_chain; i++)
		ENSURE(key->certificate_chain[i].len > 0 &&
				key->certificate_chain[i].len <= CERTIFICATE_MAX,
			bad("device_key.certificate_chain",
				"has an empty or oversized certificate"));
out:
	return err;
}

static bool is_oid_text(cc_view text)
{
	if (text.size < 3 || text.size > 128)
		return false;
	for (size_t i = 0; i < text.size; i++)
		if (text.data[i] != '.' && (text.data[i] < '0' || text.data[i] > '9'))
			return false;
	return true;
}

/* "{{UserName}}": what a cloud service was to put a value in place of, and did not. */
static bool has_variable(ProtobufCBinaryData text)
{
	size_t opened = text.len;

	for (size_t i = 0; i + 1 < text.len; i++) {
		if (text.data[i] == '{' && text.data[i + 1] == '{')
			opened = i + 2;
		if (i >= opened && text.data[i] == '}' && text.data[i + 1] == '}')
			return true;
	}
	return false;
}

static cc_err check_names(const Certq__Issue *issue)
{
	static const char left_over[] =
		"has a variable in {{ }} that was not replaced by its value";
	cc_err err = CC_OK;

	TRY(maybe_text(issue->subject, SUBJECT_MAX, "subject"));
	ENSURE(!has_variable(issue->subject), bad("subject", left_over));
	ENSURE(issue->n_san <= SAN_MAX, bad("san", "has too many items"));
	ENSURE(issue->subject.len > 0 || issue->n_san > 0,
		bad("subject", "and san are both empty"));
	for (size_t i = 0; i < issue->n_san; i++) {
		ENSURE(issue->san[i]->type != CERTQ__ALT_TYPE__ALT_UNSPECIFIED,
			bad("san", "has an item without a type"));
		TRY(need_text(issue->san[i]->value, "san"));
		ENSURE(!has_variable(issue->san[i]->value), bad("san", left_over));
	}
	ENSURE(issue->sid_form == CERTQ__SID_FORM__SID_NONE || issue->holder->sid.len > 0,
		bad("sid_form", "asks for a SID, but holder.sid is empty"));
out:
	return err;
}

static cc_err check_issue(const Certq__Issue *issue)
{
	cc_err err = CC_OK;

	TRY(check_holder(issue->holder));
	TRY(check_device_key(issue->device_key));
	TRY(need_text(issue->ca_profile, "ca_profile"));
	TRY(maybe_text(issue->template_, TEXT_MAX, "template"));
	ENSURE(issue->key_type != CERTQ__KEY_TYPE__KEY_UNSPECIFIED, bad("key_type", "is missing"));
	TRY(check_names(issue));
	ENSURE(issue->n_eku <= EKU_MAX, bad("eku", "has too many items"));
	for (size_t i = 0; i < issue->n_eku; i++)
		ENSURE(is_oid_text(codec_view(issue->eku[i])), bad("eku", "is not a dotted OID"));
	ENSURE(issue->key_usage < 1u << KEY_USAGE_BITS,
		bad("key_usage", "has bits that do not exist"));
	ENSURE(issue->renew_percent < 100, bad("renew_percent", "is not 0 to 99"));
out:
	return err;
}

static cc_err check_rewrap(const Certq__Rewrap *rewrap)
{
	cc_err err = CC_OK;

	TRY(check_holder(rewrap->holder));
	TRY(check_device_key(rewrap->device_key));
	ENSURE(rewrap->holder->user_id.len > 0, bad("holder.user_id", "is empty"));
	TRY(need_text(rewrap->record_id, "record_id"));
	TRY(need_text(rewrap->purpose, "purpose"));
	TRY(need_digest(rewrap->pfx_sha256, "pfx_sha256"));
	ENSURE(rewrap->padding != CERTQ__PADDING__PADDING_UNSPECIFIED,
		bad("padding", "is missing"));
	ENSURE(rewrap->binding <= 1, bad("binding", "is of a kind that is not known"));
	ENSURE(rewrap->n_passwords >= 1 && rewrap->n_passwords <= PASSWORDS_MAX,
		bad("passwords", "are not 1 to 16"));
	ENSURE(rewrap->binding == 1 || rewrap->n_passwords == 1,
		bad("passwords", "without a binding are more than one"));
	for (size_t i = 0; i < rewrap->n_passwords; i++) {
		TRY(need_digest(rewrap->passwords[i]->key_id, "passwords.key_id"));
		TRY(need_digest(rewrap->passwords[i]->sha256, "passwords.sha256"));
	}
out:
	return err;
}

/* RFC 5280 section 5.3.1; removeFromCRL (8) is for delta CRLs, 7 does not exist. */
static bool is_reason(uint32_t reason)
{
	return reason <= 10 && reason != 7 && reason != 8;
}

/* X.690 section 8.3.2: one serial number has one form, by which the issued list knows it. */
static bool is_shortest_integer(ProtobufCBinaryData octets)
{
	return octets.len < 2 || (octets.data[0] != (octets.data[1] & 0x80 ? 0xff : 0x00));
}

static cc_err check_revoke(const Certq__Revoke *revoke)
{
	cc_err err = CC_OK;

	TRY(need_text(revoke->ca_profile, "ca_profile"));
	ENSURE(revoke->issuer.len > 0 && revoke->issuer.len <= ISSUER_MAX,
		bad("issuer", "is empty or too long"));
	ENSURE(revoke->serial.len > 0 && revoke->serial.len <= SERIAL_MAX,
		bad("serial", "is empty or too long"));
	ENSURE(is_shortest_integer(revoke->serial),
		bad("serial", "is not the shortest form of its number"));
	ENSURE(is_reason(revoke->reason), bad("reason", "is not a reason for a revocation"));
out:
	return err;
}

cc_err job_shape_check(const Certq__JobDocument *job)
{
	cc_err err = CC_OK;

	ENSURE(text_is_name(codec_view(job->tenant)), bad("tenant", "is not a name"));
	ENSURE(job->audience.len == 0 || text_is_name(codec_view(job->audience)),
		bad("audience", "is not a name"));
	ENSURE(text_is_token(codec_view(job->idempotency_key), 128),
		bad("idempotency_key", "is not 1 to 128 characters of [A-Za-z0-9._:-]"));
	TRY(maybe_text(job->correlation_id, TEXT_MAX, "correlation_id"));
	ENSURE(job->not_before_s >= 0 && job->not_after_s > job->not_before_s,
		bad("not_after_s", "is not after not_before_s"));
	ENSURE(job->not_after_s - job->not_before_s <= JOB_LIFETIME_MAX_S,
		bad("not_after_s", "is more than 7 days after not_before_s"));
	switch (job->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		return check_issue(job->issue);
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		return check_rewrap(job->rewrap);
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		return check_revoke(job->revoke);
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		return need_text(job->chain->ca_profile, "ca_profile");
	default:
		return bad("kind", "is missing");
	}
out:
	return err;
}
