/*
 * local: the operations of the contract.
 *
 * The same certificate for the same (job id, CSR): a request is first looked up, and certificate,
 * serial and request are recorded in one transaction before anybody is told.  After that the
 * certificate is also written as a file, for people; the database is what counts, and files that a
 * crash left out are made at the next start, which looks at the last certificates only: a CA that has
 * issued a million starts as fast as a new one.
 */
#include "ca-backends/local/local_int.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERIAL_TRIES 3

/* ---- files for people ---- */

static char *issued_path(const struct local *l, cc_view serial)
{
	char *hex = text_hex_new(serial);
	char *path = cc_asprintf("%s/" LOCAL_ISSUED_DIR "/%s.pem", l->dir, hex);

	free(hex);
	return path;
}

static cc_err append(const char *path, int flags, cc_view text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	ssize_t done;
	cc_err err = CC_OK;

	ENSURE(fd >= 0, cc_fail_errno(path));
	done = write(fd, text.data, text.size);
	ENSURE(done >= 0, cc_fail_errno(path));
	ENSURE((size_t)done == text.size, cc_fail(CC_IO, "%s: only a part was written", path));
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static void index_line(X509 *cert, cc_view serial, cc_blob *ret)
{
	char *hex = text_hex_new(serial);
	char until[RFC3339_SIZE];
	BIO *subject = BIO_new(BIO_s_mem());
	char *text = NULL;
	long size = 0;

	if (subject != NULL &&
		X509_NAME_print_ex(subject, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0)
		size = BIO_get_mem_data(subject, &text);
	text_rfc3339(local_time_of(X509_get0_notAfter(cert)), until);
	cc_blob_printf(ret, "%s %s %.*s\n", hex, until, (int)size, size > 0 ? text : "");
	BIO_free(subject);
	free(hex);
}

static cc_err write_issued(const struct local *l, const char *path, cc_view serial, cc_view der)
{
	const unsigned char *at = der.data;
	X509 *cert = d2i_X509(NULL, &at, (long)der.size);
	char *index = cc_asprintf("%s/" LOCAL_ISSUED_DIR "/" LOCAL_INDEX_FILE, l->dir);
	cc_blob pem = CC_BLOB_NONE, line = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(cert != NULL, cc_fail_openssl("issued certificate"));
	TRY(local_certificate_pem(der, &pem));
	index_line(cert, serial, &line);
	TRY(append(path, O_TRUNC, cc_blob_view(&pem)));
	TRY(append(index, O_APPEND, cc_blob_view(&line)));
out:
	cc_blob_free(&pem);
	cc_blob_free(&line);
	free(index);
	X509_free(cert);
	return err;
}

/* The certificate is issued whether or not its copy can be written. */
static cc_err list_issued(void *arg, cc_view serial, cc_view der)
{
	const struct local *l = arg;
	char *path = issued_path(l, serial);
	cc_err err = CC_OK;

	if (access(path, F_OK) != 0)
		err = write_issued(l, path, serial, der);
	if (err != CC_OK)
		log_event(EV_CA_FAILED, LV_TEXT("ca", l->context->name), LV_ERR(err));
	free(path);
	return CC_OK;
}

/* ---- open and close ---- */

static void local_close(void *instance)
{
	struct local *l = instance;

	if (l == NULL)
		return;
	local_db_close(l->db);
	EVP_PKEY_free(l->ca.key);
	X509_free(l->ca.root);
	cc_blob_free(&l->root_der);
	free(l->dir);
	free(l);
}

static bool is_missing(const char *path)
{
	return access(path, F_OK) != 0 && errno == ENOENT;
}

/* The certificate without its key is a CA whose key is lost, or an `init` that was cut short. */
static cc_err check_made(const struct local *l, const char *key_path, const char *root_path)
{
	if (!is_missing(key_path))
		return CC_OK;
	if (is_missing(root_path))
		return cc_fail(CC_CONFIG, "this CA is not made yet: certconnectorctl ca init %s",
			l->context->name);
	return cc_fail(CC_CONFIG,
		"%s: No such file or directory, and %s is there: put the CA's key back, or, if "
		"this CA "
		"has issued nothing yet, certconnectorctl ca init %s",
		key_path, root_path, l->context->name);
}

static cc_err read_key(struct local *l)
{
	char *key_path = file_join(l->dir, LOCAL_KEY_FILE);
	char *root_path = file_join(l->dir, LOCAL_ROOT_FILE);
	cc_secret passphrase = CC_SECRET_NONE;
	cc_err err = CC_OK;

	TRY(check_made(l, key_path, root_path));
	ENSURE(l->context->secret.size > 0,
		cc_fail(CC_CONFIG,
			"ca.d/%s.yaml: `secret` is missing, or its file: put the file back",
			l->context->name));
	err = local_passphrase(l->context->secret, &passphrase);
	ENSURE(err == CC_OK, cc_fail_in(err, "ca.d/%s.yaml: `secret`: ", l->context->name));
	TRY(local_key_read(key_path, &passphrase, &l->ca.key));
	ENSURE(!is_missing(root_path),
		cc_fail(CC_CONFIG,
			"%s: No such file or directory: put the CA's certificate back, pins.yaml "
			"has a copy",
			root_path));
	TRY(local_certificate_read(root_path, &l->ca.root));
	ENSURE(X509_check_private_key(l->ca.root, l->ca.key) == 1,
		(ERR_clear_error(), cc_fail(CC_CONFIG, "%s is not the certificate of this CA's key",
					    root_path)));
	TRY(local_certificate_der(l->ca.root, &l->root_der));
out:
	cc_secret_free(&passphrase);
	free(key_path);
	free(root_path);
	return err;
}

static cc_err make_crl(struct local *l)
{
	uint64_t number = 0;
	cc_err err = local_crl_make(
		&l->ca, l->db, l->dir, clock_realtime_s(), l->crl_validity_s, &number);

	if (err != CC_OK)
		return err;
	l->crl_due_s = local_crl_due(l->dir);
	log_event(EV_CRL_MADE, LV_TEXT("ca", l->context->name), LV_U64("number", number));
	return CC_OK;
}

static cc_err read_options(struct local *l)
{
	const struct ca_context *c = l->context;
	cc_err err = text_to_seconds(cc_view_text(ca_option_get(c, "crl_validity")),
		UINT64_C(400) * 86400, &l->crl_validity_s);

	if (err != CC_OK || l->crl_validity_s < 3600)
		return cc_fail(CC_CONFIG, "crl_validity: a time such as 7d, from 1h to 400d");
	err = text_to_seconds(
		cc_view_text(ca_option_get(c, "poll_after")), 86400, &l->poll_after_s);
	if (err != CC_OK || l->poll_after_s < 1)
		return cc_fail(CC_CONFIG, "poll_after: a time such as 5m, from 1s to 1d");
	l->ca.crl_url = ca_option_get(c, "crl_url");
	if (l->ca.crl_url != NULL &&
		(strncmp(l->ca.crl_url, "http", 4) != 0 || strpbrk(l->ca.crl_url, ",; \"") != NULL))
		return cc_fail(CC_CONFIG, "crl_url: an http address without comma or semicolon");
	return local_template_check_all(c);
}

static cc_err local_open(const struct ca_context *c, void **ret_instance)
{
	struct local *l = cc_alloc(sizeof(*l));
	char *db_dir = NULL, *issued = NULL;
	cc_err err = CC_OK;

	l->context = c;
	l->dir = file_join(c->state_dir, "local");
	TRY(read_options(l));
	TRY(read_key(l));
	db_dir = file_join(l->dir, LOCAL_DB_DIR);
	TRY(local_db_open(db_dir, false, &l->db));
	issued = file_join(l->dir, LOCAL_ISSUED_DIR);
	TRY(file_make_dir(issued, 0700));
	TRY(local_db_each_latest(l->db, list_issued, l));
	TRY(local_pending_open(l));
	TRY(make_crl(l));
	*ret_instance = l;
	l = NULL;
out:
	free(db_dir);
	free(issued);
	local_close(l);
	return err;
}

/* ---- operations ---- */

void local_answer_issued(const struct local *l, cc_view der, struct ca_answer *ret)
{
	const unsigned char *at = der.data;
	X509 *cert = d2i_X509(NULL, &at, (long)der.size);

	ret->result = CA__CA_RESULT__CA_ISSUED;
	ca_answer_add(ret, der);
	ca_answer_add(ret, cc_blob_view(&l->root_der));
	if (cert != NULL) {
		const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
		ret->reference = text_hex_new(cc_view_of(serial->data, (size_t)serial->length));
	}
	X509_free(cert);
}

cc_err local_issue_new(struct local *l, const struct local_template *t, const struct ca_request *r,
	cc_view reference, cc_blob *ret_der)
{
	struct local_request request = {r->tenant, r->job_id, r->csr_sha256};
	uint8_t serial[LOCAL_SERIAL_SIZE];
	cc_err err = CC_CONFLICT;

	for (int i = 0; i < SERIAL_TRIES && err == CC_CONFLICT; i++) {
		cc_blob_free(ret_der);
		local_random_serial(serial);
		err = local_issue(
			&l->ca, t, r->csr, r->validity_s, serial, clock_realtime_s(), ret_der);
		if (err == CC_OK)
			err = local_db_add(
				l->db, &request, serial, cc_blob_view(ret_der), reference);
	}
	if (err == CC_OK)
		cc_ignore(list_issued(l, cc_view_of(serial, sizeof(serial)), cc_blob_view(ret_der)),
			"it has logged");
	return err;
}

/* Before the commit nothing exists, so a failure of our own is NOT_SENT; a failed commit may have
 * left a certificate. */
static Ca__CaResult result_of(cc_err err)
{
	switch (cc_err_category(err)) {
	case CC_CAT_REJECTED:
	case CC_CAT_PEER:
		return CA__CA_RESULT__CA_REJECTED;
	case CC_CAT_CONFIG:
		return CA__CA_RESULT__CA_MISCONFIGURED;
	case CC_CAT_STORAGE:
		return CA__CA_RESULT__CA_UNKNOWN;
	default:
		return CA__CA_RESULT__CA_NOT_SENT;
	}
}

static cc_err issue_or_wait(struct local *l, const struct ca_request *r, struct ca_answer *ret)
{
	struct local_template t = {0};
	cc_blob der = CC_BLOB_NONE;
	cc_err err = local_template_read(l->context, r->template_name, &t);

	if (err == CC_NOT_FOUND)
		err = cc_fail(CC_CONFIG, "%s", cc_err_detail(err));
	TRY(err);
	if (t.manual) {
		TRY(local_pending_add(l, &t, r, ret));
		goto out;
	}
	TRY(local_issue_new(l, &t, r, CC_VIEW_NONE, &der));
	local_answer_issued(l, cc_blob_view(&der), ret);
out:
	local_template_clear(&t);
	cc_blob_free(&der);
	return err;
}

static void local_submit(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	struct local *l = instance;
	cc_err err = local_pending_tell(l, r, ret);

	if (err == CC_OK && ret->result == CA__CA_RESULT__CA_NOT_ISSUED) {
		ca_answer_clear(ret);
		err = issue_or_wait(l, r, ret);
	}
	if (err != CC_OK)
		ca_answer_set(ret, result_of(err), "%s", cc_err_detail(err));
}

/* A failure to look says nothing about the request. */
static void cannot_look(cc_err err, struct ca_answer *ret)
{
	ca_answer_set(ret,
		cc_err_category(err) == CC_CAT_CONFIG ? CA__CA_RESULT__CA_MISCONFIGURED
						      : CA__CA_RESULT__CA_UNKNOWN,
		"%s", cc_err_detail(err));
}

static void local_poll(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	cc_err err = local_pending_tell(instance, r, ret);

	if (err != CC_OK)
		cannot_look(err, ret);
}

/* What was granted is not taken back, and what was denied or is not there needs no taking back. */
static void local_withdraw(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	cc_err err = local_pending_tell(instance, r, ret);

	/* approved, but for a template that is gone: nothing was issued */
	if (err == CC_CONFIG)
		TRY(local_pending_withdraw(instance, r));
	TRY(err == CC_CONFIG ? CC_OK : err);
	if (ret->result == CA__CA_RESULT__CA_ISSUED || ret->result == CA__CA_RESULT__CA_NOT_ISSUED)
		goto out;
	if (ret->result == CA__CA_RESULT__CA_PENDING)
		TRY(local_pending_withdraw(instance, r));
	ca_answer_clear(ret);
	ca_answer_set(ret, CA__CA_RESULT__CA_NOT_ISSUED, "the request is withdrawn");
out:
	if (err != CC_OK) {
		ca_answer_clear(ret);
		cannot_look(err, ret);
	}
}

/* Everything that this CA made is in its database, so it can always tell. */
static void local_find(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	cc_err err = local_pending_tell(instance, r, ret);

	if (err != CC_OK)
		ca_answer_set(ret, CA__CA_RESULT__CA_CANNOT_TELL, "%s", cc_err_detail(err));
	else if (ret->result == CA__CA_RESULT__CA_REJECTED)
		ret->result = CA__CA_RESULT__CA_NOT_ISSUED;
}

static cc_err check_issuer(const struct local *l, cc_view issuer)
{
	const unsigned char *at = issuer.data;
	X509_NAME *name = d2i_X509_NAME(NULL, &at, (long)issuer.size);
	bool same = name != NULL && at == issuer.data + issuer.size &&
		    X509_NAME_cmp(name, X509_get_subject_name(l->ca.root)) == 0;

	X509_NAME_free(name);
	ERR_clear_error();
	return same ? CC_OK : cc_fail(CC_MISMATCH, "the issuer is not this CA");
}

static void local_revoke(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	struct local *l = instance;
	cc_err err = CC_OK;

	TRY(check_issuer(l, r->issuer));
	err = local_db_revoke(l->db, r->serial, clock_realtime_s(), r->reason);
	ENSURE(err != CC_NOT_FOUND, cc_fail(CC_NOT_FOUND, "no certificate has this serial"));
	TRY(err);
	TRY(make_crl(l));
	ca_answer_set(ret, CA__CA_RESULT__CA_DONE, "%s", "");
out:
	if (err != CC_OK)
		ca_answer_set(ret, result_of(err), "%s", cc_err_detail(err));
}

static void local_chain(void *instance, struct ca_answer *ret)
{
	struct local *l = instance;

	ret->result = CA__CA_RESULT__CA_DONE;
	ca_answer_add(ret, cc_blob_view(&l->root_der));
}

static void local_health(void *instance, struct ca_answer *ret)
{
	struct local *l = instance;
	int64_t now = clock_realtime_s();
	cc_err err = CC_OK;

	if (now >= l->crl_due_s)
		err = make_crl(l);
	if (err != CC_OK)
		ca_answer_set(ret, CA__CA_RESULT__CA_MISCONFIGURED, "the CRL cannot be made: %s",
			cc_err_detail(err));
	else if ((err = local_pending_tend(l)) != CC_OK)
		ca_answer_set(ret, CA__CA_RESULT__CA_MISCONFIGURED,
			"a waiting request cannot be dealt with: %s", cc_err_detail(err));
	else if (now > local_time_of(X509_get0_notAfter(l->ca.root)))
		ca_answer_set(
			ret, CA__CA_RESULT__CA_MISCONFIGURED, "the CA's own certificate is over");
	else
		ca_answer_set(ret, CA__CA_RESULT__CA_DONE, "%s", "");
}

static const struct ca_option_rule schema[] = {
	{"templates.*.eku", false, true, NULL, "what may be asked for; all of it when nothing is"},
	{"templates.*.key_usage", false, true, NULL, "the same for key usage"},
	{"templates.*.max_validity", false, false, "365d", "longest life of a certificate"},
	{"templates.*.honour", false, true, "san,eku,key_usage,sid,smime_capabilities,template",
		"extensions that are taken over from a request"},
	{"templates.*.approval", false, false, "none",
		"none; manual: a person decides about each request"},
	{"poll_after", false, false, "5m",
		"when to ask again about a request that waits for a person"},
	{"crl_validity", false, false, "7d", "a CRL is made anew after half of it"},
	{"crl_url", false, false, NULL, "address of crl.der, for the certificates"},
};

const struct ca_backend local_backend = {
	.abi = CA_BACKEND_ABI,
	.name = "local",
	.description = "the embedded CA",
	.schema = schema,
	.schema_count = sizeof(schema) / sizeof(schema[0]),
	.resubmit = CA__CA_RESUBMIT__RESUBMIT_SAME_CERT,
	.find_by = CA__CA_FIND__FIND_BY_CSR,
	.open = local_open,
	.submit = local_submit,
	.poll = local_poll,
	.find = local_find,
	.withdraw = local_withdraw,
	.revoke = local_revoke,
	.chain = local_chain,
	.health = local_health,
	.close = local_close,
};
