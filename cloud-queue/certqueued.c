/*
 * certqueued: the reference queue.  Reads its configuration, opens everything, serves until it is
 * told to stop.  Needs no privileges; refuses nothing that an ordinary user may do.
 */
#include "base/crashpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "cloud-queue/queue.h"
#include <getopt.h>
#include <stdio.h>
#include <sys/resource.h>

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: certqueued --config FILE [--check]\n"
		    "  --config FILE  queue.yaml\n"
		    "  --check        read and judge the configuration, then end\n"
		    "  --restored     the store is a restored backup: say so to it, then end\n"
		    "  --reset-clock  the store's clock was far ahead: set it back, then end\n"
		    "  --reference    print every key of the configuration\n"
		    "  --version      print the version\n"
		    "SIGTERM and SIGINT: finish in an orderly way; a second one: stop at once.\n");
	return status;
}

static int reference(void)
{
	cc_blob page = CC_BLOB_NONE;

	queue_config_reference(&page);
	fwrite(page.data, 1, page.size, stdout);
	cc_blob_free(&page);
	return EXIT_OK;
}

/* Each connection is a descriptor: take what the system allows. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int report(cc_err err)
{
	if (err == CC_OK)
		return EXIT_OK;
	log_event(EV_FATAL, LV_ERR(err));
	return cc_err_category(err) == CC_CAT_CONFIG ? EXIT_CONFIGURATION : EXIT_FAILED;
}

static int serve(const struct queue_config *config)
{
	struct queue *q = NULL;
	cc_err err = CC_OK;

	raise_descriptor_limit();
	TRY(queue_open(config, &q));
	TRY(queue_take_signals(q));
	TRY(queue_run(q));
out:
	queue_free(q);
	return report(err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'}, {"restored", no_argument, NULL, 'R'},
		{"reset-clock", no_argument, NULL, 'C'}, {"reference", no_argument, NULL, 'r'},
		{"version", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	struct queue_config config = {0};
	enum queue_mend mend = QUEUE_MEND_NOTHING;
	const char *path = NULL;
	bool check = false;
	int option, status = EXIT_OK;
	cc_err err;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == 'k')
			check = true;
		else if (option == 'R')
			mend = QUEUE_RESTORED;
		else if (option == 'C')
			mend = QUEUE_RESET_CLOCK;
		else if (option == 'r')
			return reference();
		else if (option == 'v')
			return printf("certqueued %s\n", CC_RELEASE) < 0 ? EXIT_FAILED : EXIT_OK;
		else
			return usage(option == 'h' ? stdout : stderr,
				option == 'h' ? EXIT_OK : EXIT_USAGE);
	}
	if (!path || optind < argc)
		return usage(stderr, EXIT_USAGE);
	memory_share();
	crashpoint_arm();
	sandbox_early(true); /* the queue's CA key is in this process: no core, no ptrace */
	log_init("queue", LOG_LOGFMT, LOG_INFO_);
	err = queue_config_read(path, &config);
	if (err != CC_OK) {
		log_event(EV_CONFIG_REFUSED, LV_ERR(err));
		return EXIT_CONFIGURATION;
	}
	log_init("queue", config.log_format, config.log_level);
	if (!check)
		status = mend != QUEUE_MEND_NOTHING ? report(queue_mend(&config, mend))
						    : serve(&config);
	queue_config_clear(&config);
	return status;
}
