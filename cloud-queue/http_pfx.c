/*
 * Imported PFX records in the shape of Graph's userPFXCertificate.
 *
 * The blob is the PFX file itself; its password is encrypted to an on-prem key.  GET never gives
 * either back: it shows their digests, which a signed Rewrap document needs.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "cloud-queue/http_graph.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>

#define RECORD_MAX (256u * 1024u)

struct pfx {
	struct http_request *request;
	Queue__PfxRecord *record;
};

static void pfx_free(struct pfx *p)
{
	codec_free(p->record);
	free(p);
}

static void on_put(void *arg, const struct store_pfx_put_out *out)
{
	struct pfx *p = arg;
	struct http_request *r = p->request;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_NEW || out->result == STORE_OK)
		http_answer_json(r, 201, http_graph_show(p->record));
	else if (out->result == STORE_CONFLICT)
		http_answer_problem(
			r, 409, "duplicate_record", "a record with this id is there already");
	else if (out->result == STORE_QUOTA)
		http_answer_problem(r, 507, "store_full", "the tenant's room is used up");
	else if (out->result == STORE_TOO_LARGE)
		http_answer_problem(r, 413, "too_large", "the record is too large");
	else
		http_answer_not_found(r);
	pfx_free(p);
}

void http_pfx_post(struct http_request *r)
{
	struct store_pfx_put_in in = {.tenant = http_request_tenant(r), .mode = STORE_PFX_CREATE};
	struct http_fault fault = {0};
	Queue__PfxRecord *record = NULL;
	json_t *body = NULL;
	cc_blob packed;
	struct pfx *p;

	if (!http_request_json(r, http_graph_members, &body))
		return;
	if (!http_graph_read(body, clock_realtime_s(), &record, &fault)) {
		json_decref(body);
		http_fault_answer(r, &fault);
		return;
	}
	json_decref(body);
	p = cc_alloc(sizeof(*p));
	p->request = r;
	p->record = record;
	packed = codec_pack(record);
	in.user = codec_view(record->user_id);
	in.thumbprint = codec_view(record->thumbprint);
	in.record = cc_blob_view(&packed);
	store_pfx_put(http_request_queue(r)->store, &in, on_put, p);
	cc_blob_free(&packed);
}

static void on_get(void *arg, const struct store_pfx_get_out *out)
{
	struct http_request *r = arg;
	Queue__PfxRecord *record = NULL;

	if (out->err != CC_OK) {
		http_answer_store_failed(r, out->err);
	} else if (out->result != STORE_OK || codec_decode(&queue__pfx_record__descriptor,
						      out->record, RECORD_MAX, &record) != CC_OK) {
		http_answer_not_found(r);
	} else {
		http_answer_json(r, 200, http_graph_show(record));
		codec_free(record);
	}
}

void http_pfx_get(struct http_request *r)
{
	struct store_pfx_get_in in = {.tenant = http_request_tenant(r)};

	if (http_graph_split_id(cc_view_text(http_request_param(r, 0)), &in.user, &in.thumbprint))
		store_pfx_get(http_request_queue(r)->store, &in, on_get, r);
	else
		http_answer_not_found(r);
}
