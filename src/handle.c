// SPDX-License-Identifier: GPL-2.0-or-later
#include "handle.h"
#include <errno.h>

int ply_handle_new(struct ply_fs *fs, struct ply_node *n, int fd, uint16_t layer, int flags, struct ply_handle **out)
{
	/* Not calloc: before glibc 2.41 that takes no block from what the thread has freed. */
	struct ply_handle *h = malloc(sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct ply_handle){
		.node = ply_node_ref(fs->graph, n), .lock = PTHREAD_MUTEX_INITIALIZER, .fd = fd, .old_fd = -1, .shared_fd = -1,
		.layer = layer, .writable = (flags & O_ACCMODE) != O_RDONLY, .flags = flags,
	};
	ply_list_init(&h->link);
	*out = h;
	return 0;
}

void ply_handle_close(struct ply_handle *h)
{
	if (h->fd >= 0)
		close(h->fd);
	if (h->old_fd >= 0)
		close(h->old_fd);
	h->fd = h->old_fd = -1;
}

void ply_handle_free(struct ply_fs *fs, struct ply_handle *h)
{
	if (!h)
		return;
	ply_handle_close(h);
	ply_node_put(fs->graph, h->node);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

uint16_t ply_handle_data_layer(struct ply_fs *fs, struct ply_node *n)
{
	uint16_t layer = atomic_load(&n->layer);

	/* A copy-up says that it is one of metadata alone before it says that the file is in upper. */
	if (!(atomic_load(&n->flags) & PLY_N_METACOPY))
		return layer;
	ply_node_lock(fs->graph, n);
	layer = (n->flags & PLY_N_METACOPY) && n->data ? n->data->layer : n->layer;
	ply_node_unlock(fs->graph, n);
	return layer;
}

int ply_handle_open_data(struct ply_fs *fs, struct ply_node *n, int flags, int *fd, uint16_t *layer)
{
	ply_autoloc loc = PLY_LOC_INIT;
	int err, got;

	PLY_RDLOCK(tree, &fs->tree);
	err = ply_node_locate_data(fs->graph, n, &loc);
	if (err)
		return err;
	got = ply_sys_open(loc.at, flags, 0);
	if (got < 0)
		return got;
	*fd = got;
	*layer = loc.layer->index;
	return 0;
}

/* Opens the file where it is now and makes that the handle's fd, unless another thread was faster. */
static int handle_reopen(struct ply_fs *fs, struct ply_handle *h, int *out)
{
	ply_autonode(cur, fs, ply_node_current(fs->graph, h->node));
	int flags = h->writable ? O_RDWR : O_RDONLY;
	ply_autofd fd = -1;
	uint16_t layer;
	int err;

	err = ply_handle_open_data(fs, cur.n, flags, &fd, &layer);
	if (err == -EACCES && h->writable)
		err = ply_handle_open_data(fs, cur.n, h->flags & O_ACCMODE, &fd, &layer);
	if (err)
		return err;
	PLY_MUTEX(m, &h->lock);
	if (h->fd < 0) {
		h->fd = ply_take_fd(&fd);
		h->layer = layer;
	} else if (h->layer != layer && h->old_fd < 0) {
		h->old_fd = h->fd;
		h->fd = ply_take_fd(&fd);
		h->layer = layer;
	}
	*out = h->fd;
	return 0;
}

int ply_handle_fd(struct ply_fs *fs, struct ply_handle *h, int *fd)
{
	int have;

	if (h->shared_fd >= 0) {
		*fd = h->shared_fd;
		return 0;
	}
	have = h->fd;
	if (have < 0)
		return handle_reopen(fs, h, fd);
	/* Data never leaves the upper layer, and a passthrough handle is bound to its file. */
	if (h->passthrough || h->layer == PLY_LAYER_UPPER) {
		*fd = have;
		return 0;
	}
	{
		ply_autonode(cur, fs, ply_node_current(fs->graph, h->node));

		if (ply_handle_data_layer(fs, cur.n) == h->layer) {
			*fd = have;
			return 0;
		}
	}
	return handle_reopen(fs, h, fd);
}
