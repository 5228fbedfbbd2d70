/*
 * Between the control socket (control.c) and its operations (control_ops.c).  Loop's thread.
 */
#pragma once

#include "base/text.h"
#include "cloud-queue/control.h"
#include "cloud-queue/store.h"

struct control_peer;

/* Do one request (NULL: it was not JSON), which is taken over; control_answer is called once,
 * at once or later. */
void control_handle(struct queue *q, struct control_peer *peer, json_t *request);
/* Takes over `answer`. */
void control_answer(struct control_peer *peer, json_t *answer);

/* One request under way; what an answer needs beside the store's is kept here. */
struct control_op {
	struct queue *queue;
	struct control_peer *peer;
	json_t *request;
	json_t *answer; /* members gathered so far */
	uint8_t job_id[JOB_ID_SIZE];
};

/* Answers; each ends the op. */
void control_op_done(struct control_op *op); /* with the members gathered so far */
void control_op_fail(struct control_op *op, const char *code, const char *detail);
/* The words for a verdict of the store that is not success. */
void control_op_refuse(struct control_op *op, cc_err err, enum store_result result);
/* A member that is text; empty when it is absent or something else. */
cc_view control_op_text(const struct control_op *op, const char *name);

/* control_jobs.c */
void control_job_show(struct control_op *op);
void control_job_takeover(struct control_op *op);
void control_job_bury(struct control_op *op);
void control_job_replay(struct control_op *op);
void control_job_cancel(struct control_op *op);
void control_check(struct control_op *op);
