/*
 * Local rig: see the header.
 */
#include "tests/support/local_rig.h"
#include "base/file.h"
#include "base/role.h"
#include <fcntl.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(bool fine, const char *what)
{
	if (!fine)
		cc_die("local rig: %s", what);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void local_rig_remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What the tool prints is not the test's. */
int local_rig_init_quietly(int (*init)(int argc, char **argv), int argc, char **argv)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), out, status;

	fflush(stdout);
	out = dup(STDOUT_FILENO);
	must(null >= 0 && out >= 0 && dup2(null, STDOUT_FILENO) >= 0, "stdout");
	status = init(argc, argv);
	fflush(stdout);
	must(dup2(out, STDOUT_FILENO) >= 0, "stdout");
	close(null);
	close(out);
	return status;
}

void local_rig_make(struct local_rig *r, int (*init)(int argc, char **argv))
{
	const char *tmp = getenv("TMPDIR");
	mode_t mask = umask(077);
	char *argv[] = {(char *)(uintptr_t) "--init-ca", (char *)(uintptr_t) "--name",
		(char *)(uintptr_t) "corp-ca", (char *)(uintptr_t) "--backend",
		(char *)(uintptr_t) "local", (char *)(uintptr_t) "--state-dir", NULL,
		(char *)(uintptr_t) "--secret", NULL, (char *)(uintptr_t) "--key",
		(char *)(uintptr_t) "ec-p256", (char *)(uintptr_t) "--subject",
		(char *)(uintptr_t) "CN=Corp CA,O=Contoso"};

	*r = (struct local_rig){0};
	snprintf(r->dir, sizeof(r->dir), "%s/local-XXXXXX", tmp != NULL ? tmp : "/tmp");
	must(mkdtemp(r->dir) != NULL, "directory");
	r->state_dir = file_join(r->dir, "state");
	r->secret_path = file_join(r->dir, "corp-ca.secret");
	argv[6] = r->state_dir;
	argv[8] = r->secret_path;
	must(local_rig_init_quietly(init, 13, argv) == EXIT_OK, "ca init");
	must(file_read(r->secret_path, FILE_SECRET, 4096, &r->secret) == CC_OK, "secret");
	umask(mask);
}

void local_rig_clear(struct local_rig *r)
{
	local_rig_remove_tree(r->dir);
	cc_blob_free(&r->secret);
	free(r->state_dir);
	free(r->secret_path);
}

X509 *local_rig_root(const struct local_rig *r)
{
	char *path = file_join(r->state_dir, "local/root.pem");
	FILE *file = fopen(path, "re");
	X509 *root;

	must(file != NULL, path);
	root = PEM_read_X509(file, NULL, NULL, NULL);
	must(root != NULL, path);
	fclose(file);
	free(path);
	return root;
}

cc_blob local_rig_csr(const char *common_name, const struct local_rig_ext *extensions)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = X509_NAME_new();
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	unsigned char *der = NULL;
	cc_blob csr;
	int size;

	if (common_name[0] != '\0')
		must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
			     (const unsigned char *)common_name, -1, -1, 0) == 1,
			"name");
	for (; extensions != NULL && extensions->nid != 0; extensions++) {
		X509V3_CTX context;
		X509_EXTENSION *e;
		X509V3_set_ctx_nodb(&context);
		X509V3_set_ctx(&context, NULL, NULL, req, NULL, 0);
		e = X509V3_EXT_conf_nid(NULL, &context, extensions->nid, extensions->value);
		must(e != NULL && sk_X509_EXTENSION_push(list, e) > 0, extensions->value);
	}
	must(X509_REQ_set_subject_name(req, name) == 1 && X509_REQ_set_pubkey(req, key) == 1 &&
			X509_REQ_add_extensions(req, list) == 1 &&
			X509_REQ_sign(req, key, EVP_sha256()) > 0,
		"csr");
	size = i2d_X509_REQ(req, &der);
	must(size > 0, "csr");
	csr = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	X509_NAME_free(name);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return csr;
}
