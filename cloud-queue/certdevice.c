/*
 * certdevice: the device's side of the main job, for demonstration and tests.
 */
#include "cloud-queue/certdevice.h"
#include "base/file.h"
#include "base/tool.h"
#include <stdlib.h>

/* name, what it does; run by certdevice_NAME */
#define COMMANDS(X)                                                                                \
	X(new, "make a device key")                                                                \
	X(ask, "write a request that `certqueuectl sign` turns into a job")                        \
	X(open, "check and open what came back")

#define X(name, help) {#name, help},
static const struct tool_command commands[] = {COMMANDS(X)};
#undef X
#define X(name, help) certdevice_##name,
static int (*const runs[])(int argc, char **argv) = {COMMANDS(X)};
#undef X

static const struct tool tool = {
	.program = "certdevice",
	.exits = "0 ok, 1 failed, 2 usage, 3 refused: a check did not hold, 5 configuration",
	.plain = true,
	.commands = commands,
	.command_count = sizeof(commands) / sizeof(commands[0]),
};

int certdevice_fail(const char *doing, cc_err err)
{
	return tool_fail("certdevice", doing, err);
}

cc_err certdevice_key_read(const char *dir, EVP_PKEY **ret)
{
	char *path = file_join(dir, "device.key");
	cc_err err = tool_key_read(path, ret);

	free(path);
	return err;
}

int main(int argc, char **argv)
{
	struct tool_call call;
	int status;

	if (!tool_choose(&tool, argc, argv, &call, &status))
		return status;
	return runs[call.command](call.argc, call.argv);
}
