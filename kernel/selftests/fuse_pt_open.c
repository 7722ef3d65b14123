// SPDX-License-Identifier: GPL-2.0-only
/* OPEN and CREATE in passthrough mode: what fits together, what fails, what is left afterwards. */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct srv *s;

/* Open, and close what was opened: 0 or -errno. */
static int try(const char *name, int flags, uint32_t open_flags, int id)
{
	int fd;

	srv_reply(s, name, open_flags, id);
	fd = srv_open(s, name, flags);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static void setup(void)
{
	uint64_t opens = s->count[FUSE_OPEN], releases = s->count[FUSE_RELEASE];
	int id = srv_register(s, "a"), gone = srv_register(s, "a"), good = 0;

	srv_unregister(s->fd, gone);
	good += tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), 0, "O_RDONLY");
	good += tap_eq(try("a", O_WRONLY, FOPEN_PASSTHROUGH, id), 0, "O_WRONLY");
	good += tap_eq(try("a", O_RDWR | O_APPEND, FOPEN_PASSTHROUGH, id), 0, "O_RDWR | O_APPEND");
	good += tap_eq(try("a", O_RDWR | O_SYNC | O_NONBLOCK | O_NOATIME, FOPEN_PASSTHROUGH, id), 0, "other flags");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_NOFLUSH, id), 0, "with FOPEN_NOFLUSH");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, id), 0, "with FOPEN_DIRECT_IO");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES, id), 0,
	       "with FOPEN_PARALLEL_DIRECT_WRITES");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_KEEP_CACHE, id), -EIO, "with FOPEN_KEEP_CACHE");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_NONSEEKABLE, id), -EIO, "with FOPEN_NONSEEKABLE");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_STREAM, id), -EIO, "with FOPEN_STREAM");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_CACHE_DIR, id), -EIO, "with FOPEN_CACHE_DIR");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, 0), -EIO, "id 0");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, -5), -EIO, "a negative id");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, gone), -EIO, "an id that was closed");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, 0x7fffffff), -EIO, "an id that never was");
	tap_eq(try("a", O_RDONLY, 0, id), 0, "an id without the flag is nothing");

	opens = s->count[FUSE_OPEN] - opens;
	tap_ok(srv_wait_count(s, FUSE_RELEASE, releases + opens), "a RELEASE for each OPEN, the failed ones too");

	/* The id is closed, the file goes on; and again after the failures above */
	srv_reply(s, "a", FOPEN_PASSTHROUGH, id);
	good = srv_open(s, "a", O_RDONLY);
	srv_unregister(s->fd, id);
	tap_ok(good >= 0 && env_fd_contains(good, "content of a"), "an open file outlives its id");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), -EIO, "but a new one cannot have it");
	close(good);
}

static void conflicts(void)
{
	int id = srv_register(s, "a"), same = srv_register(s, "a"), other = srv_register(s, "b");
	int fd, fd2;

	srv_reply(s, "a", FOPEN_PASSTHROUGH, id);
	fd = srv_open(s, "a", O_RDONLY);
	tap_eq(try("a", O_RDWR, FOPEN_PASSTHROUGH, id), 0, "passthrough: another open with the same id");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, other), -EIO, "passthrough: another file");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, same), -EIO, "passthrough: the same file by another id");
	tap_eq(try("a", O_RDONLY, 0, 0), -EIO, "passthrough: cached");
	tap_eq(try("a", O_RDONLY, FOPEN_KEEP_CACHE, 0), -EIO, "passthrough: cached, keep");
	tap_eq(try("a", O_RDONLY, FOPEN_DIRECT_IO, 0), -EIO, "passthrough: direct");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, id), 0, "passthrough: passthrough and direct");
	tap_ok(env_fd_contains(fd, "content of a"), "after all this the first one still reads");
	fd2 = srv_open(s, "b", O_RDONLY);
	tap_ok(fd2 >= 0, "another inode is not concerned");
	close(fd2);
	close(fd);
	tap_eq(try("a", O_RDONLY, 0, 0), 0, "after the last close: cached");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, other), 0, "after the last close: another file");

	srv_reply(s, "a", 0, 0);
	fd = srv_open(s, "a", O_RDWR);
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), -EIO, "cached: passthrough");
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO, id), -EIO, "cached: passthrough and direct");
	tap_eq(try("a", O_RDONLY, FOPEN_DIRECT_IO, 0), 0, "cached: direct");
	tap_eq(try("a", O_RDONLY, 0, 0), 0, "cached: cached");
	close(fd);
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), 0, "after the last close: passthrough");

	/* A mapping holds a cached file */
	srv_reply(s, "a", 0, 0);
	fd = srv_open(s, "a", O_RDWR);
	void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	close(fd);
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), -EIO, "mapped cached file: passthrough");
	munmap(map, 4096);
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), 0, "unmapped: passthrough");

	/* A direct file does not count, so passthrough can come after it; then it cannot be mapped */
	srv_reply(s, "a", FOPEN_DIRECT_IO, 0);
	fd = srv_open(s, "a", O_RDWR);
	srv_reply(s, "a", FOPEN_PASSTHROUGH, id);
	fd2 = srv_open(s, "a", O_RDWR);
	tap_ok(fd2 >= 0, "direct: passthrough");
	map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	tap_ok(map == MAP_FAILED && errno == ENODEV, "a direct file is not mapped while there is passthrough");
	close(fd2);
	map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	tap_ok(map != MAP_FAILED && !memcmp(map, "content", 7), "but afterwards");
	if (map != MAP_FAILED)
		munmap(map, 4096);
	close(fd);

	srv_unregister(s->fd, id);
	srv_unregister(s->fd, same);
	srv_unregister(s->fd, other);
}

