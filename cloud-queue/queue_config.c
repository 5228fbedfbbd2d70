/*
 * queue.yaml into struct queue_config: one table of keys for each map, the top one naming the
 * others as nodes.  What a table cannot say (an address literal, hang-up after ping) is judged here,
 * at the place in the file where it stands.
 */
#include "cloud-queue/queue_config.h"

#include "base/text.h"
#include <arpa/inet.h>
#include <string.h>

#define DAY_S 86400u

/* The top of the file as the table fills it. */
struct top {
	const char *state_dir;
	const char *run_dir;
	const struct conf_node *connectors;
	const struct conf_node *producers;
	const struct conf_node *ca;
	const struct conf_node *quotas;
	const struct conf_node *log;
	uint64_t lease;
	uint64_t reconnect_grace;
	uint64_t takeover_after;
	uint64_t restored_wait;
	uint64_t deadline_grace;
	uint64_t crash_delay;
	uint64_t exclude;
	uint64_t ping;
	uint64_t hangup;
	uint64_t retention;
	uint64_t drain_grace;
};

static const struct conf_key top_keys[] = {
	{"state_dir", CONF_PATH, offsetof(struct top, state_dir), true, NULL, 0, 0, NULL,
		"the store and its lock"},
	{"run_dir", CONF_PATH, offsetof(struct top, run_dir), true, NULL, 0, 0, NULL,
		"the control socket"},
	{"connectors", CONF_NODE, offsetof(struct top, connectors), true, NULL, 0, 0, NULL,
		"the vhost of the connectors (mTLS, certq.v1)"},
	{"producers", CONF_NODE, offsetof(struct top, producers), true, NULL, 0, 0, NULL,
		"the vhost of the producers (HTTPS, JSON)"},
	{"ca", CONF_NODE, offsetof(struct top, ca), true, NULL, 0, 0, NULL,
		"the queue's own CA, which signs the connectors' certificates"},
	{"lease", CONF_SECONDS, offsetof(struct top, lease), false, "120s", 1, 3600, NULL,
		"how long a connector holds a job without extending it"},
	{"reconnect_grace", CONF_SECONDS, offsetof(struct top, reconnect_grace), false, "5s", 1,
		3600, NULL,
		"how long a connector without a connection keeps what it did not claim"},
	{"takeover_after", CONF_SECONDS, offsetof(struct top, takeover_after), false, "15m", 1,
		7 * DAY_S, NULL, "a claimed job of an absent connector goes to another after this"},
	{"restored_wait", CONF_SECONDS, offsetof(struct top, restored_wait), false, "15m", 1,
		7 * DAY_S, NULL,
		"how long a store that went back in time waits for what its connectors finished"},
	{"deadline_grace", CONF_SECONDS, offsetof(struct top, deadline_grace), false, "1h", 1,
		7 * DAY_S, NULL, "a claimed job's time after its deadline until it is dead"},
	{"crash_delay", CONF_SECONDS, offsetof(struct top, crash_delay), false, "30s", 1, 3600,
		NULL, "how long a job waits that was in hand at a crash; doubled with each one"},
	{"exclude", CONF_SECONDS, offsetof(struct top, exclude), false, "15m", 1, DAY_S, NULL,
		"how long a job stays away from a connector that gave it back for good"},
	{"ping", CONF_SECONDS, offsetof(struct top, ping), false, "15s", 1, 300, NULL,
		"silence on a connection after which a ping is sent"},
	{"hangup", CONF_SECONDS, offsetof(struct top, hangup), false, "25s", 2, 600, NULL,
		"silence on a connection after which it is given up; longer than ping"},
	{"retention", CONF_SECONDS, offsetof(struct top, retention), false, "168h", 60, 365 * DAY_S,
		NULL, "how long a final job and its result are kept"},
	{"drain_grace", CONF_SECONDS, offsetof(struct top, drain_grace), false, "20s", 1, 600, NULL,
		"what connectors are given to finish when the queue stops"},
	{"quotas", CONF_NODE, offsetof(struct top, quotas), false, NULL, 0, 0, NULL, "limits"},
	{"log", CONF_NODE, offsetof(struct top, log), false, NULL, 0, 0, NULL, "format and level"},
};

static const struct conf_key listen_keys[] = {
	{"listen", CONF_TEXT, offsetof(struct queue_listen, listen), false, "127.0.0.1", 0, 0, NULL,
		"the address to listen on, as a literal"},
	{"port", CONF_U32, offsetof(struct queue_listen, port), true, NULL, 0, 65535, NULL,
		"0 takes a free one"},
	{"certificate", CONF_PATH, offsetof(struct queue_listen, certificate), true, NULL, 0, 0,
		NULL, "PEM, the chain from the leaf up to the queue's CA"},
	{"key", CONF_PATH, offsetof(struct queue_listen, key), true, NULL, 0, 0, NULL,
		"PEM, readable by the queue only"},
	{"url", CONF_TEXT, offsetof(struct queue_listen, url), false, NULL, 0, 0, NULL,
		"how it is reached from outside; left out: made of listen and port"},
	{"client_ca", CONF_PATH, offsetof(struct queue_listen, client_ca), false, NULL, 0, 0, NULL,
		"PEM, who signs client certificates; left out: the queue's CA (connectors only)"},
};

struct ca_part {
	const char *certificate;
	const char *key;
};
static const struct conf_key ca_keys[] = {
	{"certificate", CONF_PATH, offsetof(struct ca_part, certificate), true, NULL, 0, 0, NULL,
		"PEM"},
	{"key", CONF_PATH, offsetof(struct ca_part, key), true, NULL, 0, 0, NULL,
		"PEM, readable by the queue only"},
};

