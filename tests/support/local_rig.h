/*
 * Local rig: a directory with a local CA, and CSRs for it, made with plain OpenSSL.
 *
 * Any test; single-threaded.  Every function ends the test program when it fails.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509.h>

struct local_rig {
	char dir[256]; /* temporary; the CA's state directory is dir/state */
	char *state_dir;
	char *secret_path;
	cc_blob secret; /* the file's content */
};

/* Makes the directory and runs `init` (local_ca_init_main: given by the test, which links the room);
 * key type ec-p256 for speed. */
void local_rig_make(struct local_rig *r, int (*init)(int argc, char **argv));
/* Runs `init` with standard output thrown away; returns its exit status. */
int local_rig_init_quietly(int (*init)(int argc, char **argv), int argc, char **argv);
void local_rig_clear(struct local_rig *r);       /* removes the directory */
X509 *local_rig_root(const struct local_rig *r); /* X509_free */

/* A CSR with a new EC P-256 key.  `extensions`: pairs of nid and OpenSSL's text form, ended by 0. */
struct local_rig_ext {
	int nid;
	const char *value;
};
cc_blob local_rig_csr(const char *common_name, const struct local_rig_ext *extensions);
void local_rig_remove_tree(const char *dir);
