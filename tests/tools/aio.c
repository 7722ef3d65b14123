// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * aio: asynchronous reads and writes of a file (io_submit(2)), many at once, and every block is what was written last.
 *
 *   aio [-d] FILE BLOCKS REQUESTS DEPTH
 *
 * -d: with O_DIRECT. Blocks have 4 KiB. At the end all is read again, with read(2) through the page cache by another
 * descriptor and through the one that was used. What lies in FILE before is taken as it is. Exit status 1 and a line on
 * stderr: something was not what it shall be; 77: the kernel or the filesystem has no such I/O.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096
#define DEPTH_MAX 128

struct request {
	struct iocb cb;
	char *buf;
	unsigned int block;
	bool used, write;
};

static int fd;
static unsigned int blocks;
static uint64_t *stamps;	/* of each block: what all its words are */
static bool *busy;
static struct request requests[DEPTH_MAX];

static void die(const char *what, int err)
{
	fprintf(stderr, "aio: %s%s%s\n", what, err ? ": " : "", err ? strerror(err) : "");
	exit(1);
}

static void check(const char *buf, unsigned int block, const char *how)
{
	for (unsigned int i = 0; i < BLOCK / sizeof(uint64_t); i++) {
		uint64_t word;

		memcpy(&word, buf + i * sizeof(word), sizeof(word));
		if (word == stamps[block])
			continue;
		fprintf(stderr, "aio: block %u, word %u, by %s: %llx instead of %llx\n", block, i, how,
			(unsigned long long)word, (unsigned long long)stamps[block]);
		exit(1);
	}
}

static void submit(aio_context_t ctx, struct request *r)
{
	struct iocb *list[1] = { &r->cb };

	do {
		r->block = (unsigned int)random() % blocks;
	} while (busy[r->block]);
	busy[r->block] = r->used = true;
	r->write = random() % 3 != 0;
	if (r->write) {
		uint64_t word = (uint64_t)r->block << 32 | (uint32_t)random();

		for (unsigned int i = 0; i < BLOCK / sizeof(word); i++)
			memcpy(r->buf + i * sizeof(word), &word, sizeof(word));
		stamps[r->block] = word;
	} else {
		memset(r->buf, 0xee, BLOCK);
	}
	r->cb = (struct iocb){
		.aio_data = (uintptr_t)r, .aio_lio_opcode = r->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)r->buf, .aio_nbytes = BLOCK,
		.aio_offset = (int64_t)r->block * BLOCK,
	};
	if (syscall(SYS_io_submit, ctx, 1, list) != 1)
		die("io_submit", errno);
}

static unsigned int reap(aio_context_t ctx)
{
	struct io_event events[DEPTH_MAX];
	long n;

	do {
		n = syscall(SYS_io_getevents, ctx, 1, DEPTH_MAX, events, NULL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		die("io_getevents", errno);
	for (long i = 0; i < n; i++) {
		struct request *r = (struct request *)(uintptr_t)events[i].data;

		if (events[i].res != BLOCK)
			die(r->write ? "a write" : "a read", events[i].res < 0 ? (int)-events[i].res : 0);
		if (!r->write)
			check(r->buf, r->block, "an asynchronous read");
		busy[r->block] = r->used = false;
	}
	return (unsigned int)n;
}

static void read_all(int from, char *buf, bool learn, const char *how)
{
	for (unsigned int i = 0; i < blocks; i++) {
		ssize_t n = pread(from, buf, BLOCK, (off_t)i * BLOCK);

		if (n != BLOCK)
			die(how, n < 0 ? errno : 0);
		if (learn)
			memcpy(&stamps[i], buf, sizeof(stamps[i]));
		check(buf, i, how);
	}
}

int main(int argc, char **argv)
{
	bool direct = argc > 1 && !strcmp(argv[1], "-d");
	unsigned int total, depth, sent = 0, done = 0;
	aio_context_t ctx = 0;
	const char *path;
	char *buf;
	int cached;

	if (argc != 5 + direct)
		die("usage: aio [-d] FILE BLOCKS REQUESTS DEPTH", 0);
	path = argv[1 + direct];
	blocks = (unsigned int)strtoul(argv[2 + direct], NULL, 10);
	total = (unsigned int)strtoul(argv[3 + direct], NULL, 10);
	depth = (unsigned int)strtoul(argv[4 + direct], NULL, 10);
	if (!depth || depth > DEPTH_MAX || blocks <= depth)
		die("a DEPTH from 1 to 128, and more BLOCKS than that", 0);
	stamps = calloc(blocks, sizeof(*stamps));
	busy = calloc(blocks, sizeof(*busy));
	if (!stamps || !busy || posix_memalign((void **)&buf, BLOCK, BLOCK))
		die("out of memory", 0);
	for (unsigned int i = 0; i < depth; i++)
		if (posix_memalign((void **)&requests[i].buf, BLOCK, BLOCK))
			die("out of memory", 0);
	/* Open before there is anything new: its pages must not stay what they are. */
	cached = open(path, O_RDONLY | O_CREAT, 0600);
	fd = open(path, O_RDWR | (direct ? O_DIRECT : 0));
	if (fd < 0 && errno == EINVAL)
		return 77;
	if (cached < 0 || fd < 0)
		die(path, errno);
	if (ftruncate(fd, (off_t)blocks * BLOCK))
		die("ftruncate", errno);
	read_all(cached, buf, true, "read(2), before");
	if (syscall(SYS_io_setup, DEPTH_MAX, &ctx))
		return errno == ENOSYS ? 77 : (die("io_setup", errno), 1);
	srandom(4711);
	while (done < total) {
		for (unsigned int i = 0; i < depth && sent < total; i++)
			if (!requests[i].used) {
				submit(ctx, &requests[i]);
				sent++;
			}
		done += reap(ctx);
	}
	syscall(SYS_io_destroy, ctx);
	read_all(cached, buf, false, "read(2) of another descriptor");
	read_all(fd, buf, false, "read(2)");
	if (fsync(fd) || close(fd) || close(cached))
		die("close", errno);
	return 0;
}
