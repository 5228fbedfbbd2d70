/*
 * Walls: the list of users is compared pair by pair; it is as long as there are roles.
 */
#include "connector/walls.h"
#include <cap-ng.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct named_user {
	const char *name;
	const struct config_user *user;
};

static bool may_change_user(void)
{
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) != 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID) != 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_KILL) != 0;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
		       LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static size_t list_users(const struct config *c, struct named_user *list)
{
	size_t count = 0;

	list[count++] = (struct named_user){"connector", &c->connector_user};
	list[count++] = (struct named_user){"keyvault", &c->keyvault_user};
	for (size_t i = 0; i < c->ca_count; i++)
		list[count++] =
			(struct named_user){c->cas[i].name, config_runner_user(c, &c->cas[i])};
	return count;
}

static bool check_user(const struct named_user *list, size_t at, struct walls *w)
{
	const struct named_user *it = &list[at];

	if (!it->user->given) {
		snprintf(w->why, sizeof(w->why), "no users are configured");
		return false;
	}
	if (it->user->uid == geteuid()) {
		snprintf(w->why, sizeof(w->why), "%s has the supervisor's own user", it->name);
		return false;
	}
	for (size_t i = 0; i < at; i++) {
		if (list[i].user->uid != it->user->uid)
			continue;
		snprintf(
			w->why, sizeof(w->why), "%s and %s share one user", list[i].name, it->name);
		return false;
	}
	return true;
}

void walls_judge(const struct config *c, struct walls *ret)
{
	struct named_user list[CONFIG_CAS_MAX + 2];
	size_t count = list_users(c, list);

	*ret = (struct walls){.full = true, .can_change_user = may_change_user()};
	for (size_t i = 0; i < count && ret->full; i++)
		ret->full = check_user(list, i, ret);
	if (ret->full && !has_landlock()) {
		ret->full = false;
		snprintf(ret->why, sizeof(ret->why), "this kernel has no Landlock");
	}
	if (ret->full && !ret->can_change_user) {
		ret->full = false;
		snprintf(ret->why, sizeof(ret->why),
			"the supervisor may not change users (CAP_SETUID, CAP_SETGID, CAP_KILL)");
	}
}
