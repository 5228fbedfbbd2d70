/*
 * The worker's child: one request in, one answer out, by frames over a socketpair.
 *
 * Records that we write bind owner and content: the OAEP label is over tenant, user id, purpose and
 * the digest of the new file, padding OAEP-SHA-512.
 */
#include "ctl/pfx_worker.h"
#include "base/chan.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "keyvault/pfx.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKER_TIMEOUT_MS 120000

struct reprotected {
	cc_blob pfx;
	cc_blob certificate;
	int64_t not_before_s, not_after_s;
	cc_secret password;
};

static int64_t seconds_of(const ASN1_TIME *time)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days = 0, seconds = 0;
	if (epoch == NULL || ASN1_TIME_diff(&days, &seconds, epoch, time) != 1)
		seconds = days = 0;
	ASN1_TIME_free(epoch);
	return (int64_t)days * 86400 + seconds;
}

static cc_err reprotect(
	const Ctl__ImportRequest *request, const struct pfx_legacy *legacy, struct reprotected *to)
{
	struct pfx_content content = {0};
	unsigned char *der = NULL;
	cc_err err = CC_OK;

	TRY(pfx_open(codec_view(request->pfx), codec_view(request->password), legacy, &content));
	to->password = pfx_password_new();
	TRY(pfx_pack(content.key, content.leaf, content.others, &to->password, request->profile,
		PFX_ITERATIONS, &to->pfx));
	int size = i2d_X509(content.leaf, &der);
	ENSURE(size > 0, cc_fail_openssl("encoding the certificate"));
	to->certificate = cc_blob_copy(cc_view_of(der, (size_t)size));
	to->not_before_s = seconds_of(X509_get0_notBefore(content.leaf));
	to->not_after_s = seconds_of(X509_get0_notAfter(content.leaf));
out:
	OPENSSL_free(der);
	pfx_content_clear(&content);
	return err;
}

static cc_err encrypt_to(const Ctl__ImportRequest *request, const struct reprotected *from,
	cc_view spki, cc_blob *ret)
{
	uint8_t digest[SHA256_SIZE];
	uint8_t label[SHA256_SIZE];
	EVP_PKEY *recipient = NULL;
	cc_err err = CC_OK;

	hash_sha256(cc_blob_view(&from->pfx), digest);
	job_pfx_label(codec_view(request->tenant), codec_view(request->user_id),
		codec_view(request->purpose), cc_view_of(digest, sizeof(digest)), label);
	TRY(sealer_device_key(spki, &recipient));
	TRY(sealer_password_encrypt(recipient, CERTQ__PADDING__PADDING_OAEP_SHA512,
		cc_view_of(label, sizeof(label)), cc_secret_view(&from->password), ret));
out:
	EVP_PKEY_free(recipient);
	return err;
}

static cc_err work(
	const Ctl__ImportRequest *request, const struct pfx_legacy *legacy, cc_blob *ret_frame)
{
	struct reprotected made = {0};
	Ctl__ImportAnswer answer = CTL__IMPORT_ANSWER__INIT;
	Ctl__ImportedPassword *passwords =
		cc_alloc((request->n_recipients + 1) * sizeof(*passwords));
	Ctl__ImportedPassword **list = cc_alloc((request->n_recipients + 1) * sizeof(*list));
	cc_blob *encrypted = cc_alloc((request->n_recipients + 1) * sizeof(*encrypted));
	uint8_t(*ids)[SHA256_SIZE] = cc_alloc((request->n_recipients + 1) * sizeof(*ids));
	cc_err err = CC_OK;

	TRY(reprotect(request, legacy, &made));
	for (size_t i = 0; i < request->n_recipients; i++) {
		cc_view spki = codec_view(request->recipients[i]);
		TRY(encrypt_to(request, &made, spki, &encrypted[i]));
		dsse_key_id(spki, ids[i]);
		passwords[i] = (Ctl__ImportedPassword)CTL__IMPORTED_PASSWORD__INIT;
		passwords[i].key_id = codec_bytes(cc_view_of(ids[i], SHA256_SIZE));
		passwords[i].encrypted = codec_bytes(cc_blob_view(&encrypted[i]));
		list[i] = &passwords[i];
	}
	answer.ok = true;
	answer.pfx = codec_bytes(cc_blob_view(&made.pfx));
	answer.certificate = codec_bytes(cc_blob_view(&made.certificate));
	answer.not_before_s = made.not_before_s;
	answer.not_after_s = made.not_after_s;
	answer.passwords = list;
	answer.n_passwords = request->n_recipients;
	*ret_frame = codec_pack(&answer);
out:
	for (size_t i = 0; i < request->n_recipients; i++)
		cc_blob_free(&encrypted[i]);
	free(ids);
	free(encrypted);
	free(list);
	free(passwords);
	cc_secret_free(&made.password);
	cc_blob_free(&made.certificate);
	cc_blob_free(&made.pfx);
	return err;
}

