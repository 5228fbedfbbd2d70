/*
 * Vault rig: a keyvault process with the usual fixture around it, a device, and a job for that device.
 *
 * Tests that link the keyvault; set-up and tear-down of each test, so every test has a keyvault of its
 * own.  Every function ends the test program when the harness fails.
 */
#pragma once

#include "base/role.h"
#include "tests/support/fixture_vault.h"
#include <stdlib.h>

struct rig {
	struct fixture_vault v;
	EVP_PKEY *device;
	cc_blob spki;
	struct fixture_job job;
};

static inline int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	fixture_vault_start(&rig->v);
	rig->device = fixture_key("ec-p256");
	rig->spki = fixture_spki(rig->device);
	fixture_issue(&rig->job, &rig->v.tenant, "job-1", "corp-user", cc_blob_view(&rig->spki));
	*state = rig;
	return 0;
}

static inline int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->spki);
	free(rig);
	return 0;
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
