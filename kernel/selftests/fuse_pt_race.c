// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once, to be run with lockdep, KASAN and kmemleak on: opens in both modes, registrations, closes, io,
 * mappings, splice, and the death of the server under it. Single calls may fail; what must not: wrong data, a hang, a
 * warning in the kernel's log.
 */
#include "abi.h"
#include "env.h"
#include "server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NFILES 4
#define NTHREADS 4
#define SIZE 65536

static struct srv *s;
static volatile int stop;
static int rounds = 300;
static int wrong, opened, refused;

/* Which file a byte is of shows in it */
static char byte_of(int i)
{
	return (char)('a' + i);
}

static void fill(const char *dir, int i)
{
	char data[SIZE + 1];

	memset(data, byte_of(i), SIZE);
	data[SIZE] = 0;
	env_write(data, "%s/f%d", dir, i);
}

static bool all_of(const char *data, ssize_t n, int i)
{
	for (ssize_t k = 0; k < n; k++)
		if (data[k] != byte_of(i))
			return false;
	return true;
}

static void use(int fd, int i, unsigned int *seed)
{
	char buf[4096];
	off_t off = rand_r(seed) % (SIZE - 4096);
	loff_t loff = off;
	ssize_t n;
	int p[2];
	char *map;

	switch (rand_r(seed) % 5) {
	case 0:
		memset(buf, byte_of(i), sizeof(buf));
		n = pwrite(fd, buf, sizeof(buf), off);
		break;
	case 1:
		map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED) {
			map[off] = byte_of(i);
			if (!all_of(map + off, 4096, i))
				__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
			munmap(map, SIZE);
		}
		break;
	case 2:
		if (pipe(p))
			break;
		memset(buf, byte_of(i), sizeof(buf));
		n = write(p[1], buf, 4096);
		n = splice(p[0], NULL, fd, &loff, 4096, 0);
		loff = off;
		n = splice(fd, &loff, p[1], NULL, 4096, SPLICE_F_NONBLOCK);
		if (n > 0 && (n = read(p[0], buf, 4096)) > 0 && !all_of(buf, n, i))
			__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
		close(p[0]);
		close(p[1]);
		break;
	default:
		n = pread(fd, buf, sizeof(buf), off);
		if (n > 0 && !all_of(buf, n, i))
			__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
	}
}

/* Open, use, close; one file or another */
static void *user(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	int i, fd, n;

	for (n = 0; n < rounds && !stop; n++) {
		char name[8];

		i = rand_r(&seed) % NFILES;
		snprintf(name, sizeof(name), "f%d", i);
		fd = srv_open(s, name, O_RDWR);
		if (fd < 0) {
			__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
			continue;
		}
		__atomic_add_fetch(&opened, 1, __ATOMIC_RELAXED);
		use(fd, i, &seed);
		use(fd, i, &seed);
		close(fd);
	}
	return NULL;
}

/* Give each file another id, or no passthrough, all the time; ids are closed under the feet of opens */
static void *changer(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	int id[NFILES] = { 0 }, i;

	while (!stop) {
		char name[8];

		i = rand_r(&seed) % NFILES;
		snprintf(name, sizeof(name), "f%d", i);
		if (id[i] > 0)
			srv_unregister(s->fd, id[i]);
		id[i] = srv_register(s, name);
		if (rand_r(&seed) % 4)
			srv_reply(s, name, FOPEN_PASSTHROUGH, id[i]);
		else
			srv_reply(s, name, rand_r(&seed) % 2 ? 0 : FOPEN_DIRECT_IO, 0);
		usleep(200);
	}
	return NULL;
}

static void run_users(void *(*other)(void *))
{
	pthread_t t[NTHREADS + 1];
	int i;

	stop = 0;
	for (i = 0; i < NTHREADS; i++)
		if (pthread_create(&t[i], NULL, user, (void *)(uintptr_t)(i + 1)))
			tap_bail("pthread_create");
	if (other && pthread_create(&t[i], NULL, other, (void *)99))
		tap_bail("pthread_create");
	for (i = 0; i < NTHREADS; i++)
		pthread_join(t[i], NULL);
	stop = 1;
	if (other)
		pthread_join(t[i], NULL);
}

static void start(const char *dir, const char *mnt)
{
	int i;

	s = srv_new(dir, mnt);
	for (i = 0; i < NFILES; i++)
		fill(dir, i);
	if (srv_start(s))
		tap_bail("mount");
	for (i = 0; i < NFILES; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%d", i);
		srv_passthrough(s, name);
	}
}

static void check_files(const char *dir)
{
	char path[64], *buf = malloc(2 * SIZE);
	bool good = true;
	ssize_t n;
	int i, fd;

	for (i = 0; i < NFILES; i++) {
		snprintf(path, sizeof(path), "%s/f%d", dir, i);
		fd = open(path, O_RDONLY);
		n = read(fd, buf, 2 * SIZE);
		good &= n == SIZE && all_of(buf, n, i);
		close(fd);
	}
	free(buf);
	tap_ok(good, "%s: the files are what they were", dir);
}

static void *killer(void *arg)
{
	(void)arg;
	usleep(20000);
	kill(s->pid, SIGKILL);
	close(s->fd);
	return NULL;
}

int main(int argc, char **argv)
{
	long before, after;

	if (argc > 1)
		rounds = atoi(argv[1]);
	env_init(true);

	start("calm", "calm-mnt");
	run_users(NULL);
	tap_eq(wrong, 0, "ids stay: no wrong data");
	tap_eq(refused, 0, "ids stay: no open was refused");
	srv_stop(s);
	check_files("calm");

	wrong = opened = refused = 0;
	start("change", "change-mnt");
	run_users(changer);
	tap_eq(wrong, 0, "ids change: no wrong data");
	tap_ok(opened > 0, "ids change: some opens went well");
	srv_stop(s);
	check_files("change");

	wrong = 0;
	start("death", "death-mnt");
	before = s->count[FUSE_OPEN];
	run_users(killer);
	after = s->count[FUSE_OPEN];
	tap_eq(wrong, 0, "the server dies: no wrong data");
	tap_ok(after >= before, "the server dies: nothing hangs");
	env_wait(s->pid);
	s->pid = 0;
	s->fd = -1;
	umount2("death-mnt", MNT_DETACH);
	srv_stop(s);
	check_files("death");

	return tap_done();
}
