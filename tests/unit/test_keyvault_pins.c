/*
 * pins.yaml: identity whole or not at all, roots per CA.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "keyvault/pins.h"
#include "tests/support/fixture_vault.h"
#include <stdlib.h>
#include <string.h>

static cc_err parse(const char *text, struct pins **ret)
{
	return pins_parse(cc_view_text(text), "pins.yaml", ret);
}

static void a_whole_file_gives_identity_and_roots(void **state)
{
	struct fixture_vault v;
	struct pins *pins = NULL;
	size_t groups = 0;
	(void)state;

	fixture_vault_prepare(&v, NULL);
	assert_int_equal(parse(v.pins, &pins), CC_OK);
	assert_true(pins_are_enrolled(pins));
	assert_true(text_equal(pins_tenant(pins), "contoso"));
	assert_true(text_equal(pins_connector_id(pins), "hq-1"));
	assert_true(text_equal(pins_groups(pins, &groups)[0], "hq"));
	assert_int_equal(groups, 1);
	assert_true(cc_view_equal(pins_job_root(pins), cc_blob_view(&v.tenant.root_spki)));
	assert_int_equal(sk_X509_num(pins_roots(pins, cc_view_text("corp-ca"))), 1);
	assert_null(pins_roots(pins, cc_view_text("backup-ca")));
	pins_free(pins);
	fixture_vault_clear(&v);
}

static void a_file_with_roots_only_is_not_enrolled(void **state)
{
	struct fixture_vault v;
	struct pins *pins = NULL;
	(void)state;

	fixture_vault_prepare(&v, NULL);
	assert_int_equal(parse(strstr(v.pins, "cas:"), &pins), CC_OK);
	assert_false(pins_are_enrolled(pins));
	assert_non_null(pins_roots(pins, cc_view_text("corp-ca")));
	pins_free(pins);
	fixture_vault_clear(&v);
}

static void half_an_identity_is_refused(void **state)
{
	struct pins *pins = NULL;
	(void)state;

	cc_err err = parse("tenant: contoso\nconnector_id: hq-1\n", &pins);
	assert_int_not_equal(err, CC_OK);
	assert_non_null(strstr(cc_err_detail(err), "pins.yaml:"));
}

static void mistakes_are_named_with_their_place(void **state)
{
	static const char *const texts[] = {
		"tenant: Not A Name\n",
		"cas: {corp-ca: {roots: []}}\n",
		"cas: {corp-ca: {roots: [nonsense]}}\n",
		"cas: {corp-ca: {}}\n",
		"job_root: nonsense\n",
		"groups: [\"\"]\n",
		"other: 1\n",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct pins *pins = NULL;
		cc_err err = parse(texts[i], &pins);

		assert_int_not_equal(err, CC_OK);
		assert_non_null(strstr(cc_err_detail(err), "pins.yaml:"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_file_gives_identity_and_roots),
		cmocka_unit_test(a_file_with_roots_only_is_not_enrolled),
		cmocka_unit_test(half_an_identity_is_refused),
		cmocka_unit_test(mistakes_are_named_with_their_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
