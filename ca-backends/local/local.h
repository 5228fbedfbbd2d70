/*
 * local: the embedded CA, a real small one.
 *
 * Runs in its runner's worker thread.  A self-signed root that issues directly; its key in a file
 * under a secret (PKCS#8, scrypt, AES-256), templates from ca.d/NAME.yaml, certificates and revocations
 * in an LMDB environment, a CRL in a file.  Made only by `certconnectord --init-ca` (local_init.c).
 *
 *	STATE/ca/NAME/local/ca.key  root.pem  crl.der  crl.pem  db/  issued/SERIAL.pem  issued/index.txt
 *	requests/REFERENCE  decisions/REFERENCE   (templates with `approval: manual`: proto/ca_request.h)
 */
#pragma once

#include "ca-backends/ca_backend.h"

extern const struct ca_backend local_backend;
