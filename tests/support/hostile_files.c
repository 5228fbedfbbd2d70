/*
 * Configuration as an administrator would write it, and pins as an enrolment would.
 */
#include "tests/support/hostile_files.h"
#include "base/file.h"
#include "base/hash.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *hostile_files_path(const struct house *h, const char *name)
{
	return file_join(h->dir, name);
}

static void write_text(const struct house *h, const char *name, const cc_blob *text)
{
	char *path = hostile_files_path(h, name);

	NEED_OK(file_write_new(path, cc_blob_view(text), 0600));
	free(path);
}

void hostile_files_configuration(const struct house *h)
{
	static const char *const cas[] = {HOUSE_CORP_CA, HOUSE_BACKUP_CA};
	cc_blob text = CC_BLOB_NONE;

	cc_blob_printf(&text,
		"state_dir: %s/state\nrun_dir: %s/run\nca_dir: ca.d\nwalls: allow_reduced\n",
		h->dir, h->dir);
	write_text(h, "connector.yaml", &text);
	for (size_t i = 0; i < 2; i++) {
		char *name = cc_asprintf("ca.d/%s.yaml", cas[i]);
		cc_blob_clear(&text);
		cc_blob_printf(&text,
			"backend: local\nsecret: %s.secret\ntemplates:\n  user:\n    eku: "
			"[" HOSTILE_EKU "]\n    key_usage: [" HOSTILE_USAGE
			"]\n    max_validity: " HOSTILE_VALIDITY "\n",
			cas[i]);
		write_text(h, name, &text);
		free(name);
	}
	cc_blob_free(&text);
}

void hostile_files_policy(const struct house *h)
{
	cc_blob text = CC_BLOB_NONE;

	cc_blob_printf(&text,
		"version: 1\nrevision: 1\nreport_detail: full\ndevice_keys: "
		"any_signed\nca_profiles:\n  " HOUSE_PROFILE ":\n    cas: [" HOUSE_CORP_CA
		", " HOUSE_BACKUP_CA ", " HOUSE_TEST_CA
		"]\n    template: user\n    key_types: [ec-p256]\n    eku: [" HOSTILE_EKU
		"]\n    default_eku: [" HOSTILE_EKU "]\n    key_usage: [" HOSTILE_USAGE
		"]\n    max_validity: " HOSTILE_VALIDITY "\n    default_validity: 90d\n"
		"    san: {email: [contoso.com]}\n    seal: cms-auth\n    seals: [cms-auth]\n"
		"    pfx_profile: modern\n"
		"rewrap: {purposes: [smimeEncryption], seals: [cms-auth]}\n");
	write_text(h, "policy.yaml", &text);
	cc_blob_free(&text);
}

/* `pem` as a YAML block of this indentation. */
static void put_pem(cc_blob *to, const char *pem, const char *indent)
{
	for (const char *line = pem; *line != '\0';) {
		int length = (int)strcspn(line, "\n");
		cc_blob_printf(to, "%s%.*s\n", indent, length, line);
		line += length + (line[length] == '\n');
	}
}

static void put_ca(cc_blob *to, const char *name, const char *pem)
{
	cc_blob_printf(to, "  %s:\n    roots:\n      - |\n", name);
	put_pem(to, pem, "        ");
}

static void put_local_ca(const struct house *h, cc_blob *to, const char *name)
{
	char *path = cc_asprintf("%s/state/ca/%s/local/root.pem", h->dir, name);
	cc_blob pem = CC_BLOB_NONE;

	NEED_OK(file_read(path, FILE_ANY, 65536, &pem));
	put_ca(to, name, cc_blob_text(&pem));
	cc_blob_free(&pem);
	free(path);
}

void hostile_files_pins(const struct house *h)
{
	char *root = fixture_root_pem(&h->tenant), *test_ca = fixture_ca_pem(&h->test_ca);
	cc_blob text = CC_BLOB_NONE;

	cc_blob_printf(&text, "tenant: " HOUSE_TENANT "\nconnector_id: " HOUSE_CONNECTOR
			      "\ngroups: [hq]\njob_root: |\n");
	put_pem(&text, root, "  ");
	cc_blob_printf(&text, "cas:\n");
	put_local_ca(h, &text, HOUSE_CORP_CA);
	put_local_ca(h, &text, HOUSE_BACKUP_CA);
	put_ca(&text, HOUSE_TEST_CA, test_ca);
	write_text(h, "pins.yaml", &text);
	cc_blob_free(&text);
	free(root);
	free(test_ca);
}

void hostile_files_dir(struct house *h)
{
	static const char *const names[] = {"ca.d", "state", "run"};
	const char *tmp = getenv("TMPDIR");
	cc_blob master = cc_blob_new(32);

	h->dir = cc_asprintf("%s/house.XXXXXX", tmp ? tmp : "/tmp");
	NEED(mkdtemp(h->dir) != NULL);
	for (size_t i = 0; i < 3; i++) {
		char *path = hostile_files_path(h, names[i]);
		NEED(mkdir(path, 0700) == 0);
		free(path);
	}
	random_secret(master.data, master.size);
	write_text(h, "master.key", &master);
	cc_blob_free(&master);
}
