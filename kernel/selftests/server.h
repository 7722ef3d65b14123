/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A FUSE server for tests, raw protocol: one flat directory that shows the regular files of a backing directory. It
 * runs in a process of its own; what it answers to OPEN and CREATE is in memory that the test shares with it. The test
 * has the device fd too, and registers the backing files itself.
 */
#ifndef FUSE_PT_SERVER_H
#define FUSE_PT_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#define SRV_FILES 32

/* What one name is answered with; without FOPEN_PASSTHROUGH the server reads and writes the backing file. */
struct srv_file {
	char name[64];
	int backing_id;
	uint32_t open_flags;
};

struct srv {
	/* Set before srv_start() */
	char backing[256];	/* directory with the files */
	char mnt[256];
	uint64_t init_flags;	/* wanted, as far as the kernel offers them */
	uint32_t depth;
	uint32_t attr_valid;	/* seconds, also of entries */

	volatile int go;	/* server processes wait for it */

	/* Set by the server */
	uint64_t offered;	/* INIT flags of the kernel */
	uint32_t minor;
	volatile int initialized;
	volatile uint64_t count[64];	/* requests by opcode */
	volatile uint64_t last_open_flags;

	struct srv_file file[SRV_FILES];
	int nfiles;

	/* The test's */
	pid_t pid;
	int fd;
};

/* Shared memory, filled with defaults. */
struct srv *srv_new(const char *backing, const char *mnt);

/* Open the device, mount, start the process, wait for INIT. 0 or -errno. */
int srv_start(struct srv *s);

/*
 * Start a server process for the device fd; srv_start() does. One that is to follow another must be started while no
 * file of the mount is open, with go = 0: it inherits them, and their FLUSH would be for itself.
 */
int srv_spawn(struct srv *s);

/* Unmount and end the server. Complains when the mount is busy. */
void srv_stop(struct srv *s);

/* How NAME is answered from now on. Returns its record. */
struct srv_file *srv_reply(struct srv *s, const char *name, uint32_t open_flags, int backing_id);

/* Register DIR/NAME or an open fd. Id, or -errno. */
int srv_register(struct srv *s, const char *name);
int srv_register_fd(int devfd, int fd);
int srv_unregister(int devfd, int id);

/* register + reply in passthrough. Returns the id. */
int srv_passthrough(struct srv *s, const char *name);

/* open(2) of a name on the mount. fd, or -errno. */
int srv_open(struct srv *s, const char *name, int flags);

/* Wait until the server has seen WANT requests of this kind; false after a generous time. */
int srv_wait_count(struct srv *s, int opcode, uint64_t want);

#endif
