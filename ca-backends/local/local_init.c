/*
 * local: making the CA, once (certconnectord --init-ca).
 *
 * The caller has read the configuration and says where things are.  As root, the secret is written
 * beside the configuration first, and then everything else as the user of the CA's runner.
 */
#include "ca-backends/local/local_int.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "base/text.h"
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES 32
#define SECRET_LINE  45 /* base64, and a newline */
#define SECRET_MAX   65536u
#define DAYS_DEFAULT 3650
#define DAYS_MAX     10950

struct init {
	const char *name, *backend, *state_dir, *owner, *secret, *secret_owner;
	const char *subject, *days, *key;
	uid_t uid; /* of the runner; ours when --owner is empty */
	gid_t gid;
	uid_t secret_uid; /* of the supervisor, who opens the secret */
	gid_t secret_gid;
	uint64_t day_count;
};

/* ---- arguments ---- */

static cc_err read_arguments(int argc, char **argv, struct init *i)
{
	const struct {
		const char *name;
		const char **to;
	} options[] = {{"--name", &i->name}, {"--backend", &i->backend},
		{"--state-dir", &i->state_dir}, {"--owner", &i->owner}, {"--secret", &i->secret},
		{"--secret-owner", &i->secret_owner}, {"--subject", &i->subject},
		{"--days", &i->days}, {"--key", &i->key}};
	const size_t count = sizeof(options) / sizeof(options[0]);

	for (int a = 1; a < argc; a += 2) {
		size_t n = 0;
		while (n < count && strcmp(argv[a], options[n].name) != 0)
			n++;
		if (n == count || a + 1 >= argc)
			return cc_fail(CC_USAGE,
				"%s: not an option of a local CA (--subject DN, --days N, --key "
				"TYPE), or without a value",
				argv[a]);
		*options[n].to = argv[a + 1];
	}
	return CC_OK;
}

/* "UID:GID"; empty: the caller. */
static cc_err read_owner(const char *text, uid_t *ret_uid, gid_t *ret_gid)
{
	const char *colon = strchr(text, ':');
	uint64_t uid = geteuid(), gid = getegid();
	cc_err err = CC_OK;

	if (text[0] != '\0') {
		ENSURE(colon != NULL, cc_fail(CC_USAGE, "an owner is UID:GID, not \"%s\"", text));
		TRY(text_to_u64(cc_view_of(text, (size_t)(colon - text)), 0, UINT32_MAX - 1, &uid));
		TRY(text_to_u64(cc_view_text(colon + 1), 0, UINT32_MAX - 1, &gid));
	}
	*ret_uid = (uid_t)uid;
	*ret_gid = (gid_t)gid;
out:
	return err;
}

static cc_err check_arguments(struct init *i)
{
	cc_err err = CC_OK;

	ENSURE(i->name[0] != '\0' && i->state_dir[0] == '/',
		cc_fail(CC_USAGE, "--name and --state-dir are needed"));
	ENSURE(strcmp(i->backend, local_backend.name) == 0,
		cc_fail(CC_CONFIG, "ca.d/%s.yaml: backend %s is not made here, only local is",
			i->name, i->backend));
	ENSURE(i->secret[0] != '\0',
		cc_fail(CC_CONFIG,
			"ca.d/%s.yaml: name the file that protects the CA's key, such as "
			"secret: %s.secret (it is made when it is not there)",
			i->name, i->name));
	TRY(read_owner(i->owner, &i->uid, &i->gid));
	TRY(read_owner(i->secret_owner, &i->secret_uid, &i->secret_gid));
	if (i->days[0] != '\0') {
		err = text_to_u64(cc_view_text(i->days), 1, DAYS_MAX, &i->day_count);
		ENSURE(err == CC_OK, cc_fail(CC_USAGE, "--days: from 1 to %d", DAYS_MAX));
	}
out:
	return err;
}

/* ---- the secret ---- */

