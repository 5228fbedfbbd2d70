/*
 * The daemon's two local sockets, asked one question at a time.
 */
#include "base/chan.h"
#include "base/file.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 15000

static cc_err ask(const struct ctl *c, const char *socket, cc_view request, cc_blob *ret)
{
	char *path = file_join(c->settings.run_dir, socket);
	int fd = -1;
	cc_err err = CC_OK;

	err = chan_connect_path(path, ASK_TIMEOUT_MS, &fd);
	if (err != CC_OK) {
		err = cc_fail(err == CC_PERMISSION ? err : CC_UNREACHABLE,
			"%s does not answer: is certconnectord running, and may this user use it? "
			"(%s)",
			path, cc_err_detail(err));
		goto out;
	}
	TRY(chan_write_frame(fd, request, ASK_TIMEOUT_MS));
	TRY(chan_read_frame(fd, CHAN_FRAME_MAX, ASK_TIMEOUT_MS, ret));
out:
	if (fd >= 0)
		close(fd);
	free(path);
	return err;
}

/* A status of the keyvault in the words of an error. */
static cc_err vault_status(const Vault__AdminAnswer *answer)
{
	char *detail = text_printable(codec_view(answer->detail));
	cc_err err = CC_OK;

	switch (answer->status) {
	case VAULT__VAULT_STATUS__VAULT_OK:
		break;
	case VAULT__VAULT_STATUS__VAULT_NOT_SUPPORTED:
		err = cc_fail(CC_NOT_SUPPORTED, "the keyvault does not do this: %s", detail);
		break;
	case VAULT__VAULT_STATUS__VAULT_BUSY:
		err = cc_fail(CC_BUSY, "the keyvault is busy: %s", detail);
		break;
	default:
		err = cc_fail(CC_DENIED, "the keyvault refused: %s", detail);
		break;
	}
	free(detail);
	return err;
}

cc_err ctl_ask_vault(const struct ctl *c, Vault__AdminRequest *request, Vault__AdminAnswer **ret)
{
	cc_blob frame = CC_BLOB_NONE;
	cc_blob reply = CC_BLOB_NONE;
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	request->request_id = 1;
	frame = codec_pack(request);
	TRY(ask(c, "vault-admin.sock", cc_blob_view(&frame), &reply));
	TRY(codec_decode(
		&vault__admin_answer__descriptor, cc_blob_view(&reply), CHAN_FRAME_MAX, &answer));
	TRY(vault_status(answer));
	*ret = answer;
	answer = NULL;
out:
	codec_free(answer);
	cc_blob_free(&reply);
	cc_blob_free(&frame);
	return err;
}

cc_err ctl_ask_connector(
	const struct ctl *c, Control__ControlRequest *request, Control__ControlAnswer **ret)
{
	cc_blob frame = CC_BLOB_NONE;
	cc_blob reply = CC_BLOB_NONE;
	Control__ControlAnswer *answer = NULL;
	char *words = NULL;
	cc_err err = CC_OK;

	request->request_id = 1;
	frame = codec_pack(request);
	TRY(ask(c, "control.sock", cc_blob_view(&frame), &reply));
	TRY(codec_decode(&control__control_answer__descriptor, cc_blob_view(&reply), CHAN_FRAME_MAX,
		&answer));
	if (!answer->ok) {
		words = text_printable(codec_view(answer->error));
		err = cc_fail(CC_DENIED, "the connector refused: %s", words);
		goto out;
	}
	*ret = answer;
	answer = NULL;
out:
	free(words);
	codec_free(answer);
	cc_blob_free(&reply);
	cc_blob_free(&frame);
	return err;
}