struct quota_part {
	uint32_t open_jobs;
	uint64_t store_max;
};
static const struct conf_key quota_keys[] = {
	{"open_jobs", CONF_U32, offsetof(struct quota_part, open_jobs), false, "100000", 1,
		100000000, NULL, "jobs of one tenant that are not final"},
	{"store_max", CONF_U64, offsetof(struct quota_part, store_max), false, "64GiB", 1 << 20, 0,
		NULL, "bytes of one tenant above which no job of it is taken"},
};

struct log_part {
	int format;
	int level;
};
static const struct conf_key log_keys[] = {
	{"format", CONF_CHOICE, offsetof(struct log_part, format), false, "logfmt", 0, 0,
		"logfmt|json", "one line for each event"},
	{"level", CONF_CHOICE, offsetof(struct log_part, level), false, "info", 0, 0,
		"debug|info|notice|warning|error", "the least that is written"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static cc_err read_listen(const struct conf *doc, const struct conf_node *n, const char *scheme,
	bool connectors, struct queue_listen *ret)
{
	struct queue_listen part = {0};
	unsigned char address[sizeof(struct in6_addr)];
	cc_err err = CC_OK;

	TRY(conf_fill(doc, n, listen_keys, COUNT(listen_keys), &part));
	ENSURE(inet_pton(AF_INET, part.listen, address) == 1 ||
			inet_pton(AF_INET6, part.listen, address) == 1,
		conf_fail(conf_get(n, "listen"), "%s is not an IPv4 or IPv6 address", part.listen));
	ENSURE(!part.url || strncmp(part.url, scheme, strlen(scheme)) == 0,
		conf_fail(conf_get(n, "url"), "the URL must begin with %s", scheme));
	ENSURE(connectors || !part.client_ca,
		conf_fail(conf_get(n, "client_ca"), "client_ca stands only under connectors"));
	*ret = part;
out:
	return err;
}

/* The parts that are optional as a whole get their defaults from an empty map. */
static cc_err fill_part(const struct conf *doc, const struct conf_node *n,
	const struct conf_key *table, size_t count, void *to)
{
	struct conf *none = NULL;
	cc_err err = CC_OK;

	if (n)
		return conf_fill(doc, n, table, count, to);
	TRY(conf_parse(cc_view_text("{}"), "defaults", &none));
	TRY(conf_fill(none, conf_root(none), table, count, to));
out:
	conf_free(none); /* these parts hold no texts of the document */
	return err;
}

static cc_err read_top(const struct conf *doc, struct queue_config *c)
{
	struct top top = {0};
	struct ca_part ca = {0};
	struct quota_part quota = {0};
	struct log_part log = {0};
	cc_err err = CC_OK;

	TRY(conf_fill(doc, conf_root(doc), top_keys, COUNT(top_keys), &top));
	TRY(read_listen(doc, top.connectors, "wss://", true, &c->connectors));
	TRY(read_listen(doc, top.producers, "https://", false, &c->producers));
	TRY(conf_fill(doc, top.ca, ca_keys, COUNT(ca_keys), &ca));
	TRY(fill_part(doc, top.quotas, quota_keys, COUNT(quota_keys), &quota));
	TRY(fill_part(doc, top.log, log_keys, COUNT(log_keys), &log));
	ENSURE(top.hangup > top.ping,
		conf_fail(conf_get(conf_root(doc), "hangup"), "hangup must be longer than ping"));
	c->state_dir = top.state_dir;
	c->run_dir = top.run_dir;
	c->ca_certificate = ca.certificate;
	c->ca_key = ca.key;
	if (!c->connectors.client_ca)
		c->connectors.client_ca = ca.certificate;
	c->lease_s = top.lease;
	c->reconnect_grace_s = top.reconnect_grace;
	c->takeover_after_s = top.takeover_after;
	c->restored_wait_s = top.restored_wait;
	c->deadline_grace_s = top.deadline_grace;
	c->crash_delay_s = top.crash_delay;
	c->exclude_s = top.exclude;
	c->ping_s = top.ping;
	c->hangup_s = top.hangup;
	c->retention_s = top.retention;
	c->drain_grace_s = top.drain_grace;
	c->quota_open_jobs = quota.open_jobs;
	c->store_max = quota.store_max;
	c->log_format = log.format == 1 ? LOG_JSON : LOG_LOGFMT;
	c->log_level = (enum log_level)log.level;
out:
	return err;
}

cc_err queue_config_read(const char *path, struct queue_config *ret)
{
	struct queue_config c = {0};
	cc_err err = CC_OK;

	TRY(conf_read(path, &c.document));
	TRY(read_top(c.document, &c));
	*ret = c;
	c.document = NULL;
out:
	conf_free(c.document);
	return err;
}

void queue_config_clear(struct queue_config *c)
{
	conf_free(c->document);
	*c = (struct queue_config){0};
}

void queue_config_reference(cc_blob *out)
{
	static const struct {
		const char *title;
		const struct conf_key *table;
		size_t count;
	} pages[] = {
		{"queue.yaml", top_keys, COUNT(top_keys)},
		{"connectors, producers", listen_keys, COUNT(listen_keys)},
		{"ca", ca_keys, COUNT(ca_keys)},
		{"quotas", quota_keys, COUNT(quota_keys)},
		{"log", log_keys, COUNT(log_keys)},
	};

	for (size_t i = 0; i < COUNT(pages); i++) {
		cc_blob_printf(out, "%s%s:\n", i ? "\n" : "", pages[i].title);
		conf_print_reference(pages[i].table, pages[i].count, out);
	}
}
