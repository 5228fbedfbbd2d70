/*
 * Device keys: what a job's device key is, and whether policy believes it.
 *
 * Keyvault; pure functions, any thread.  What the device table says about the key is judged when the
 * change is committed (keyvault/state_device.c); here is what the key itself and its certificate say.
 */
#pragma once

#include "keyvault/policy.h"
#include "keyvault/state.h"

struct device_key {
	EVP_PKEY *key;
	cc_blob spki; /* DER */
	uint8_t spki_sha256[SHA256_SIZE];
};

/* The key to seal to, from its SPKI or from the first certificate; CC_BAD_KEY, CC_MALFORMED. */
cc_err device_key_read(const Certq__DeviceKey *from, struct device_key *ret) CC_MUST_USE;
void device_key_clear(struct device_key *k); /* accepts an empty one */

/* In `certified` mode: a chain to a device CA of the policy, for clientAuth where it names usages, that
 * names the job's device (CN, DNS name) or user (e-mail address, UPN).  CC_DENIED otherwise. */
cc_err device_key_certified(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, int64_t now_s) CC_MUST_USE;

/* Judge by the policy's mode and fill what the device table needs.  `imported`: an imported key is at
 * stake. */
cc_err device_key_judge(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, const struct device_key *key, bool imported, int64_t now_s,
	struct state_device *ret) CC_MUST_USE;
