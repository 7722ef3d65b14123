// SPDX-License-Identifier: GPL-2.0-only
/* What can be below a mount of which stack depth, and what above. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct srv *start(const char *name, uint32_t depth)
{
	char backing[64], mnt[64];
	struct srv *s;

	snprintf(backing, sizeof(backing), "%s-%u", name, depth);
	snprintf(mnt, sizeof(mnt), "%s-%u-mnt", name, depth);
	s = srv_new(backing, mnt);
	s->depth = depth;
	env_write("seen below", "%s/f", backing);
	if (srv_start(s))
		tap_bail("mount %s", mnt);
	return s;
}

/* Can a file of FILE's filesystem be registered at each depth? Where it can, it is read and written through. */
static void below(struct srv *top[3], const char *file, const char *what, int want1, int want2)
{
	int want[3] = { 0, want1, want2 }, depth, fd, id;

	for (depth = 1; depth <= 2; depth++) {
		fd = open(file, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			tap_bail("%s", file);
		id = srv_register_fd(top[depth]->fd, fd);
		close(fd);
		tap_eq(id > 0 ? 0 : id, want[depth], "%s below depth %d", what, depth);
		if (id <= 0)
			continue;
		srv_reply(top[depth], "f", FOPEN_PASSTHROUGH, id);
		fd = srv_open(top[depth], "f", O_RDWR);
		tap_ok(fd >= 0 && pwrite(fd, what, 3, 0) == 3 && env_contains(what, "%s", file) == env_fd_contains(fd, what),
		       "written through to %s", what);
		if (fd >= 0)
			close(fd);
		srv_unregister(top[depth]->fd, id);
	}
}

static bool overlay_over(const char *lower)
{
	if (!env_mount_overlay("above", lower, "above-upper", "above-work"))
		return false;
	umount2("above", 0);
	return true;
}

int main(void)
{
	struct srv *top[3], *f0, *f1, *f2;
	int id;

	env_init(true);
	top[1] = start("top", 1);
	top[2] = start("top", 2);
	f0 = start("fuse", 0);
	f1 = start("fuse", 1);
	f2 = start("fuse", 2);

	env_write("tmpfs", "plain");
	below(top, "plain", "tmpfs", 0, 0);

	if (env_mount_ext4("ext4")) {
		env_write("ext4", "ext4/f");
		below(top, "ext4/f", "ext4", 0, 0);
	} else {
		tap_skip("cannot mount ext4", "ext4");
	}

	if (env_mount_overlay("ov", "ov-l", "ov-u", "ov-w")) {
		env_write("overlay", "ov/f");
		below(top, "ov/f", "overlay", -ELOOP, 0);
		mkdir("ov2-u", 0755);
		if (env_mount_overlay("ov2", "ov", "ov2-u", "ov2-w")) {
			below(top, "ov2/f", "overlay on overlay", -ELOOP, -ELOOP);
			umount2("ov2", 0);
		} else {
			tap_skip("cannot mount it", "overlay on overlay");
		}
		umount2("ov", 0);
	} else {
		tap_skip("no overlayfs", "overlay");
	}

	/* FUSE below FUSE: without passthrough it stacks on nothing; with it, as deep as it has said */
	srv_reply(f0, "f", 0, 0);
	env_write("fuse", "fuse-0/f");
	below(top, "fuse-0-mnt/f", "fuse", 0, 0);
	id = srv_passthrough(f1, "f");
	tap_ok(id > 0, "a backing file of the lower mount");
	env_write("fuse passthrough", "fuse-1/f");
	below(top, "fuse-1-mnt/f", "fuse passthrough", -ELOOP, 0);
	id = srv_passthrough(f2, "f");
	below(top, "fuse-2-mnt/f", "fuse passthrough of depth 2", -ELOOP, -ELOOP);

	/* What the mount allows above it is what the server has left */
	srv_reply(top[1], "f", 0, 0);
	srv_reply(top[2], "f", 0, 0);
	if (overlay_over("ext4")) {
		tap_ok(overlay_over("fuse-0-mnt"), "overlay above fuse");
		tap_ok(overlay_over("fuse-1-mnt"), "overlay above depth 1");
		tap_ok(!overlay_over("fuse-2-mnt") && errno == EINVAL, "no overlay above depth 2");
	} else {
		tap_skip("no overlayfs", "overlay above fuse");
	}

	srv_stop(top[1]);
	srv_stop(top[2]);
	srv_stop(f2);
	srv_stop(f1);
	srv_stop(f0);
	umount2("ext4", 0);
	return tap_done();
}