static cc_blob refusal(cc_err why)
{
	Ctl__ImportAnswer answer = CTL__IMPORT_ANSWER__INIT;
	answer.error = codec_text(cc_err_detail(why));
	return codec_pack(&answer);
}

/* In the child: sandbox first, then the first byte of the file. */
static cc_err serve(int fd)
{
	static const struct rlimit processor = {.rlim_cur = 60, .rlim_max = 60};
	Ctl__ImportRequest *request = NULL;
	struct pfx_legacy *legacy = NULL;
	cc_blob frame = CC_BLOB_NONE;
	cc_blob reply = CC_BLOB_NONE;
	int abi = 0;
	cc_err err = CC_OK;

	(void)setrlimit(RLIMIT_CPU, &processor);
	/* what the library reads from disk, it reads before the walls are up */
	ENSURE(OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) == 1,
		cc_fail_openssl("initialising OpenSSL"));
	cc_ignore(pfx_legacy_load(&legacy), "files under RC2 are refused then");
	TRY(sandbox_enter(SANDBOX_TOOL, NULL, NULL, &abi));
	TRY(chan_read_frame(fd, CHAN_FRAME_MAX, WORKER_TIMEOUT_MS, &frame));
	TRY(codec_decode_secret(
		&ctl__import_request__descriptor, cc_blob_view(&frame), CHAN_FRAME_MAX, &request));
	TRY(work(request, legacy, &reply));
out:
	if (err != CC_OK)
		reply = refusal(err);
	err = chan_write_frame(fd, cc_blob_view(&reply), WORKER_TIMEOUT_MS);
	OPENSSL_cleanse(frame.data, frame.size);
	cc_blob_free(&frame);
	cc_blob_free(&reply);
	codec_free_secret(request);
	pfx_legacy_free(legacy);
	return err;
}

static cc_err converse(int fd, const Ctl__ImportRequest *request, Ctl__ImportAnswer **ret)
{
	cc_secret frame = codec_pack_secret(request);
	cc_blob reply = CC_BLOB_NONE;
	Ctl__ImportAnswer *answer = NULL;
	char *words = NULL;
	cc_err err = CC_OK;

	TRY(chan_write_frame(fd, cc_secret_view(&frame), WORKER_TIMEOUT_MS));
	TRY(chan_read_frame(fd, CHAN_FRAME_MAX, WORKER_TIMEOUT_MS, &reply));
	TRY(codec_decode(
		&ctl__import_answer__descriptor, cc_blob_view(&reply), CHAN_FRAME_MAX, &answer));
	words = text_printable(codec_view(answer->error));
	ENSURE(answer->ok, cc_fail(CC_PASSWORD, "%s", words));
	ENSURE(answer->n_passwords == request->n_recipients,
		cc_fail(CC_MALFORMED, "the import worker gave %zu passwords for %zu recipients",
			answer->n_passwords, request->n_recipients));
	*ret = answer;
	answer = NULL;
out:
	free(words);
	codec_free(answer);
	cc_blob_free(&reply);
	cc_secret_free(&frame);
	return err;
}

cc_err pfx_worker_run(const Ctl__ImportRequest *request, Ctl__ImportAnswer **ret)
{
	int pair[2] = {-1, -1};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return cc_fail_errno("socketpair");
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		cc_err err = serve(pair[1]);
		_exit(err == CC_OK ? 0 : 1);
	}
	close(pair[1]);
	cc_err err = pid < 0 ? cc_fail_errno("fork") : converse(pair[0], request, ret);
	close(pair[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return err;
}
