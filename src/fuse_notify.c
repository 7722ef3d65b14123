// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_notify.h"
#include "fuse_guard.h"
#include "threads.h"
#include "util.h"
#include <errno.h>
#include <pthread.h>

struct notice {
	struct ply_list link;
	uint64_t parent;
	size_t len;
	char name[];
};

struct ply_notify {
	struct fuse_session *se;
	pthread_t thread;
	struct ply_guard guard;		/* the thread's, and when it has ended whoever joined it */
	pthread_mutex_t lock;		/* leaf */
	pthread_cond_t more;
	struct ply_list queue;
	bool running;			/* there is a thread: from the first notice on, which most mounts never see */
	bool stop;
};

static void *notify_work(void *arg)
{
	struct ply_notify *n = arg;

	ply_thread_go_anywhere();
	ply_guard_start(&n->guard, fuse_session_fd(n->se));
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct notice *t;

		if (ply_list_empty(&n->queue)) {
			pthread_cond_wait(&n->more, &n->lock);
			continue;
		}
		t = ply_container_of(n->queue.next, struct notice, link);
		ply_list_del(&t->link);
		pthread_mutex_unlock(&n->lock);
		/* -ENOENT: the kernel does not have it. */
		if (!t->len)
			fuse_lowlevel_notify_inval_inode(n->se, t->parent, -1, 0);
		else if (fuse_lowlevel_notify_expire_entry(n->se, t->parent, t->name, t->len) == -ENOSYS)
			fuse_lowlevel_notify_inval_entry(n->se, t->parent, t->name, t->len);
		free(t);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

int ply_notify_start(struct ply_notify **out, struct fuse_session *se)
{
	struct ply_notify *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->se = se;
	n->guard = (struct ply_guard)PLY_GUARD_INIT;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->more, NULL);
	ply_list_init(&n->queue);
	*out = n;
	return 0;
}

void ply_notify_stop(struct ply_notify *n)
{
	bool running;

	pthread_mutex_lock(&n->lock);
	n->stop = true;
	running = n->running;
	n->running = false;
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
	if (!running)
		return;
	pthread_join(n->thread, NULL);
	ply_guard_stop(&n->guard);
}

void ply_notify_free(struct ply_notify *n)
{
	if (!n)
		return;
	ply_notify_stop(n);
	while (!ply_list_empty(&n->queue)) {
		struct notice *t = ply_container_of(n->queue.next, struct notice, link);

		ply_list_del(&t->link);
		free(t);
	}
	pthread_cond_destroy(&n->more);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

void ply_notify_expire_entry(struct ply_notify *n, uint64_t parent, const char *name)
{
	size_t len = strlen(name);
	struct notice *t = malloc(sizeof(*t) + len + 1);

	/* Without memory the name stays as the kernel has it: an open finds out by ESTALE. */
	if (!t)
		return;
	t->parent = parent;
	t->len = len;
	memcpy(t->name, name, len + 1);
	pthread_mutex_lock(&n->lock);
	ply_list_add_tail(&n->queue, &t->link);
	/* When no thread can be made, the next notice tries again. */
	if (!n->running && !n->stop)
		n->running = !pthread_create(&n->thread, NULL, notify_work, n);
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
}
