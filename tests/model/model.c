// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * model --generate [OPTIONS] PLAIN LAYER...   fill PLAIN and the layers (bottom first) with one tree
 * model [OPTIONS] UNION PLAIN                 apply one stream of operations to both and compare
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define HISTORY 20

static struct {
	unsigned long ops, check_every, remount_every;
	int seconds, scale;
	const char *remount, *log, *replay;
	bool generate, links, userxattr, forget_ino;
} opt = { .ops = 20000, .check_every = 500, .remount_every = 4000, .scale = 120, .links = true };

static struct model model;
static struct op history[HISTORY];
static unsigned long done;

void model_die(const char *what, const char *arg)
{
	fprintf(stderr, "model: %s %s: %s\n", what, arg, strerror(errno));
	exit(2);
}

uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

unsigned int rng_below(struct rng *r, unsigned int n)
{
	return n ? (rng_next(r) >> 32) % n : 0;
}

bool rng_chance(struct rng *r, unsigned int percent)
{
	return rng_below(r, 100) < percent;
}

uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;
	uint64_t w;

	for (; n >= 8; n -= 8, c += 8) {
		memcpy(&w, c, 8);
		h = (h ^ w) * 0x9fb21c651e98df25ULL;
		h ^= h >> 29;
	}
	for (; n; n--, c++)
		h = (h ^ *c) * 0x100000001b3ULL;
	return h ^ h >> 32;
}

void pattern(uint64_t seed, off_t off, unsigned char *buf, size_t n)
{
	struct rng r = { seed + off };

	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = rng_next(&r);

		memcpy(buf + i, &v, n - i < 8 ? n - i : 8);
	}
}

