/*
 * Supervisor: reload.
 *
 * What a role sees of the configuration is its Setup, so a role is restarted when its new Setup
 * differs from the old one.  The connector is always restarted (it reads its identity at start), and
 * the keyvault always gets fresh descriptors of policy and pins.  Where things are, and who the
 * roles are, cannot change under running roles: that needs a restart of the daemon.
 */
#include "connector/supervisor_int.h"
#include "base/log.h"
#include "connector/notify.h"
#include "connector/state_dirs.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESTART_MS 10000

static bool same_user(const struct config_user *a, const struct config_user *b)
{
	if (a->given != b->given || a->uid != b->uid || a->gid != b->gid ||
		a->group_count != b->group_count)
		return false;
	for (size_t i = 0; i < a->group_count; i++) {
		if (a->groups[i] != b->groups[i])
			return false;
	}
	return true;
}

static cc_err check_fixed(const struct config *old, const struct config *new)
{
	const char *what = NULL;

	if (strcmp(old->state_dir, new->state_dir) != 0)
		what = "state_dir";
	else if (strcmp(old->run_dir, new->run_dir) != 0)
		what = "run_dir";
	else if (old->walls != new->walls)
		what = "walls";
	else if (!same_user(&old->connector_user, &new->connector_user) ||
		 !same_user(&old->keyvault_user, &new->keyvault_user) ||
		 !same_user(&old->ca_user, &new->ca_user))
		what = "users";
	else if (old->admin_group_given != new->admin_group_given ||
		 old->admin_group != new->admin_group)
		what = "admin_group";
	if (what != NULL)
		return cc_fail(CC_CONFIG, "%s changes with a restart of the daemon only", what);
	return CC_OK;
}

/* A new CA may bring a runner that shares a user. */
static cc_err check_walls(const struct supervisor *s, const struct config *new, struct walls *ret)
{
	walls_judge(new, ret);
	if (!ret->full && new->walls == WALLS_REQUIRE)
		return cc_fail(CC_CONFIG, "walls: reduced: %s", ret->why);
	if (ret->full != s->walls.full)
		return cc_fail(CC_CONFIG, "the walls change with a restart of the daemon only");
	return CC_OK;
}

static void send_files(struct supervisor *s, const struct config *config)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Files files = ROLE__FILES__INIT;
	const char *names[SETUP_FILES_MAX] = {0};
	int fds[SETUP_FILES_MAX];
	size_t count = 0;
	cc_err err = setup_open_files(config, names, fds, &count);

	if (err != CC_OK) {
		log_event(EV_CONFIG_REFUSED, LV_ERR(err));
		return;
	}
	files.descriptors = (char **)(uintptr_t)names;
	files.n_descriptors = count;
	m.body_case = ROLE__LINK_MESSAGE__BODY_FILES;
	m.files = &files;
	child_send(s->keyvault, &m, fds, count);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

static bool same_secret(const struct config *old, const struct config *new, const char *name)
{
	const struct config_ca *a = config_find_ca(old, name), *b = config_find_ca(new, name);

	if (a->secret == NULL || b->secret == NULL)
		return a->secret == b->secret;
	return strcmp(a->secret, b->secret) == 0;
}

static bool keyvault_differs(const struct supervisor *s, const struct config *old)
{
	struct setup_source source = supervisor_source(s);
	cc_blob now = setup_pack(&source, ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault"), before;
	bool same;

	source.config = old;
	before = setup_pack(&source, ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault");
	same = cc_view_equal(cc_blob_view(&now), cc_blob_view(&before)) &&
	       strcmp(old->keyvault.master_key, s->config->keyvault.master_key) == 0;
	cc_blob_free(&now);
	cc_blob_free(&before);
	return !same;
}

/* Compared with what it was really started with: its secret may be there only now. */
static bool runner_differs(
	const struct supervisor *s, const struct child *c, const struct config *old)
{
	struct setup_source source = supervisor_source(s);
	struct child_setup now = {0};
	bool same;

	if (config_find_ca(old, child_name(c)) == NULL ||
		!same_secret(old, s->config, child_name(c)))
		return true;
	if (setup_make(&source, child_role(c), child_name(c), &now) != CC_OK)
		return true; /* its next start tells what is wrong */
	same = cc_view_equal(cc_blob_view(&now.packet), child_sent_setup(c));
	for (size_t i = 0; i < now.fd_count; i++)
		close(now.fds[i]);
	cc_blob_free(&now.packet);
	return !same;
}

static bool has_child(const struct supervisor *s, const char *name)
{
	for (size_t i = 0; i < s->child_count; i++) {
		if (child_role(s->children[i]) == ROLE__ROLE_KIND__ROLE_CA_RUNNER &&
			strcmp(child_name(s->children[i]), name) == 0)
			return true;
	}
	return false;
}

static void adjust_runners(struct supervisor *s, const struct config *old)
{
	for (size_t i = 0; i < s->child_count; i++) {
		struct child *c = s->children[i];
		if (child_role(c) != ROLE__ROLE_KIND__ROLE_CA_RUNNER)
			continue;
		if (config_find_ca(s->config, child_name(c)) == NULL)
			child_stop(c, RESTART_MS);
		else if (s->approval_spki.size > 0 && runner_differs(s, c, old))
			child_restart(c, RESTART_MS);
	}
	for (size_t i = 0; i < s->config->ca_count; i++) {
		if (has_child(s, s->config->cas[i].name))
			continue;
		supervisor_add_runner(s, s->config->cas[i].name);
		if (s->approval_spki.size > 0)
			child_start(s->children[s->child_count - 1]);
	}
}

void supervisor_forget_removed(struct supervisor *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->child_count; i++) {
		struct child *c = s->children[i];
		bool gone = child_role(c) == ROLE__ROLE_KIND__ROLE_CA_RUNNER && child_pid(c) == 0 &&
			    config_find_ca(s->config, child_name(c)) == NULL;
		if (gone) {
			conversations_drop(s->conversations, c);
			child_free(c);
		} else {
			s->children[kept++] = c;
		}
	}
	s->child_count = kept;
}

void supervisor_reload(struct supervisor *s)
{
	struct config *new = NULL, *old = s->config;
	struct walls walls;
	cc_err err = CC_OK;

	if (s->stopping)
		return;
	TRY(config_read(s->config_path, &new));
	TRY(check_fixed(old, new));
	TRY(check_walls(s, new, &walls));
	TRY(state_dirs_make(new));
	s->config = new;
	s->walls = walls;
	log_init("supervisor", (enum log_format) new->log_format, (enum log_level) new->log_level);
	if (keyvault_differs(s, old))
		child_restart(s->keyvault, RESTART_MS);
	else
		send_files(s, new);
	adjust_runners(s, old);
	supervisor_forget_removed(s);
	if (child_state(s->connector) !=
		CHILD_STOPPED) /* else the keyvault's first ready starts it */
		child_restart(s->connector, RESTART_MS);
	log_event(EV_RELOADED, LV_TEXT("config", s->config_path));
	config_free(old);
out:
	if (err != CC_OK) {
		config_free(new);
		log_event(EV_CONFIG_REFUSED, LV_ERR(err),
			LV_TEXT("effect", "the old configuration goes on"));
	}
}
