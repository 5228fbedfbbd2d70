/*
 * Files and exit statuses of the command-line programs.
 */
#include "base/tool.h"
#include "base/file.h"
#include "base/role.h"
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#define KEY_FILE_MAX  (64u * 1024u)
#define JSON_FILE_MAX (4u * 1024u * 1024u)

int tool_exit_status(cc_err err)
{
	switch (cc_err_category(err)) {
	case CC_CAT_OK:
		return EXIT_OK;
	case CC_CAT_REJECTED:
		return EXIT_REFUSED;
	case CC_CAT_RETRY_LATER:
		return EXIT_UNREACHABLE;
	case CC_CAT_CONFIG:
		return err == CC_USAGE ? EXIT_USAGE : EXIT_CONFIGURATION;
	default:
		return EXIT_FAILED;
	}
}

int tool_fail(const char *program, const char *doing, cc_err err)
{
	fprintf(stderr, "%s: %s: %s\n", program, doing, cc_err_detail(err));
	return tool_exit_status(err);
}

cc_err tool_key_read(const char *path, EVP_PKEY **ret)
{
	cc_secret pem = CC_SECRET_NONE;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(file_read_secret(path, KEY_FILE_MAX, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	ENSURE(key != NULL, cc_fail_openssl(path));
	*ret = key;
out:
	BIO_free(bio);
	cc_secret_free(&pem);
	return err;
}

static cc_err write_bio(BIO *bio, const char *path, mode_t mode)
{
	char *data = NULL;
	long size = BIO_get_mem_data(bio, &data);
	return file_write_new(path, cc_view_of(data, (size_t)size), mode);
}

cc_err tool_key_write(EVP_PKEY *key, const char *path, const char *public_path)
{
	BIO *private_part = BIO_new(BIO_s_secmem());
	BIO *public_part = BIO_new(BIO_s_mem());
	cc_err err = CC_OK;

	ENSURE(private_part != NULL && public_part != NULL &&
			PEM_write_bio_PrivateKey(private_part, key, NULL, NULL, 0, NULL, NULL) ==
				1 &&
			PEM_write_bio_PUBKEY(public_part, key) == 1,
		cc_fail_openssl("writing a key"));
	TRY(write_bio(private_part, path, 0600));
	TRY(write_bio(public_part, public_path, 0644));
out:
	BIO_free(public_part);
	BIO_free(private_part);
	return err;
}

cc_err tool_secret_read(const char *path, size_t max, cc_secret *ret)
{
	cc_err err = file_read_secret(path, max, ret);

	while (err == CC_OK && ret->size > 0 &&
		(ret->data[ret->size - 1] == '\n' || ret->data[ret->size - 1] == '\r'))
		cc_secret_resize(ret, ret->size - 1);
	return err;
}

cc_err tool_json_read(const char *path, json_t **ret)
{
	json_error_t where;
	json_t *value = NULL;
	cc_blob text = CC_BLOB_NONE;

	if (strcmp(path, "-") == 0) {
		value = json_loadf(stdin, JSON_REJECT_DUPLICATES, &where);
	} else {
		cc_err err = file_read(path, FILE_ANY, JSON_FILE_MAX, &text);
		if (err != CC_OK)
			return err;
		value = json_loadb(
			(const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &where);
		cc_blob_free(&text);
	}
	if (value == NULL)
		return cc_fail(
			CC_MALFORMED, "%s:%d:%d: %s", path, where.line, where.column, where.text);
	*ret = value;
	return CC_OK;
}
