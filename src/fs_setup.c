// SPDX-License-Identifier: GPL-2.0-or-later
#include "creds.h"
#include "dircache.h"
#include "fs.h"
#include "log.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/resource.h>

/* Descriptors for everything but directories: layer roots come on top. */
#define FS_SPARE_FDS 256
#define FS_MIN_DIRFDS 64
#define FS_MAX_DIRFDS 16384
/* Descriptors for which there is room from the start: 32 KiB of the kernel's memory. */
#define FS_ROOM_FDS 4096

/*
 * How many directories may stay open: about half of what is left beside the
 * layers. Open files take theirs from the other half, and when it runs out the cache shrinks.
 */
static unsigned int fs_max_dirfds(const struct ply_layers *ls)
{
	uint64_t reserved = FS_SPARE_FDS + 2 * (uint64_t)ls->n, fds;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		lim.rlim_cur = 1024;
	if (lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur > UINT32_MAX)
		lim.rlim_cur = UINT32_MAX;
	fds = lim.rlim_cur > reserved ? (lim.rlim_cur - reserved) / 2 : 0;
	fds = ply_max(fds, (uint64_t)FS_MIN_DIRFDS);
	return (unsigned int)ply_min(fds, (uint64_t)FS_MAX_DIRFDS);
}

/*
 * Every lower's root contributes, whatever marks an upper root carries (as in the
 * kernel), except below a root that AUFS's opaque file closes: image layers mean that.
 */
static int fs_make_root(struct ply_fs *fs)
{
	struct ply_layers *ls = &fs->layers;
	unsigned int n = 0;
	ply_autofree struct ply_ldir *lower = calloc(ls->n, sizeof(*lower));
	int r = 0;

	if (!lower)
		return -ENOMEM;
	for (unsigned int i = 1; i < ls->first_data && !r; i++) {
		struct ply_layer *l = &ls->layer[i];
		struct stat st;
		int opaque = ply_layer_opaque(l, PLY_FD(l->fd));

		if (opaque < 0)
			r = opaque;
		lower[n].layer = (uint16_t)i;
		lower[n].xwhite = opaque == 'x';
		lower[n].path = calloc(1, 1);
		if (!lower[n++].path)
			r = -ENOMEM;
		if (!r && !ply_sys_stat(PLY_AT(l->fd, PLY_AUFS_OPAQUE), &st))
			break;
	}
	if (!r)
		r = ply_node_new_root(fs->graph, lower, n, ls->upper != NULL, &fs->root);
	if (r)
		for (unsigned int i = 0; i < n; i++)
			free(lower[i].path);
	if (!r && ls->upper && ply_layer_opaque(ls->upper, PLY_FD(ls->upper->fd)) == 'x')
		ply_dir_upper(fs->root)->xwhite = 1;
	return r;
}

static int fs_make_graph(struct ply_fs *fs)
{
	int r = ply_graph_new(&fs->graph, &fs->layers, fs_max_dirfds(&fs->layers));

	if (r)
		return r;
	ply_sys_set_give_fds(ply_dirfd_give_back, fs->graph);
	if (fs->work.index)
		ply_graph_set_index_dir(fs->graph, fs->work.index_fd);
	r = ply_dircaches_new(fs, PLY_DIRCACHE_LIMIT);
	return r ? r : fs_make_root(fs);
}

int ply_fs_new(struct ply_fs **out, const struct ply_options *opt, char *err, size_t errlen)
{
	struct ply_fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	fs->opt = opt;
	fs->work.fd = fs->work.base_fd = fs->work.index_fd = fs->work.upper_lock_fd = fs->work.probe_fd = -1;
	fs->map_ids = !ply_idmap_is_identity(&opt->uids) || !ply_idmap_is_identity(&opt->gids);
	ply_rwlock_init(&fs->tree);
	ply_sys_set_lend(!ply_creds_has(CAP_DAC_OVERRIDE));
	ply_sys_reserve_fds(FS_ROOM_FDS);
	r = ply_layers_open(&fs->layers, opt, err, errlen);
	if (r) {
		pthread_rwlock_destroy(&fs->tree);
		free(fs);
		return r;
	}
	if (ply_fs_writable(fs)) {
		r = ply_workdir_open(&fs->work, &fs->layers, opt, err, errlen);
		if (r) {
			fs->work.ls = NULL;
			ply_fs_free(fs);
			return r;
		}
	} else if (fs->layers.upper) {
		ply_workdir_open_readonly(&fs->work, &fs->layers, opt);
	}
	ply_mountinfo_free(&fs->layers.mounts);
	ply_inum_init(&fs->inum, atomic_load(&fs->layers.nfs));
	r = fs_make_graph(fs);
	if (r) {
		snprintf(err, errlen, "cannot read the roots of the layers: %s", strerror(-r));
		ply_fs_free(fs);
		return r;
	}
	*out = fs;
	return 0;
}

void ply_fs_free(struct ply_fs *fs)
{
	if (!fs)
		return;
	ply_sys_set_give_fds(NULL, NULL);
	ply_graph_free(fs->graph);
	ply_dircaches_free(fs);
	if (fs->work.ls)
		ply_workdir_close(&fs->work);
	ply_layers_close(&fs->layers);
	pthread_rwlock_destroy(&fs->tree);
	free(fs);
}

void ply_noderef_release(struct ply_noderef *r)
{
	if (r->n)
		ply_node_put(r->fs->graph, r->n);
	r->n = NULL;
}
