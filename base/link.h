/*
 * Link: packets with descriptors between the supervisor and a role (descriptor 3 of the role).
 *
 * SOCK_SEQPACKET, so that a message and its descriptors arrive together or not at all.  One packet
 * at most 64 KiB and 16 descriptors.  Received descriptors are close-on-exec and owned by the
 * caller.  Blocking or not is the socket's own mode.
 */
#pragma once

#include "base/blob.h"

#define LINK_FD         3
#define LINK_PACKET_MAX (64u * 1024u)
#define LINK_FDS_MAX    16

cc_err link_pair(int ret_fds[2]) CC_MUST_USE;  /* close-on-exec */
void link_close(const int *fds, size_t count); /* those that are not -1 */
cc_err link_send(int fd, cc_view packet, const int *fds, size_t fd_count) CC_MUST_USE;
/* CC_CLOSED at the end, CC_AGAIN when nothing is there.  Truncated packets are CC_TOO_LARGE. */
cc_err link_receive(int fd, cc_blob *ret, int ret_fds[LINK_FDS_MAX], size_t *ret_count) CC_MUST_USE;