static void create(void)
{
	uint64_t releases = s->count[FUSE_RELEASE];
	int id = srv_register(s, "a"), fd;

	srv_reply(s, "new", FOPEN_PASSTHROUGH, id);
	fd = srv_open(s, "new", O_RDWR | O_CREAT | O_EXCL);
	tap_ok(fd >= 0 && s->count[FUSE_CREATE] == 1, "CREATE in passthrough mode");
	tap_ok(env_fd_contains(fd, "content of a"), "reads its backing file");
	close(fd);

	srv_reply(s, "bad", FOPEN_PASSTHROUGH, 0x7fffffff);
	tap_eq(srv_open(s, "bad", O_RDWR | O_CREAT), -EIO, "CREATE with a wrong id");
	tap_ok(srv_wait_count(s, FUSE_RELEASE, releases + 2), "and a RELEASE for it");
	tap_eq(try("bad", O_RDONLY, 0, 0), 0, "the file was created");
	srv_reply(s, "worse", FOPEN_PASSTHROUGH | FOPEN_KEEP_CACHE, id);
	tap_eq(srv_open(s, "worse", O_RDWR | O_CREAT | O_TRUNC), -EIO, "CREATE with wrong flags");
	tap_eq(try("worse", O_RDONLY, FOPEN_PASSTHROUGH, id), 0, "which opens afterwards");
	srv_unregister(s->fd, id);
}

/* The mount that the backing file was registered through is what it is opened through */
static void readonly_mount(void)
{
	int fd, id;

	mkdir("ro", 0755);
	if (mount("open", "ro", NULL, MS_BIND, NULL) || mount(NULL, "ro", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL)) {
		tap_skip("no bind mount", "a read-only mount");
		return;
	}
	fd = open("ro/a", O_RDONLY | O_CLOEXEC);
	id = srv_register_fd(s->fd, fd);
	close(fd);
	tap_eq(try("a", O_RDONLY, FOPEN_PASSTHROUGH, id), 0, "of a read-only mount: O_RDONLY");
	tap_eq(try("a", O_RDWR, FOPEN_PASSTHROUGH, id), -EIO, "of a read-only mount: O_RDWR");
	tap_eq(try("a", O_WRONLY, FOPEN_PASSTHROUGH, id), -EIO, "of a read-only mount: O_WRONLY");
	srv_unregister(s->fd, id);
	tap_eq(umount2("ro", 0) ? -errno : 0, 0, "nothing holds the mount when the id is closed");
}

int main(void)
{
	env_init(true);
	s = srv_new("open", "open-mnt");
	env_write("content of a", "open/a");
	env_write("content of b", "open/b");
	if (srv_start(s))
		tap_bail("mount");

	setup();
	conflicts();
	create();
	readonly_mount();

	srv_stop(s);
	return tap_done();
}
