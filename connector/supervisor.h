/*
 * Supervisor: starts the roles, gives each its part and its conversations, and keeps them running.
 *
 * The daemon's first process; single-threaded.  It parses nothing but the administrator's
 * configuration and the roles' link messages, and holds no private key.  SIGTERM and SIGINT end the
 * daemon in order (connector first, then the rest), SIGHUP reads the configuration again.
 */
#pragma once

/* Runs until told to end; returns the process's exit status. */
int supervisor_run(const char *config_path);
