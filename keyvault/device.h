/*
 * Device keys: what a job's device key is, and whether policy believes it.
 *
 * Keyvault; pure functions, any thread.  What the device table says about the key is judged when the
 * change is committed (keyvault/state_device.c); here is what the key itself and its certificate say, and
 * how a password is sealed to it.
 */
#pragma once

#include "keyvault/policy.h"
#include "keyvault/state.h"

struct device_key {
	EVP_PKEY *key;
	X509 *certificate; /* the job's, or NULL when it names a bare key */
	cc_blob spki;      /* DER */
	uint8_t spki_sha256[SHA256_SIZE];
};

/* The key to seal to, from its SPKI or from the first certificate; CC_BAD_KEY, CC_MALFORMED. */
cc_err device_key_read(const Certq__DeviceKey *from, struct device_key *ret) CC_MUST_USE;
void device_key_clear(struct device_key *k); /* accepts an empty one */

/* Can this form be sealed to this device at `now_s`?  CC_BAD_KEY, CC_NOT_SUPPORTED. */
cc_err device_key_check_form(
	const struct device_key *k, Certq__Seal form, int64_t now_s) CC_MUST_USE;
/* Seal; whether the certificate is in its time was judged when the job was taken.  `pkcs1`: the key
 * transport of the form windows. */
cc_err device_key_seal(const struct device_key *k, Certq__Seal form, bool pkcs1, cc_view password,
	cc_blob *ret) CC_MUST_USE;

/* In `certified` mode: a chain to a device CA of the policy, for clientAuth where it names usages, that
 * names the job's device (CN, DNS name) or user (e-mail address, UPN).  CC_DENIED otherwise. */
cc_err device_key_certified(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, int64_t now_s) CC_MUST_USE;

/* Judge by the policy's mode and fill what the device table needs.  `imported`: an imported key is at
 * stake. */
cc_err device_key_judge(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, const struct device_key *key, bool imported, int64_t now_s,
	struct state_device *ret) CC_MUST_USE;
