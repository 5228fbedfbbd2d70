/*
 * Sealer: passwords sealed to device keys, and imported passwords in and out.
 *
 * A library without state: keyvault, certconnectorctl and certdevice use it; any thread.
 *
 * Device keys come from jobs and are hostile until sealer_device_key has taken them.  Forms:
 *   cms-auth      CMS AuthEnvelopedData (RFC 5083), AES-256-GCM; RSA-OAEP with SHA-256 and MGF1-SHA256,
 *                 or ECDH with the X9.63 KDF over SHA-256 and AES-256 key wrap; the recipient is named
 *                 by subjectKeyIdentifier, SHA-1 of the key's bits (RFC 5280 section 4.2.1.2).
 *   oaep-sha256   RSA-OAEP with SHA-256 and MGF1-SHA256, no label, raw; RSA only.
 *   windows       CMS EnvelopedData, AES-256-CBC; the recipient is the device's certificate, named by
 *                 issuer and serial number; RSA only, by RSA-OAEP with SHA-256 and MGF1-SHA256 or, where
 *                 policy says so, by PKCS#1 v1.5.  CBC notices no change: the digest in the signed result
 *                 does.
 *
 * Safety: PKCS#1 v1.5 decryption does not exist here; what windows seals by it other programs open.  Every failure to decrypt is the one class
 * CC_PASSWORD; its detail is for the local log only.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/job.pb-c.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

#define SEALER_PLAIN_MAX  1024u         /* bytes of a password */
#define SEALER_SEALED_MAX (16u * 1024u) /* bytes of a sealed password */
#define SEALER_SKI_SIZE   20

/* A device's public key: RSA of 2048 to 4096 bits with an odd modulus and 2^16 < e < 2^64, or EC P-256
 * or P-384 (named curve) with the point on the curve; canonical DER.  Anything else is CC_BAD_KEY.
 * Free with EVP_PKEY_free. */
cc_err sealer_device_key(cc_view spki, EVP_PKEY **ret) CC_MUST_USE;
/* The same from a certificate (DER), which is not verified here; `ret_spki` is its SPKI as it stands. */
cc_err sealer_device_key_from_certificate(
	cc_view certificate, EVP_PKEY **ret, cc_blob *ret_spki) CC_MUST_USE;
/* SHA-1 of the key bits of an SPKI. */
cc_err sealer_ski(cc_view spki, uint8_t ret[SEALER_SKI_SIZE]) CC_MUST_USE;

/* Can this form be sealed to this key?  OK, CC_NOT_SUPPORTED, or CC_BAD_KEY (oaep-sha256 to EC). */
cc_err sealer_check_form(const EVP_PKEY *device_key, Certq__Seal form) CC_MUST_USE;
/* Is a certificate good to be the recipient of the form windows at `now_s`?  No CA's, in its time (its
 * beginning up to 5 minutes ahead), for keyEncipherment where it names usages; CC_BAD_KEY.  Who issued it
 * is not looked at. */
cc_err sealer_check_certificate(X509 *certificate, int64_t now_s) CC_MUST_USE;
/* Seal to a key that sealer_device_key took.  `form` is explicit: SEAL_UNSPECIFIED is CC_NOT_SUPPORTED, and
 * windows, which needs more than a key, is CC_BAD_KEY. */
cc_err sealer_seal(
	EVP_PKEY *device_key, Certq__Seal form, cc_view password, cc_blob *ret) CC_MUST_USE;
/* The form windows, to a certificate whose key sealer_device_key_from_certificate took.  `pkcs1`: transport
 * by PKCS#1 v1.5. */
cc_err sealer_seal_windows(
	X509 *certificate, bool pkcs1, cc_view password, cc_blob *ret) CC_MUST_USE;
/* The device's side.  For windows: verify the signed result over these bytes first. */
cc_err sealer_open(
	EVP_PKEY *private_key, Certq__Seal form, cc_view sealed, cc_secret *ret) CC_MUST_USE;

/* Imported passwords: OAEP with SHA-256, 384 or 512 and MGF1 of the same hash; an empty label is none
 * (job_pfx_label makes the label of a bound record).  Recipient keys are RSA of 2048 bits and more. */
cc_err sealer_password_encrypt(EVP_PKEY *recipient, Certq__Padding padding, cc_view label,
	cc_view password, cc_blob *ret) CC_MUST_USE;
cc_err sealer_password_decrypt(EVP_PKEY *private_key, Certq__Padding padding, cc_view label,
	cc_view encrypted, cc_secret *ret) CC_MUST_USE;
