/*
 * The public list.  It is built of borrowed views, packed, and gone.
 */
#include "keyvault/listing.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdlib.h>

enum { EXPIRIES_MAX = 64 };

struct listing {
	Vault__PublicList list;
	Vault__NamedPublicKey *keys;
	Vault__NamedPublicKey **key_list;
	struct keystore_public *key_facts;
	Vault__Profile *profiles;
	Vault__Profile **profile_list;
	ProtobufCBinaryData **profile_cas;
	ProtobufCBinaryData *groups;
	Vault__Expiry *expiries[EXPIRIES_MAX];
};

static void list_keys(struct listing *l, struct keystore *ks)
{
	size_t room = keystore_count(ks);

	l->keys = cc_alloc((room + 1) * sizeof(*l->keys));
	l->key_list = cc_alloc((room + 1) * sizeof(Vault__NamedPublicKey *));
	l->key_facts = cc_alloc((room + 1) * sizeof(*l->key_facts));
	for (size_t i = 0; i < room && keystore_at(ks, i, &l->key_facts[i]); i++) {
		const struct keystore_public *from = &l->key_facts[i];

		vault__named_public_key__init(&l->keys[i]);
		l->keys[i].use = codec_text(keystore_use_name(from->use));
		l->keys[i].key_id = codec_bytes(cc_view_of(from->id, SHA256_SIZE));
		l->keys[i].spki = codec_bytes(from->spki);
		l->keys[i].current = from->current;
		l->key_list[l->list.n_keys++] = &l->keys[i];
	}
	l->list.keys = l->key_list;
}

static void list_profiles(struct listing *l, const struct policy *p)
{
	size_t count = policy_profile_count(p);

	l->profiles = cc_alloc((count + 1) * sizeof(*l->profiles));
	l->profile_list = cc_alloc((count + 1) * sizeof(Vault__Profile *));
	l->profile_cas = cc_alloc((count + 1) * sizeof(ProtobufCBinaryData *));
	for (size_t i = 0; i < count; i++) {
		const struct policy_profile *from = policy_profile_at(p, i);
		size_t cas = policy_profile_ca_count(from);

		l->profile_cas[i] = cc_alloc((cas + 1) * sizeof(ProtobufCBinaryData));
		for (size_t k = 0; k < cas; k++)
			l->profile_cas[i][k] = codec_text(policy_profile_ca(from, k));
		vault__profile__init(&l->profiles[i]);
		l->profiles[i].name = codec_text(policy_profile_name(from));
		l->profiles[i].n_cas = cas;
		l->profiles[i].cas = l->profile_cas[i];
		l->profile_list[l->list.n_profiles++] = &l->profiles[i];
	}
	l->list.profiles = l->profile_list;
	l->list.device_keys = codec_text(policy_device_keys_name(policy_device_keys(p)));
	l->list.policy_revision = policy_revision(p);
	l->list.report_full_detail = policy_reports_detail(p);
}

static void list_identity(struct listing *l, const struct pins *pins)
{
	size_t count = 0;
	const cc_view *groups = pins_groups(pins, &count);

	l->list.tenant = codec_bytes(pins_tenant(pins));
	l->list.connector_id = codec_bytes(pins_connector_id(pins));
	l->groups = cc_alloc((count + 1) * sizeof(*l->groups));
	for (size_t i = 0; i < count; i++)
		l->groups[i] = codec_bytes(groups[i]);
	l->list.n_groups = count;
	l->list.groups = l->groups;
}

static void add_expiry(struct listing *l, const X509 *certificate, char *what)
{
	Vault__Expiry *to;
	size_t i = 0;

	/* a CA that two profiles name is there already */
	while (i < l->list.n_expiries && !text_equal(codec_view(l->expiries[i]->what), what))
		i++;
	if (i < l->list.n_expiries || i == EXPIRIES_MAX) {
		free(what);
		return;
	}
	to = cc_alloc(sizeof(*to));
	vault__expiry__init(to);
	to->what = codec_text(what);
	to->not_after_s = clock_asn1_s(X509_get0_notAfter(certificate));
	l->expiries[l->list.n_expiries++] = to;
	l->list.expiries = l->expiries;
}

static void list_roots(struct listing *l, const struct pins *pins, const char *ca)
{
	const STACK_OF(X509) *roots = pins_roots(pins, cc_view_text(ca));

	for (int i = 0; roots != NULL && i < sk_X509_num(roots); i++)
		add_expiry(l, sk_X509_value(roots, i),
			i == 0 ? cc_asprintf("root of CA %s", ca)
			       : cc_asprintf("root %d of CA %s", i + 1, ca));
}

/* The roots of the CAs that profiles name, each once, and the CAs of devices. */
static void list_expiries(struct listing *l, const struct policy *p, const struct pins *pins)
{
	const STACK_OF(X509) *device_cas = policy_device_cas(p);
	size_t count = policy_profile_count(p);

	for (size_t i = 0; i < count; i++) {
		const struct policy_profile *profile = policy_profile_at(p, i);
		for (size_t k = 0; k < policy_profile_ca_count(profile); k++)
			list_roots(l, pins, policy_profile_ca(profile, k));
	}
	for (int i = 0; device_cas != NULL && i < sk_X509_num(device_cas); i++)
		add_expiry(l, sk_X509_value(device_cas, i), cc_asprintf("device CA %d", i + 1));
}

static cc_err make_list(struct listing *l, struct call *c)
{
	size_t waiting = 0;

	vault__public_list__init(&l->list);
	list_keys(l, c->vault->keys);
	if (c->rules->policy != NULL) {
		list_profiles(l, c->rules->policy);
		list_expiries(l, c->rules->policy, c->rules->pins);
	}
	list_identity(l, c->rules->pins);
	l->list.policy_problem = codec_text(c->rules->problem);
	cc_err err = state_count_waiting(c->vault->state, c->now_s, &waiting);
	l->list.waiting = (uint32_t)waiting;
	return call_step(c, REASON_INTERNAL, err);
}

static void free_list(struct listing *l)
{
	for (size_t i = 0; i < l->list.n_expiries; i++) {
		free(l->expiries[i]->what.data);
		free(l->expiries[i]);
	}
	for (size_t i = 0; i < l->list.n_profiles; i++)
		free(l->profile_cas[i]);
	free(l->profile_cas);
	free(l->profile_list);
	free(l->profiles);
	free(l->key_list);
	free(l->key_facts);
	free(l->keys);
	free(l->groups);
}

void listing_serve(struct call *c)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;
	struct listing l = {0};

	answer.answer_case = VAULT__VAULT_ANSWER__ANSWER_LIST;
	answer.list = &l.list;
	if (make_list(&l, c) == CC_OK)
		call_answer(c, &answer);
	free_list(&l);
}

void listing_serve_admin(struct call *c)
{
	Vault__AdminAnswer answer = VAULT__ADMIN_ANSWER__INIT;
	struct listing l = {0};

	answer.answer_case = VAULT__ADMIN_ANSWER__ANSWER_LIST;
	answer.list = &l.list;
	if (make_list(&l, c) == CC_OK)
		call_answer_admin(c, &answer);
	free_list(&l);
}

void listing_serve_confirm(struct call *c)
{
	Vault__VaultAnswer answer = VAULT__VAULT_ANSWER__INIT;

	c->change.confirm = c->request->confirm_decisions->counter;
	call_answer(c, &answer);
}
