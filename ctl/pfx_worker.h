/*
 * PFX worker: opens an administrator's PFX file in a sandboxed child without files and network.
 *
 * The file is somebody else's; its parser must not run where keys are or where a network is.  The
 * child holds no on-prem key: recipients are public keys.  Called by `pfx import`; blocks.
 */
#pragma once

#include "base/blob.h"
#include "ctl/v1/ctl.pb-c.h"

/* Re-protect under a fresh password and encrypt that to each recipient.  Free the answer with
 * codec_free.  What the worker refuses (wrong password, not a PFX, limits) is CC_PASSWORD with its
 * words. */
cc_err pfx_worker_run(const Ctl__ImportRequest *request, Ctl__ImportAnswer **ret) CC_MUST_USE;
