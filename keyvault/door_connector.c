/*
 * The conversation with the connector.  A request whose conversation is over gets no answer, but its
 * decision record still goes to whoever is connected now.
 *
 * An answer and its record are packed apart: in protobuf, one encoding after the other is the merged
 * message, so the record of a decision that only the commit has made is appended to what the worker packed.
 */
#include "keyvault/door_connector.h"
#include "base/chan.h"
#include "keyvault/dispatch.h"
#include "proto/greeting.h"
#include "proto/role_link.h"
#include <stdlib.h>
#include <unistd.h>

#define CALLS_PAUSE    256 /* requests without an answer, then the connector is not read */
#define CALLS_RESUME   128
#define RESEND_AT_ONCE 200  /* records in one frame */
#define DECISIONS_TAG  0x42 /* VaultAnswer.decisions: field 8, length-delimited */

struct door_connector {
	struct vault *vault;
	struct chan *chan;
	char *peer_name;
	uint64_t number; /* of the conversation */
	uint64_t told;   /* decision records up to here were sent in it */
	size_t calls;
	bool paused;
	bool greeted;
};

static void append_varint(cc_blob *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		cc_blob_append_byte(to, (uint8_t)(value | 0x80));
	cc_blob_append_byte(to, (uint8_t)value);
}

static void append_record(cc_blob *answer, cc_view record)
{
	cc_blob_append_byte(answer, DECISIONS_TAG);
	append_varint(answer, record.size);
	cc_blob_append(answer, record);
}

static void over(struct door_connector *d)
{
	chan_free(d->chan);
	d->chan = NULL;
	d->paused = false;
	d->calls = 0;
}

static void send_frame(struct door_connector *d, cc_view frame)
{
	/* A failure ends the channel by itself; the records are kept until they are confirmed. */
	if (d->chan != NULL && frame.size > 0)
		cc_ignore(chan_send(d->chan, frame), "the channel ends");
}

/* Appends the record when this conversation has not had it. */
static void add_record(struct door_connector *d, uint64_t counter, cc_view record, cc_blob *answer)
{
	if (counter <= d->told)
		return;
	append_record(answer, record);
	d->told = counter;
}

void door_connector_tell(struct door_connector *d, uint64_t counter, cc_view record)
{
	cc_blob frame = CC_BLOB_NONE;

	if (d->chan == NULL || !d->greeted)
		return;
	add_record(d, counter, record, &frame);
	send_frame(d, cc_blob_view(&frame));
	cc_blob_free(&frame);
}

/* ---- records that wait ---- */

struct resend {
	struct door_connector *door;
	cc_blob frame;
	size_t records;
};

static cc_err resend_one(void *arg, uint64_t number, cc_view record)
{
	struct resend *r = arg;

	add_record(r->door, number, record, &r->frame);
	if (++r->records % RESEND_AT_ONCE == 0) {
		send_frame(r->door, cc_blob_view(&r->frame));
		cc_blob_clear(&r->frame);
	}
	return CC_OK;
}

static void resend_decisions(struct door_connector *d)
{
	struct resend r = {.door = d};
	cc_err err = state_list_decisions(d->vault->state, resend_one, &r);

	if (err != CC_OK)
		log_event(EV_VAULT_FAILED, LV_TEXT("operation", "resend"), LV_ERR(err));
	send_frame(d, cc_blob_view(&r.frame));
	cc_blob_free(&r.frame);
}

/* ---- the channel ---- */

static void pace(struct door_connector *d)
{
	bool pause = d->paused ? d->calls > CALLS_RESUME : d->calls >= CALLS_PAUSE;

	if (d->chan == NULL || pause == d->paused)
		return;
	d->paused = pause;
	chan_pause(d->chan, pause);
}

static void reply(struct call *c)
{
	struct door_connector *d = c->vault->connector;
	const struct state_change *change = &c->change;

	if (d->chan == NULL)
		return;
	if (c->origin != d->number) {
		if (change->counter != 0)
			door_connector_tell(d, change->counter, cc_blob_view(&change->record));
		return;
	}
	d->calls--;
	if (change->counter != 0)
		add_record(d, change->counter, cc_blob_view(&change->record), &c->answer);
	send_frame(d, cc_blob_view(&c->answer));
	pace(d);
}

static cc_err on_frame(void *arg, cc_view frame)
{
	struct door_connector *d = arg;
	struct call *c = NULL;
	cc_err err = dispatch_read_request(d->vault, frame, &c);

	if (err != CC_OK)
		return err;
	c->origin = d->number;
	c->reply = reply;
	d->calls++;
	dispatch_start(c);
	pace(d);
	return CC_OK;
}

static void on_closed(void *arg, cc_err why)
{
	struct door_connector *d = arg;

	log_event(EV_CONVERSATION_LOST, LV_TEXT("peer", d->peer_name), LV_ERR(why));
	over(d);
	if (!d->vault->stopping)
		cc_ignore(role_link_lost(
				  d->vault->link, ROLE__ROLE_KIND__ROLE_CONNECTOR, d->peer_name),
			"without a supervisor the role ends anyway");
}

static cc_err check_greeting(void *arg, cc_view frame)
{
	struct door_connector *d = arg;
	cc_err err = greeting_check(
		frame, ROLE__ROLE_KIND__ROLE_CONNECTOR, d->peer_name, d->vault->setup->build_id);

	if (err == CC_OK) {
		d->greeted = true;
		resend_decisions(d);
	}
	return err;
}

static const struct chan_events events = {.frame = on_frame, .closed = on_closed};

struct door_connector *door_connector_new(struct vault *v)
{
	struct door_connector *d = cc_alloc(sizeof(*d));

	d->vault = v;
	return d;
}

void door_connector_free(struct door_connector *d)
{
	if (d == NULL)
		return;
	over(d);
	free(d->peer_name);
	free(d);
}

void door_connector_open(struct door_connector *d, int fd, const char *peer_name)
{
	const Role__Setup *setup = d->vault->setup;
	cc_blob greeting =
		greeting_pack(ROLE__ROLE_KIND__ROLE_KEYVAULT, setup->name, setup->build_id);

	over(d);
	free(d->peer_name);
	d->peer_name = cc_strdup(peer_name);
	d->number++;
	d->told = 0;
	d->greeted = false;
	cc_err err = chan_new(
		d->vault->loop, fd, &events, d, cc_blob_view(&greeting), check_greeting, &d->chan);
	if (err != CC_OK)
		log_event(EV_CONVERSATION_LOST, LV_TEXT("peer", peer_name), LV_ERR(err));
	cc_blob_free(&greeting);
}
