// SPDX-License-Identifier: GPL-2.0-only
/* What is negotiated in INIT. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void try(uint64_t flags, uint32_t depth, int want, const char *what)
{
	struct srv *s = srv_new("init", "init-mnt");
	int id, err;

	s->init_flags = flags;
	s->depth = depth;
	env_write("data", "init/f");
	err = srv_start(s);
	if (err) {
		tap_eq(err, 0, "mount with %s", what);
		srv_stop(s);
		return;
	}
	id = srv_register(s, "f");
	tap_eq(id > 0 ? 0 : id, want, "registering with %s", what);
	srv_reply(s, "f", 0, 0);
	tap_ok(env_contains("data", "init-mnt/f"), "the mount works with %s", what);
	srv_stop(s);
}

int main(void)
{
	uint64_t base = FUSE_PASSTHROUGH | FUSE_ATOMIC_O_TRUNC;
	struct fuse_backing_map map = { .fd = 0 };
	struct srv *s;
	int fd;

	env_init(true);

	try(base, 1, 0, "max_stack_depth 1");
	try(base, 2, 0, "max_stack_depth 2");
	try(base, 0, -EPERM, "max_stack_depth 0");
	try(base, 3, -EPERM, "max_stack_depth 3");
	try(base, UINT32_MAX, -EPERM, "max_stack_depth 2^32-1");
	try(base & ~FUSE_PASSTHROUGH, 1, -EPERM, "a depth but no flag");
	try(base | FUSE_WRITEBACK_CACHE, 1, -EPERM, "a writeback cache");
	try(base | FUSE_HANDLE_KILLPRIV_V2, 1, 0, "FUSE_HANDLE_KILLPRIV_V2");
	try(base | FUSE_POSIX_ACL | FUSE_PARALLEL_DIROPS | FUSE_DO_READDIRPLUS, 2, 0, "other flags");

	/* Before there is a connection, and before INIT was answered */
	fd = open("/dev/fuse", O_RDWR);
	tap_eq(ioctl(fd, FUSE_DEV_IOC_BACKING_OPEN, &map) ? -errno : 0, -EPERM, "register on an unmounted device");
	tap_eq(srv_unregister(fd, 1), -EPERM, "close an id on an unmounted device");
	close(fd);

	/* Without an answer from the server the capability is off: a depth must not be taken from thin air */
	s = srv_new("init", "init-mnt");
	s->init_flags = 0;
	s->depth = 0;
	tap_eq(srv_start(s), 0, "mount without passthrough");
	srv_reply(s, "f", FOPEN_PASSTHROUGH, 1);
	tap_eq(srv_open(s, "f", O_RDONLY), -EIO, "FOPEN_PASSTHROUGH without negotiation");
	srv_stop(s);

	return tap_done();
}
