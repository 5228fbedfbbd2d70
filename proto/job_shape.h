/*
 * Job shape: what a job has to look like before any policy is asked.  For job.c only.
 *
 * Pure; any thread.  Every complaint is CC_MALFORMED and names the field.
 */
#pragma once

#include "proto/job.h"

cc_err job_shape_check(const Certq__JobDocument *job) CC_MUST_USE;
