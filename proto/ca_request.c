/*
 * Requests that wait for a person: file names, and messages in and out of files.
 */
#include "proto/ca_request.h"
#include "base/file.h"
#include "base/text.h"
#include "proto/codec.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX       (128u * 1024u)
#define REFERENCE_HEAD 8 /* octets of the digest */

void ca_request_reference(
	cc_view tenant, cc_view job_id, cc_view csr_sha256, char ret[CA_REQUEST_REFERENCE_SIZE])
{
	uint8_t digest[SHA256_SIZE];
	char *hex;

	HASH_ITEMS(digest, cc_view_text("ca-request/1"), tenant, job_id, csr_sha256);
	hex = text_hex_new(cc_view_of(digest, REFERENCE_HEAD));
	memcpy(ret, hex, CA_REQUEST_REFERENCE_SIZE);
	free(hex);
}

bool ca_request_is_reference(const char *text)
{
	return strlen(text) == CA_REQUEST_REFERENCE_SIZE - 1 &&
	       strspn(text, "0123456789abcdef") == CA_REQUEST_REFERENCE_SIZE - 1;
}

static char *path_of(const char *dir, const char *folder, const char *reference)
{
	return cc_asprintf("%s/%s/%s", dir, folder, reference);
}

static cc_err remove_file(const char *dir, const char *folder, const char *reference)
{
	char *path = path_of(dir, folder, reference);
	cc_err err = unlink(path) == 0 || errno == ENOENT ? CC_OK : cc_fail_errno(path);

	free(path);
	return err;
}

static cc_err read_message(const char *dir, const char *folder, const char *reference,
	const ProtobufCMessageDescriptor *type, void *ret_message)
{
	char *path = path_of(dir, folder, reference);
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(ca_request_is_reference(reference),
		cc_fail(CC_USAGE, "a reference has 16 hex digits"));
	if (access(path, F_OK) != 0 && errno == ENOENT) {
		err = cc_fail(CC_NOT_FOUND, "no request %s waits here", reference);
		goto out;
	}
	TRY(file_read(path, FILE_ANY, FILE_MAX, &bytes));
	TRY(codec_decode_document(type, cc_blob_view(&bytes), FILE_MAX, ret_message));
out:
	cc_blob_free(&bytes);
	free(path);
	return err;
}

/* `keeps`: a file that is there stays, CC_CONFLICT. */
static cc_err write_message(const char *dir, const char *folder, ProtobufCBinaryData reference,
	const void *message, bool keeps)
{
	char *name = cc_strndup(codec_view(reference));
	char *path = path_of(dir, folder, name);
	cc_blob bytes = codec_pack(message);
	cc_err err = keeps ? file_write_new(path, cc_blob_view(&bytes), 0600)
			   : file_write_atomic(path, cc_blob_view(&bytes), 0600);

	cc_blob_free(&bytes);
	free(path);
	free(name);
	return err;
}

/* ---- requests ---- */

cc_err ca_request_write(const char *dir, const Ca__PendingRequest *request)
{
	return write_message(dir, CA_REQUEST_REQUESTS_DIR, request->reference, request, false);
}

cc_err ca_request_read(const char *dir, const char *reference, Ca__PendingRequest **ret)
{
	Ca__PendingRequest *r = NULL;
	cc_err err = CC_OK;

	TRY(read_message(
		dir, CA_REQUEST_REQUESTS_DIR, reference, &ca__pending_request__descriptor, &r));
	ENSURE(r->version == CA_REQUEST_VERSION &&
			text_equal(codec_view(r->reference), reference) &&
			r->csr_sha256.len == SHA256_SIZE && r->job_id.len == JOB_ID_SIZE,
		cc_fail(CC_CORRUPT, "request %s: its file is not of its form", reference));
	*ret = r;
	r = NULL;
out:
	codec_free(r);
	return err;
}

cc_err ca_request_remove(const char *dir, const char *reference)
{
	return remove_file(dir, CA_REQUEST_REQUESTS_DIR, reference);
}

/* ---- decisions ---- */

cc_err ca_request_write_decision(const char *dir, const Ca__RequestDecision *decision)
{
	return write_message(dir, CA_REQUEST_DECISIONS_DIR, decision->reference, decision, true);
}

cc_err ca_request_read_decision(const char *dir, const char *reference, Ca__RequestDecision **ret)
{
	Ca__RequestDecision *d = NULL;
	cc_err err = CC_OK;

	TRY(read_message(
		dir, CA_REQUEST_DECISIONS_DIR, reference, &ca__request_decision__descriptor, &d));
	ENSURE(d->version == CA_REQUEST_VERSION &&
			text_equal(codec_view(d->reference), reference) &&
			d->csr_sha256.len == SHA256_SIZE &&
			text_is_clean(codec_view(d->reason), CA_REQUEST_REASON_MAX),
		cc_fail(CC_CORRUPT, "decision %s: its file is not of its form", reference));
	*ret = d;
	d = NULL;
out:
	codec_free(d);
	return err;
}

cc_err ca_request_remove_decision(const char *dir, const char *reference)
{
	return remove_file(dir, CA_REQUEST_DECISIONS_DIR, reference);
}

/* ---- walk ---- */

/* Other names, a temporary file of a write that was cut short among them, are passed over. */
cc_err ca_request_each(const char *dir, const char *folder, ca_request_each_fn fn, void *arg)
{
	char *path = file_join(dir, folder);
	DIR *d = opendir(path);
	cc_err err = CC_OK;

	if (d == NULL && errno == ENOENT)
		goto out; /* the CA has not run yet */
	ENSURE(d != NULL, cc_fail_errno(path));
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (ca_request_is_reference(e->d_name))
			TRY(fn(arg, e->d_name));
	}
out:
	if (d != NULL)
		closedir(d);
	free(path);
	return err;
}