static cc_err make_secret(const struct init *i)
{
	cc_secret bytes = cc_secret_new(SECRET_BYTES);
	cc_secret line = cc_secret_new(SECRET_LINE + 1); /* EVP_EncodeBlock adds a NUL */
	cc_err err = CC_OK;

	random_secret(bytes.data, bytes.size);
	EVP_EncodeBlock(line.data, bytes.data, SECRET_BYTES);
	line.data[SECRET_LINE - 1] = '\n';
	TRY(file_write_new(i->secret, cc_view_of(line.data, SECRET_LINE), 0600));
	ENSURE(geteuid() != 0 || chown(i->secret, i->secret_uid, i->secret_gid) == 0,
		cc_fail_errno(i->secret));
out:
	cc_secret_free(&line);
	cc_secret_free(&bytes);
	return err;
}

/* As root the file may be the supervisor's; anybody else's is not believed. */
static cc_err read_secret(const struct init *i, cc_secret *ret)
{
	struct stat st;
	int fd = -1;
	cc_err err = CC_OK;

	if (geteuid() != 0)
		return file_read_secret(i->secret, SECRET_MAX, ret);
	TRY(file_open(i->secret, FILE_ANY, &fd));
	ENSURE(fstat(fd, &st) == 0, cc_fail_errno(i->secret));
	ENSURE((st.st_uid == 0 || st.st_uid == i->secret_uid) && (st.st_mode & 077) == 0,
		cc_fail(CC_PERMISSION, "%s: must be owned by uid %u with mode 0600", i->secret,
			(unsigned)i->secret_uid));
	TRY(file_read_secret_fd(fd, i->secret, SECRET_MAX, ret));
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err ready_secret(const struct init *i, cc_secret *ret)
{
	cc_secret file = CC_SECRET_NONE;
	cc_err err = CC_OK;

	if (access(i->secret, F_OK) != 0 && errno == ENOENT)
		TRY(make_secret(i));
	TRY(read_secret(i, &file));
	TRY(local_passphrase(cc_secret_view(&file), ret));
out:
	cc_secret_free(&file);
	return err;
}

/* ---- the state ---- */

/* STATE/ca/NAME belongs to the runner's user; STATE and STATE/ca are passed through by all. */
static cc_err make_state_dir(const struct init *i)
{
	char *above = cc_strdup(i->state_dir);
	char *slash = strrchr(above, '/');
	mode_t mask = umask(022);
	cc_err err = CC_OK;

	if (slash != NULL && slash != above) {
		*slash = '\0';
		if (access(above, F_OK) != 0)
			TRY(file_make_dir(above, 0711));
	}
	ENSURE(mkdir(i->state_dir, 0700) == 0 || errno == EEXIST, cc_fail_errno(i->state_dir));
	if (geteuid() == 0)
		ENSURE(lchown(i->state_dir, i->uid, i->gid) == 0, cc_fail_errno(i->state_dir));
out:
	umask(mask);
	free(above);
	return err;
}

static cc_err become_owner(const struct init *i)
{
	if (i->uid == geteuid())
		return CC_OK;
	if (geteuid() != 0)
		return cc_fail(CC_PERMISSION, "run this as root, or as uid %u", i->uid);
	return sandbox_user(i->uid, i->gid, NULL, 0);
}

static cc_err make_root(const struct init *i, EVP_PKEY *key, X509 **ret)
{
	char *fallback = cc_asprintf("CN=%s", i->name);
	X509_NAME *subject = NULL;
	X509 *root = X509_new();
	uint8_t serial[LOCAL_SERIAL_SIZE];
	int64_t now = clock_realtime_s();
	cc_err err = CC_OK;

	ENSURE(root != NULL, cc_fail_openssl("root certificate"));
	TRY(local_name_parse(i->subject[0] != '\0' ? i->subject : fallback, &subject));
	local_random_serial(serial);
	TRY(local_serial_set(root, serial));
	TRY(local_times_set(root, now - LOCAL_BACKDATE_S, now + (int64_t)i->day_count * 86400));
	ENSURE(X509_set_version(root, X509_VERSION_3) == 1 &&
			X509_set_subject_name(root, subject) == 1 &&
			X509_set_issuer_name(root, subject) == 1 && X509_set_pubkey(root, key) == 1,
		cc_fail_openssl("root certificate"));
	TRY(local_ext_add(root, root, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
	TRY(local_ext_add(root, root, root, NID_key_usage, "critical,keyCertSign,cRLSign"));
	TRY(local_ext_add(root, root, root, NID_subject_key_identifier, "hash"));
	ENSURE(X509_sign(root, key, local_key_digest(key)) > 0,
		cc_fail_openssl("signing the root certificate"));
	*ret = root;
	root = NULL;
out:
	X509_free(root);
	X509_NAME_free(subject);
	free(fallback);
	return err;
}

/* Database, certificate, and the key last: a CA without a key file does not exist, so an init that
 * was cut short can be run again. */
static cc_err make_ca(
	const struct init *i, const char *dir, const cc_secret *passphrase, cc_blob *ret_der)
{
	char *key_path = file_join(dir, LOCAL_KEY_FILE),
	     *root_path = file_join(dir, LOCAL_ROOT_FILE);
	char *db_dir = file_join(dir, LOCAL_DB_DIR);
	EVP_PKEY *key = NULL;
	X509 *root = NULL;
	struct local_db *db = NULL;
	cc_blob der = CC_BLOB_NONE, pem = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(access(key_path, F_OK) != 0,
		cc_fail(CC_CONFLICT, "CA %s exists already (%s)", i->name, key_path));
	TRY(local_key_generate(i->key[0] != '\0' ? i->key : "rsa-3072", &key));
	TRY(make_root(i, key, &root));
	TRY(local_certificate_der(root, &der));
	TRY(local_certificate_pem(cc_blob_view(&der), &pem));
	TRY(local_db_open(db_dir, true, &db));
	TRY(file_write_atomic(root_path, cc_blob_view(&pem), 0644));
	TRY(local_key_write(key_path, key, passphrase));
	*ret_der = cc_blob_move(&der);
out:
	cc_blob_free(&der);
	cc_blob_free(&pem);
	local_db_close(db);
	X509_free(root);
	EVP_PKEY_free(key);
	free(key_path);
	free(root_path);
	free(db_dir);
	return err;
}

static void tell(const struct init *i, const char *dir, cc_view der)
{
	uint8_t digest[SHA256_SIZE];
	char *hex;

	hash_sha256(der, digest);
	hex = text_hex_new(cc_view_of(digest, sizeof(digest)));
	printf("CA %s is made\nroot: %s/" LOCAL_ROOT_FILE "\nfingerprint: sha256:%s\n"
	       "key: %s/" LOCAL_KEY_FILE ", protected by %s: keep a copy of both, apart\n",
		i->name, dir, hex, dir, i->secret);
	free(hex);
}

static int exit_status(cc_err err)
{
	switch (err) {
	case CC_OK:
		return EXIT_OK;
	case CC_USAGE:
		return EXIT_USAGE;
	case CC_CONFLICT:
		return EXIT_REFUSED;
	default:
		return cc_err_category(err) == CC_CAT_CONFIG ? EXIT_CONFIGURATION : EXIT_FAILED;
	}
}

int local_ca_init_main(int argc, char **argv)
{
	struct init i = {.name = "",
		.backend = "",
		.state_dir = "",
		.owner = "",
		.secret = "",
		.secret_owner = "",
		.subject = "",
		.days = "",
		.key = "",
		.day_count = DAYS_DEFAULT};
	cc_secret passphrase = CC_SECRET_NONE;
	cc_blob der = CC_BLOB_NONE;
	char *dir = NULL;
	cc_err err = CC_OK;

	TRY(read_arguments(argc, argv, &i));
	TRY(check_arguments(&i));
	umask(077);
	TRY(ready_secret(&i, &passphrase));
	TRY(make_state_dir(&i));
	TRY(become_owner(&i));
	dir = file_join(i.state_dir, "local");
	TRY(file_make_dir(dir, 0700));
	TRY(make_ca(&i, dir, &passphrase, &der));
	tell(&i, dir, cc_blob_view(&der));
out:
	if (err != CC_OK)
		fprintf(stderr, "ca init: %s\n", cc_err_detail(err));
	cc_secret_free(&passphrase);
	cc_blob_free(&der);
	free(dir);
	return exit_status(err);
}