static void roots_open(void)
{
	for (int s = 0; s < 2; s++) {
		model.root[s] = -1;
		if (model.dir[s])
			model.root[s] = open(model.dir[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (model.dir[s] && model.root[s] < 0)
			model_die("cannot open", model.dir[s]);
	}
}

/* What can the caller do? Asked of the plain directory, so that a union that cannot is found out. */
static void probe(void)
{
	struct features *f = &model.feat;
	int root = model.root[PLAIN], fd;
	const char *name = ".model-probe";

	unlinkat(root, name, 0);
	fd = openat(root, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		model_die("cannot create in", model.dir[PLAIN]);
	f->chown = !f->off[OP_chown] && !fchown(fd, 1234, 1234);
	f->trusted = !fsetxattr(fd, "trusted.t", "x", 1, 0);
	f->users = f->chown && geteuid() == 0;
	close(fd);
	unlinkat(root, name, 0);
	f->devices = !f->off[OP_device] && !mknodat(root, name, S_IFCHR | 0600, makedev(1, 3));
	unlinkat(root, name, 0);
	fd = openat(root, name, O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	f->direct = f->direct && fd >= 0;
	if (fd >= 0)
		close(fd);
	unlinkat(root, name, 0);
	f->off[OP_chown] = f->off[OP_fchown] = !f->chown;
	f->off[OP_device] = !f->devices;
	if (f->users && setgroups(0, NULL))
		f->users = false;
}

static void report(const char *what)
{
	unsigned long n = done + 1 < HISTORY ? done + 1 : HISTORY;

	fprintf(stderr, "model: %s: seed %llu, operation %lu; the last %lu operations:\n", what,
		(unsigned long long)model.seed, done, n);
	for (unsigned long i = done + 1 - n; i <= done; i++) {
		fprintf(stderr, "  %lu ", i);
		op_print(stderr, &history[i % HISTORY]);
	}
}

static int check(bool keep_ino)
{
	if (!tree_compare(&model, keep_ino))
		return 0;
	report("the trees differ (above)");
	return 1;
}

static int remount(void)
{
	slots_close(&model);
	close(model.root[UNION]);
	close(model.root[PLAIN]);
	fflush(NULL);
	if (system(opt.remount)) {
		report("the remount command failed");
		return 1;
	}
	roots_open();
	return check(!opt.forget_ino);
}

static int one(const struct op *op)
{
	static char out[2][MODEL_OUT], text[MODEL_OUT];
	struct stat st;

	for (int s = 0; s < 2; s++)
		op_run(&model, s, op, out[s]);
	if (!strcmp(out[0], out[1]))
		return 0;
	fprintf(stderr, "model: results differ:\n  union: %s\n  plain: %s\n", out[0], out[1]);
	for (int s = 0; s < 2; s++) {
		int base = op->dslot < 0 ? model.root[s] : model.slots[op->dslot].fd[s];

		if (!op->path[0] || fstatat(base, op->path, &st, AT_SYMLINK_NOFOLLOW))
			snprintf(text, sizeof(text), "%s", strerror(errno));
		else
			stat_text(&model, &st, text, sizeof(text));
		fprintf(stderr, "  %s has there now: %s\n", s ? "plain" : "union", text);
	}
	report("an operation's results differ (above)");
	return 1;
}

/* A replayed line may name slots that earlier, left out lines would have filled. */
static bool runnable(const struct op *op)
{
	if (op->slot < 0 || op->slot >= MODEL_SLOTS || op->slot2 < 0 || op->slot2 >= MODEL_SLOTS ||
	    op->dslot >= MODEL_SLOTS)
		return false;
	if (op->dslot >= 0 && (model.slots[op->dslot].fd[0] < 0 || !model.slots[op->dslot].dir))
		return false;
	if (op->kind >= OP_close && op->kind <= OP_linkfd && op->kind != OP_truncate && model.slots[op->slot].fd[0] < 0)
		return false;
	return op->kind != OP_copyrange || model.slots[op->slot2].fd[0] >= 0;
}

static int replay(void)
{
	FILE *f = fopen(opt.replay, "re");
	static char line[MODEL_PATH * 8];
	int ret = check(false);

	if (!f)
		model_die("cannot read", opt.replay);
	while (!ret && fgets(line, sizeof(line), f)) {
		struct op *op = &history[done % HISTORY];

		if (!strncmp(line, "remount", 7)) {
			ret = opt.remount ? remount() : 0;
			continue;
		}
		if (!strncmp(line, "check", 5)) {
			ret = check(true);
			continue;
		}
		if (op_parse(line, op) || !runnable(op))
			continue;
		ret = one(op);
		done += !ret;
	}
	fclose(f);
	if (!ret)
		ret = check(true);
	if (!ret && opt.remount)
		ret = remount();
	return ret;
}

static int run(void)
{
	struct rng r = { model.seed };
	FILE *log = opt.log ? fopen(opt.log, "we") : NULL;
	time_t end = time(NULL) + opt.seconds;
	int ret = check(false);

	for (done = 0; !ret && (opt.seconds ? time(NULL) < end : done < opt.ops); done++) {
		struct op *op = &history[done % HISTORY];

		if (done % 40 == 0)
			tree_scan(&model);
		op_pick(&model, &r, op);
		if (log)
			op_print(log, op);
		ret = one(op);
		if (!ret && done % opt.check_every == opt.check_every - 1) {
			if (log)
				fputs("check\n", log);
			ret = check(true);
		}
		if (!ret && opt.remount && done % opt.remount_every == opt.remount_every - 1) {
			if (log)
				fputs("remount\n", log);
			ret = remount();
		}
		if (ret)
			break;
	}
	if (log)
		fclose(log);
	if (!ret)
		ret = check(true);
	if (!ret && opt.remount)
		ret = remount();
	return ret;
}

static void start_alike(void)
{
	struct timespec ts[2] = { { 1000000000, 0 }, { 1000000000, 123456789 } };

	for (int s = 0; s < 2; s++) {
		if (fchmod(model.root[s], 0777) || futimens(model.root[s], ts))
			model_die("cannot prepare", model.dir[s]);
	}
}

static void without(char *list)
{
	for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
		int i;

		for (i = 0; i < OP_COUNT && strcmp(p, op_names[i]); i++)
			;
		if (i == OP_COUNT)
			model_die("--without: no such operation:", p);
		model.feat.off[i] = true;
	}
}

enum { O_SEED = 256, O_OPS, O_SECONDS, O_CHECK, O_REMOUNT, O_REMOUNT_EVERY, O_WITHOUT, O_LOG, O_REPLAY, O_SCALE };

static void options(int argc, char **argv)
{
	struct features *f = &model.feat;
	int no_stale = 0, no_ino = 0, no_nlink = 0, no_dino = 0, no_direct = 0, no_mapped = 0, ovl = 0, gen = 0;
	int no_links = 0, no_holes = 0, strips = 0, sgid = 0, cached = 0, userxattr = 0, forget = 0, c;
	const struct option longs[] = {
		{ "seed", 1, NULL, O_SEED }, { "ops", 1, NULL, O_OPS }, { "seconds", 1, NULL, O_SECONDS },
		{ "check-every", 1, NULL, O_CHECK }, { "remount", 1, NULL, O_REMOUNT },
		{ "remount-every", 1, NULL, O_REMOUNT_EVERY }, { "without", 1, NULL, O_WITHOUT },
		{ "log", 1, NULL, O_LOG }, { "replay", 1, NULL, O_REPLAY }, { "scale", 1, NULL, O_SCALE },
		{ "no-stale-readers", 0, &no_stale, 1 }, { "no-ino", 0, &no_ino, 1 },
		{ "no-nlink", 0, &no_nlink, 1 }, { "no-dino", 0, &no_dino, 1 }, { "no-direct", 0, &no_direct, 1 },
		{ "no-mapped", 0, &no_mapped, 1 }, { "overlay-xattrs", 0, &ovl, 1 }, { "generate", 0, &gen, 1 },
		{ "no-links", 0, &no_links, 1 }, { "userxattr", 0, &userxattr, 1 },
		{ "no-holes", 0, &no_holes, 1 }, { "root-strips", 0, &strips, 1 }, { "sgid-lax", 0, &sgid, 1 },
		{ "cached", 0, &cached, 1 },
		{ "forget-ino", 0, &forget, 1 }, { 0 },
	};

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 0: break;
		case O_SEED: model.seed = strtoull(optarg, NULL, 0); break;
		case O_OPS: opt.ops = strtoul(optarg, NULL, 0); break;
		case O_SECONDS: opt.seconds = atoi(optarg); break;
		case O_CHECK: opt.check_every = strtoul(optarg, NULL, 0); break;
		case O_REMOUNT: opt.remount = optarg; break;
		case O_REMOUNT_EVERY: opt.remount_every = strtoul(optarg, NULL, 0); break;
		case O_WITHOUT: without(optarg); break;
		case O_LOG: opt.log = optarg; break;
		case O_REPLAY: opt.replay = optarg; break;
		case O_SCALE: opt.scale = atoi(optarg); break;
		default: exit(2);
		}
	}
	f->stale_readers = !no_stale;
	f->ino = !no_ino;
	f->nlink = !no_nlink;
	f->dino = !no_dino;
	f->direct = !no_direct;
	f->mapped = !no_mapped;
	f->holes = !no_holes;
	f->root_strips = strips;
	f->sgid_lax = sgid;
	f->cached = cached;
	f->ovlxattr = ovl;
	opt.generate = gen;
	opt.links = !no_links;
	opt.userxattr = userxattr;
	opt.forget_ino = forget;
}

int main(int argc, char **argv)
{
	int ret;

	model.start = time(NULL);
	for (int i = 0; i < MODEL_SLOTS; i++)
		model.slots[i].fd[0] = model.slots[i].fd[1] = -1;
	options(argc, argv);
	umask(022);
	argc -= optind;
	argv += optind;
	if (opt.generate ? argc < 2 : argc != 2) {
		fprintf(stderr, "usage: model [OPTIONS] UNION PLAIN | model --generate [OPTIONS] PLAIN LAYER...\n");
		return 2;
	}
	model.dir[UNION] = opt.generate ? NULL : argv[0];
	model.dir[PLAIN] = argv[opt.generate ? 0 : 1];
	roots_open();
	probe();
	if (opt.generate)
		return generate(&model, argc - 1, argv + 1, opt.scale, opt.links, opt.userxattr);
	start_alike();
	ret = opt.replay ? replay() : run();
	slots_close(&model);
	printf("model: seed %llu, %lu operations, %s\n", (unsigned long long)model.seed, done, ret ? "FAILED" : "ok");
	return ret;
}
