/*
 * The queue's own CA: it signs the client certificates of connectors, and nothing else.
 *
 * Loop's thread.  A connector's certificate carries its identity as one URI in the subject
 * alternative name, certq://<tenant>/connector/<id>; a producer's, made elsewhere under the same CA,
 * certq://<tenant>/producer/<name>.  The gateway believes that URI only.  Profile: RFC 5280,
 * digitalSignature, clientAuth, one year, 128-bit random serial.
 */
#pragma once

#include "base/hash.h"
#include <openssl/x509.h>

struct queue_ca; /* opaque */

/* The key file must be the queue's own (mode 0600).  Refuses a certificate that is not a CA or does
 * not fit the key. */
cc_err queue_ca_open(
	const char *certificate_path, const char *key_path, struct queue_ca **ret) CC_MUST_USE;
void queue_ca_free(struct queue_ca *ca); /* accepts NULL */

/* DER of the CA's certificate; valid until queue_ca_free. */
cc_view queue_ca_certificate(const struct queue_ca *ca);
/* DER of its SubjectPublicKeyInfo. */
cc_view queue_ca_spki(const struct queue_ca *ca);

/* A PKCS#10 request (DER) becomes a connector's certificate (DER).  The request's self-signature
 * proves the key; its subject and extensions are not looked at.  CC_MALFORMED, CC_BAD_KEY (taken are RSA of
 * 2048..4096 bits, P-256, P-384, Ed25519), CC_BAD_SIGNATURE. */
cc_err queue_ca_issue(const struct queue_ca *ca, cc_view tenant, cc_view connector_id, cc_view csr,
	int64_t now_s, cc_blob *ret) CC_MUST_USE;

enum queue_role { QUEUE_CONNECTOR, QUEUE_PRODUCER };
struct queue_identity {
	enum queue_role role;
	char tenant[64];
	char name[64];
	uint8_t certificate_sha256[SHA256_SIZE];
};
/* The one certq URI of a certificate that was verified already.  Another number of such URIs than
 * one, or another shape, is CC_DENIED. */
cc_err queue_ca_identity(X509 *certificate, struct queue_identity *ret) CC_MUST_USE;
