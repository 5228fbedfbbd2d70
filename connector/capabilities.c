/*
 * What this connector can do, told to the queue after each resume and after each change of the
 * keyvault's public list: kinds, CA profiles, decryption keys, site labels.
 */
#include "connector/flow_int.h"

#include "base/text.h"
#include <stdlib.h>

enum { PAGE = 128, KINDS_MAX = 4 };

static bool has_runner(const struct flow *f, const Vault__Profile *p)
{
	for (size_t i = 0; i < p->n_cas; i++) {
		if (ca_clients_find(f->cas, codec_view(p->cas[i])) != NULL)
			return true;
	}
	return false;
}

/* Known once the runner has said what it can do. */
static bool can_revoke(const struct flow *f)
{
	for (size_t i = 0; i < ca_clients_count(f->cas); i++) {
		const Ca__Properties *p = ca_client_properties(ca_clients_at(f->cas, i));
		if (p != NULL && p->can_revoke)
			return true;
	}
	return false;
}

static size_t list_profiles(const struct flow *f, ProtobufCBinaryData *to)
{
	size_t count = 0;
	for (size_t i = 0; i < f->list->n_profiles; i++) {
		if (has_runner(f, f->list->profiles[i]))
			to[count++] = f->list->profiles[i]->name;
	}
	return count;
}

static size_t list_keys(const struct flow *f, Certq__PublicKey *items, Certq__PublicKey **to)
{
	size_t count = 0;
	for (size_t i = 0; i < f->list->n_keys; i++) {
		const Vault__NamedPublicKey *key = f->list->keys[i];
		if (!text_equal(codec_view(key->use), "decrypt"))
			continue;
		certq__public_key__init(&items[count]);
		items[count].key_id = key->key_id;
		items[count].spki = key->spki;
		to[count] = &items[count];
		count++;
	}
	return count;
}

static void send_pages(struct flow *f, const ProtobufCBinaryData *kinds, size_t n_kinds,
	ProtobufCBinaryData *profiles, size_t n_profiles, Certq__PublicKey **keys, size_t n_keys,
	ProtobufCBinaryData *sites, size_t n_sites)
{
	size_t profile = 0, key = 0;
	bool first = true;
	do {
		Certq__Capabilities page = CERTQ__CAPABILITIES__INIT;
		ProtobufCBinaryData page_kinds[KINDS_MAX];
		if (first) {
			for (size_t i = 0; i < n_kinds; i++)
				page_kinds[i] = kinds[i];
			page.n_kinds = n_kinds;
			page.kinds = page_kinds;
			page.n_sites = n_sites;
			page.sites = sites;
		}
		first = false;
		page.ca_profiles = profiles + profile;
		page.n_ca_profiles = n_profiles - profile > PAGE ? PAGE : n_profiles - profile;
		page.decryption_keys = keys + key;
		page.n_decryption_keys = n_keys - key > PAGE ? PAGE : n_keys - key;
		profile += page.n_ca_profiles;
		key += page.n_decryption_keys;
		page.more = profile < n_profiles || key < n_keys;
		if (!session_send_capabilities(f->session, &page))
			return;
	} while (profile < n_profiles || key < n_keys);
}

void flow_send_capabilities(struct flow *f)
{
	ProtobufCBinaryData kinds[KINDS_MAX], *profiles, *sites;
	Certq__PublicKey *items, **keys;
	size_t n_kinds = 0, n_profiles, n_keys, n_sites;
	if (f->list == NULL || f->session == NULL || !session_can_send(f->session))
		return;
	profiles = cc_alloc((f->list->n_profiles + 1) * sizeof *profiles);
	items = cc_alloc((f->list->n_keys + 1) * sizeof *items);
	keys = cc_alloc((f->list->n_keys + 1) * sizeof *keys);
	n_sites = f->list->n_groups + 1 > PAGE ? PAGE : f->list->n_groups + 1;
	sites = cc_alloc(n_sites * sizeof *sites);
	sites[0] = codec_text(f->settings.connector_id);
	for (size_t i = 1; i < n_sites; i++)
		sites[i] = f->list->groups[i - 1];
	n_profiles = list_profiles(f, profiles);
	n_keys = list_keys(f, items, keys);
	if (n_profiles > 0) {
		kinds[n_kinds++] = codec_text("issue");
		kinds[n_kinds++] = codec_text("chain");
	}
	if (n_profiles > 0 && can_revoke(f))
		kinds[n_kinds++] = codec_text("revoke");
	if (n_keys > 0)
		kinds[n_kinds++] = codec_text("rewrap");
	send_pages(f, kinds, n_kinds, profiles, n_profiles, keys, n_keys, sites, n_sites);
	free(sites);
	free(keys);
	free(items);
	free(profiles);
	flow_soon(f);
}
