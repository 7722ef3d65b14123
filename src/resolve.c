// SPDX-License-Identifier: GPL-2.0-or-later
#include "resolve.h"
#include "whiteout.h"

#include <errno.h>

#define RESOLVE_LIST_MAX 1024
#define RESOLVE_NAME_MAX 255
/* Redirects can be put together from several layers' pieces; no honest one comes near this. */
#define RESOLVE_PATH_MAX (1u << 20)
/* In as many layers a directory is opened to be read when it is looked for: names in it will be, and then they are listed. */
#define RESOLVE_MANY 16

/* The state of one lookup on its way down (kernel: struct ovl_lookup_data). */
struct walk {
	struct ply_fs *fs;
	struct ply_node *dir;
	struct ply_resolved *out;
	struct ply_buf path;		/* what is looked for: a name, or a path from the layers' roots */
	bool redirected;		/* path is not the union's name */
	bool absolute;			/* path starts at the roots: all layers are asked, not only dir's */
	bool absolute_seen;
	bool found;
	bool is_dir, stop;
	bool metacopy;			/* the last one found has no data of its own */
};

/* One name in one directory of one layer. */
struct step {
	const struct ply_layer *l;
	int fd;
	const char *name;
	bool xwhite, aufs;
	bool last;			/* the last component of the path */
	size_t prefix, rest;		/* in walk->path: where the component starts, and what follows it */
	struct stat st;			/* results */
	unsigned int marks;
	bool opened_xwhite;
	int opened;			/* the directory, open to be read; -1 */
};

void ply_resolved_free(struct ply_resolved *r)
{
	for (unsigned int i = 0; i < r->nlower; i++)
		free(r->lower[i].path);
	for (unsigned int i = 0; r->fd && i < r->nlower; i++)
		if (r->fd[i] >= 0)
			close(r->fd[i]);
	free(r->lower);
	free(r->fd);
	free(r->data);
	r->lower = NULL;
	r->fd = NULL;
	r->nlower = 0;
	r->data = NULL;
}

void ply_resolved_keep_fds(struct ply_fs *fs, struct ply_resolved *r, struct ply_node *n)
{
	for (unsigned int i = 0; r->fd && i < r->nlower; i++)
		if (r->fd[i] >= 0)
			ply_dirfd_keep(fs->graph, &n->dir->lower[i], ply_take_fd(&r->fd[i]), true);
	free(r->fd);
	r->fd = NULL;
}

static bool ends_with(const char *s, size_t len, const char *tail)
{
	size_t t = strlen(tail);

	return len >= t && !memcmp(s + len - t, tail, t);
}

/* opened: the object, open to be read, or -1. */
static int marks_of(const struct ply_layer *l, struct ply_at at, int opened, unsigned int *marks)
{
	static const struct { enum ply_ovl_attr attr; unsigned int mark; } known[] = {
		{ OVL_REDIRECT, PLY_MARK_REDIRECT }, { OVL_METACOPY, PLY_MARK_METACOPY },
		{ OVL_ORIGIN, PLY_MARK_ORIGIN }, { OVL_IMPURE, PLY_MARK_IMPURE },
	};
	char list[RESOLVE_LIST_MAX];
	ssize_t n;

	*marks = 0;
	if (!l->has_xattrs)
		return 0;
	n = opened >= 0 ? ply_sys_listxattr_fd(opened, list, sizeof(list)) : ply_sys_listxattr(at, list, sizeof(list));
	if (n == -ERANGE) {
		*marks = PLY_MARK_ALL;
		return 0;
	}
	/* In the user namespace of attributes, whoever may not read the object sees none. */
	if (n == -EOPNOTSUPP || n == -ENODATA || ((n == -EACCES || n == -EPERM) && l->xns == PLY_XNS_USER))
		return 0;
	if (n < 0)
		return (int)n;
	for (const char *p = list; p < list + n; p += strlen(p) + 1) {
		/* In several namespaces and spellings: layer.c decides which count. */
		if (ends_with(p, strlen(p), ".opaque"))
			*marks |= PLY_MARK_OPAQUE;
		if (!strcmp(p, "user.fuseoverlayfs.origin"))
			*marks |= PLY_MARK_FUSE_ORIGIN;
		for (size_t i = 0; i < PLY_ARRAY_SIZE(known); i++)
			if (!strcmp(p, ply_format_attr(l->xns, known[i].attr)))
				*marks |= known[i].mark;
	}
	return 0;
}

int ply_resolve_marks(const struct ply_layer *l, struct ply_at at, unsigned int *marks)
{
	return marks_of(l, at, -1, marks);
}

bool ply_resolve_xwhite(const struct ply_fs *fs, const struct ply_ldir *ld)
{
	return ld->xwhite || (ld->layer == PLY_LAYER_UPPER && !fs->layers.can.chardev_whiteout);
}

static int is_metacopy(const struct ply_layer *l, struct ply_at at)
{
	ply_autofree char *val = NULL;
	ssize_t len = ply_layer_getattr(l, at, OVL_METACOPY, &val);
	struct ply_metacopy m;

	if (len < 0)
		return len == -ENODATA ? 0 : (int)len;
	return ply_format_metacopy(val, (size_t)len, &m) ? -EIO : 1;
}

/* Puts a redirect of the step's component into the path (kernel: ovl_check_redirect). */
static int take_redirect(struct walk *w, const struct step *s, struct ply_at at)
{
	ply_autofree char *val = NULL;
	ssize_t len = ply_layer_getattr(s->l, at, OVL_REDIRECT, &val);
	ply_autobuf path = { 0 };
	bool absolute;
	int r;

	if (len < 0)
		return len == -ENODATA ? 0 : (int)len;
	r = ply_format_redirect(val, (size_t)len, &absolute);
	if (r)
		return r == -ENODATA ? 0 : -EIO;
	if (absolute) {
		/* An opaque directory on the way does not hide what a redirect below it names. */
		w->absolute_seen = true;
		w->stop = false;
	} else {
		r = ply_buf_add(&path, w->path.data, s->prefix);
	}
	if (!r)
		r = ply_buf_add(&path, val, (size_t)len);
	if (!r)
		r = ply_buf_addstr(&path, w->path.data + s->rest);
	if (r)
		return r;
	if (path.len > RESOLVE_PATH_MAX)
		return -EIO;
	ply_buf_free(&w->path);
	w->path = path;
	path = (struct ply_buf){ 0 };
	w->redirected = true;
	w->absolute |= absolute;
	return 0;
}

/* Nothing below this layer can say more about the name. */
static bool is_bottom(const struct walk *w, const struct step *s, bool dir)
{
	const struct ply_layers *ls = &w->fs->layers;

	return s->l->index + 1 >= (dir ? ls->first_data : ls->n);
}

/* AUFS's two ways to close a directory: .wh.NAME beside it, .wh..wh..opq inside. */
static int aufs_opaque(const struct step *s)
{
	char inside[RESOLVE_NAME_MAX + sizeof("/" PLY_AUFS_OPAQUE)];
	int r = s->aufs ? ply_whiteout_check(s->l, s->fd, false, s->name, NULL) : 0;
	struct stat st;

	if (r)
		return r;
	if (s->opened >= 0) {
		r = ply_sys_stat(PLY_AT(s->opened, PLY_AUFS_OPAQUE), &st);
		return r == -ENOENT ? 0 : r ? r : 1;
	}
	/* One call in place of three: there are layers by the hundred. */
	snprintf(inside, sizeof(inside), "%s/" PLY_AUFS_OPAQUE, s->name);
	ply_autofd fd = ply_sys_open_beneath(s->fd, inside, O_PATH);

	return fd == -ENOENT ? 0 : fd < 0 ? fd : 1;
}

static int step_dir(struct walk *w, struct step *s)
{
	struct ply_at at = PLY_AT(s->fd, s->name);
	int opaque = 0, r;

	if (s->last)
		w->is_dir = true;
	r = marks_of(s->l, at, s->opened, &s->marks);
	if (r)
		return r;
	if (s->marks & PLY_MARK_OPAQUE) {
		opaque = ply_layer_opaque(s->l, at);
		if (opaque < 0)
			return opaque;
		s->opened_xwhite = opaque == 'x';
	}
	if (is_bottom(w, s, true))
		return 1;
	if (opaque != 'y' && s->l->aufs) {
		r = aufs_opaque(s);
		if (r < 0)
			return r;
		if (r)
			opaque = 'y';
	}
	if (opaque == 'y') {
		w->stop = true;
		return 1;
	}
	if (s->marks & PLY_MARK_REDIRECT) {
		r = take_redirect(w, s, at);
		if (r)
			return r;
	}
	return 1;
}

/*
 * A file that has all its blocks is no metacopy: in the bottom layer, where a metacopy is an error in any
 * case, that spares asking for the attribute.
 */
static bool may_be_metacopy(const struct stat *st, bool bottom)
{
	return S_ISREG(st->st_mode) && st->st_size && (!bottom || st->st_blocks * 512 < st->st_size);
}

/*
 * A metacopy without a byte: the kernel makes one of an empty file, and a crash between the truncation of a
 * metacopy and the loss of its mark leaves one. There is nothing to fill in; but what is written would be
 * hidden by the mark at the next mount. Truncation itself may be taking it away right now.
 */
static int drop_empty_metacopy(const struct ply_fs *fs, struct ply_at at)
{
	int r = ply_fs_writable(fs) ? ply_sys_removexattr(at, ply_format_attr(fs->layers.xns, OVL_METACOPY)) : 0;

	/* An immutable file is not written to. */
	return r == -ENODATA || r == -EPERM ? 0 : r;
}

static int step_file(struct walk *w, struct step *s)
{
	struct ply_at at = PLY_AT(s->fd, s->name);
	bool bottom = is_bottom(w, s, false);
	int r;

	if (w->is_dir || !s->last) {
		w->stop = true;
		return 0;
	}
	if (s->l->is_upper || may_be_metacopy(&s->st, bottom)) {
		r = ply_resolve_marks(s->l, at, &s->marks);
		if (r)
			return r;
	}
	w->metacopy = false;
	w->stop = true;
	if (!(s->marks & PLY_MARK_METACOPY))
		return 1;
	if (!may_be_metacopy(&s->st, false)) {
		r = s->l->is_upper ? drop_empty_metacopy(w->fs, at) : 0;
		return r ? r : 1;
	}
	r = is_metacopy(s->l, at);
	if (r <= 0)
		return r < 0 ? r : 1;
	w->metacopy = true;
	w->stop = false;
	if (!bottom && (s->marks & PLY_MARK_REDIRECT)) {
		r = take_redirect(w, s, at);
		if (r)
			return r;
	}
	return 1;
}

static int step_absent(struct walk *w, const struct step *s)
{
	int r;

	if (!s->aufs || is_bottom(w, s, true))
		return 0;
	r = ply_whiteout_check(s->l, s->fd, false, s->name, NULL);
	if (r > 0)
		w->stop = true;
	return r < 0 ? r : 0;
}

/* 1 found, 0 not here (w->stop: nor below), -errno. */
static int step_look(struct walk *w, struct step *s)
{
	int r;

	s->marks = 0;
	s->opened_xwhite = false;
	if (strlen(s->name) > RESOLVE_NAME_MAX)
		return 0;
	r = ply_layer_stat(s->l, PLY_AT(s->fd, s->name), &s->st);
	if (r == -ENOENT || r == -ENAMETOOLONG || r == -ENOTDIR)
		return step_absent(w, s);
	if (r)
		return r;
	r = ply_whiteout_check(s->l, s->fd, s->xwhite, s->name, &s->st);
	if (r < 0)
		return r;
	/* Below a metacopy only a regular file will do. */
	if (r || (s->last && w->metacopy && !S_ISREG(s->st.st_mode))) {
		w->stop = true;
		return 0;
	}
	return S_ISDIR(s->st.st_mode) ? step_dir(w, s) : step_file(w, s);
}

/*
 * The same where a directory is expected, one of many that merge. All there is to ask, and to list, is asked of the open
 * one: its name is looked up once, not four times.
 */
static int step_look_merged(struct walk *w, struct step *s)
{
	ply_autofd fd = -1;
	int r;

	if (strlen(s->name) > RESOLVE_NAME_MAX)
		return 0;
	fd = ply_sys_open(PLY_AT(s->fd, s->name), O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return step_absent(w, s);
	/* Something else, or not for us to read. */
	if (fd < 0)
		return step_look(w, s);
	s->marks = 0;
	s->opened_xwhite = false;
	r = ply_layer_stat(s->l, PLY_FD(fd), &s->st);
	if (r)
		return r;
	s->opened = fd;
	r = step_dir(w, s);
	if (r > 0)
		(void)ply_take_fd(&fd);
	else
		s->opened = -1;
	return r;
}

/* Does the root of this layer hold xattr whiteouts? */
static bool root_xwhite(struct walk *w, unsigned int layer)
{
	struct ply_ldir *ld = ply_dir_layer(w->fs->root, layer);

	return ld && ply_resolve_xwhite(w->fs, ld);
}

/*
 * Looks an absolute path up in one layer, component by component. A redirect on the way
 * changes the path for the layers below; here the walk goes on with what follows
 * the component, which stays the same: it is counted from the end.
 */
static int look_absolute(struct walk *w, const struct ply_layer *l, struct step *s)
{
	size_t rem = w->path.len - 1;
	ply_autofd dir = -1;
	bool xwhite = root_xwhite(w, l->index);
	char name[RESOLVE_NAME_MAX + 1];

	for (;;) {
		size_t start = w->path.len - rem;
		size_t len = strcspn(w->path.data + start, "/");
		int next, r;

		if (len > RESOLVE_NAME_MAX)
			return 0;
		memcpy(name, w->path.data + start, len);
		name[len] = '\0';
		*s = (struct step){
			.l = l, .fd = dir >= 0 ? dir : l->fd, .name = name, .xwhite = xwhite, .aufs = l->aufs,
			.last = len == rem, .prefix = start, .rest = start + len, .opened = -1,
		};
		r = step_look(w, s);
		if (r <= 0 || s->last)
			return r;
		rem -= len + 1;
		xwhite = s->opened_xwhite;
		next = ply_sys_open(PLY_AT(s->fd, name), O_PATH | O_DIRECTORY, 0);
		if (next < 0)
			return next;
		if (dir >= 0)
			close(dir);
		dir = next;
	}
}

static bool may_open(const struct walk *w)
{
	return w->found && w->is_dir && w->dir->dir->nlower >= RESOLVE_MANY &&
	       w->out->nlower < ply_dirfd_room(w->fs->graph);
}

static int look_here(struct walk *w, const struct ply_layer *l, struct ply_ldir *ld, struct step *s)
{
	struct ply_graph *g = w->fs->graph;
	ply_autofree char *name = NULL;
	struct ply_dirfd *d;
	int r = ply_dirfd_get(g, w->dir, ld, &d);

	if (r)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	/* A redirect found here replaces w->path. */
	name = strdup(w->path.data);
	if (name) {
		*s = (struct step){
			.l = l, .fd = d->fd, .name = name, .xwhite = ply_resolve_xwhite(w->fs, ld),
			.aufs = l->aufs && atomic_load(&ld->aufs) != PLY_AUFS_NONE,
			.last = true, .prefix = 0, .rest = w->path.len, .opened = -1,
		};
		r = may_open(w) ? step_look_merged(w, s) : step_look(w, s);
	} else {
		r = -ENOMEM;
	}
	ply_dirfd_put(g, d);
	s->name = NULL;
	return r;
}

/* ---- what was found ---- */

/* Path from the layer's root of what is at `name` in ld. */
static int path_in_layer(struct walk *w, struct ply_ldir *ld, const char *name, struct ply_buf *out)
{
	int r = ply_dir_path(w->fs->graph, w->dir, ld, out);

	if (!r && out->len)
		r = ply_buf_addstr(out, "/");
	return r ? r : ply_buf_addstr(out, name);
}

static int dataref_new(unsigned int layer, const char *path, struct ply_dataref **out)
{
	size_t len = strlen(path) + 1;
	struct ply_dataref *d = malloc(sizeof(*d) + len);

	if (!d)
		return -ENOMEM;
	d->blocks = 0;
	d->layer = (uint16_t)layer;
	memcpy(d->path, path, len);
	*out = d;
	return 0;
}

int ply_resolve_dataref(struct ply_fs *fs, struct ply_node *dir, struct ply_ldir *ld, const char *name,
			struct ply_dataref **out)
{
	struct walk w = { .fs = fs, .dir = dir };
	ply_autobuf path = { 0 };
	int r = path_in_layer(&w, ld, name, &path);

	return r ? r : dataref_new(ld->layer, path.data, out);
}

/* Of the first ones none is open. */
static int add_fds(struct ply_resolved *out, size_t room)
{
	int *more = realloc(out->fd, room * sizeof(*more));

	if (!more)
		return -ENOMEM;
	for (unsigned int i = 0; !out->fd && i < out->nlower; i++)
		more[i] = -1;
	out->fd = more;
	return 0;
}

static int add_lower(struct walk *w, unsigned int layer, struct step *s, char *path)
{
	struct ply_resolved *out = w->out;
	/* Doubling: 1, 2, 4, 8 ... */
	bool full = !(out->nlower & (out->nlower - 1));
	size_t room = 1;

	while (room <= out->nlower)
		room *= 2;
	if (full) {
		struct ply_ldir *more = realloc(out->lower, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		out->lower = more;
	}
	if ((full && out->fd) || (!out->fd && s->opened >= 0)) {
		int r = add_fds(out, room);

		if (r)
			return r;
	}
	if (out->fd)
		out->fd[out->nlower] = ply_take_fd(&s->opened);
	if (!out->nlower)
		out->lower_st = s->st;
	out->lower[out->nlower++] = (struct ply_ldir){
		.layer = (uint16_t)layer, .xwhite = s->opened_xwhite, .path = path,
	};
	return 0;
}

/* ld NULL: it was looked for from the root, at `path` ("/a/b"); else at `path` in ld. */
static int take_lower(struct walk *w, struct step *s, struct ply_ldir *ld, const char *path, bool redirected)
{
	struct ply_resolved *out = w->out;
	ply_autobuf full = { 0 };
	bool top = !w->found;
	int r = 0;

	if (top) {
		w->found = true;
		out->layer = s->l->index;
		out->st = s->st;
		out->marks = s->marks;
	}
	/* A directory under its own name below its parent's needs no path; nor does a file that is all there is. */
	if (w->is_dir ? ld && !redirected : top || w->metacopy)
		return w->is_dir ? add_lower(w, s->l->index, s, NULL) : 0;
	r = ld ? path_in_layer(w, ld, path, &full) : ply_buf_addstr(&full, path + 1);
	if (r)
		return r;
	if (!w->is_dir)
		return dataref_new(s->l->index, full.data, &out->data);
	r = add_lower(w, s->l->index, s, full.data);
	if (!r)
		full.data = NULL;
	return r;
}

static int look_upper(struct walk *w)
{
	struct ply_ldir *ld = ply_dir_upper(w->dir);
	struct step s;
	int r;

	if (!ld)
		return 0;
	r = look_here(w, w->fs->layers.upper, ld, &s);
	if (r <= 0) {
		w->out->wasted++;
		return r;
	}
	w->found = true;
	w->out->layer = PLY_LAYER_UPPER;
	w->out->st = s.st;
	w->out->marks = s.marks;
	w->out->xwhite = s.opened_xwhite;
	return 0;
}

static int look_lower(struct walk *w, const struct ply_layer *l, struct ply_ldir *ld)
{
	ply_autofree char *path = strdup(w->path.data);
	bool redirected = w->redirected;
	struct step s = { .opened = -1 };
	int r;

	if (!path)
		return -ENOMEM;
	r = ld ? look_here(w, l, ld, &s) : look_absolute(w, l, &s);
	if (r <= 0) {
		w->out->wasted++;
		return r;
	}
	/* Following a redirect is like following a symlink that a layer brought: only if the mount says so. */
	if (w->redirected && w->fs->opt->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		r = -EPERM;
	else
		r = take_lower(w, &s, ld, path, redirected);
	/* What nobody took. */
	if (s.opened >= 0)
		close(s.opened);
	return r;
}

static int look_lowers(struct walk *w, const struct ply_resolve_hint *hint)
{
	struct ply_layers *ls = &w->fs->layers;
	struct ply_dir *d = w->dir->dir;
	unsigned int layer = ply_max(hint->from, 1u), i = 0;
	int r = 0;

	while (!w->stop && layer < ls->first_data && !r) {
		struct ply_ldir *ld = NULL;

		/* What is known is known of the name, not of where a redirect leads. */
		if (!w->redirected && hint->end && layer >= hint->end)
			break;
		if (hint->patience && w->out->wasted >= hint->patience)
			return -EAGAIN;
		if (!w->absolute) {
			while (i < d->nlower && d->lower[i].layer < layer)
				i++;
			if (i == d->nlower)
				break;
			ld = &d->lower[i];
			layer = ld->layer;
		}
		r = look_lower(w, &ls->layer[layer], ld);
		layer++;
	}
	return r;
}

/* Data-only layers are asked for the data of a metacopy with an absolute redirect, and for nothing else. */
static int look_data(struct walk *w)
{
	struct ply_layers *ls = &w->fs->layers;
	const char *path = w->path.data + 1;

	if (!w->absolute_seen || !w->absolute || ls->first_data >= ls->n)
		return -EIO;
	if (w->fs->opt->redirect_dir == PLY_REDIRECT_NOFOLLOW)
		return -EPERM;
	for (unsigned int i = ls->first_data; i + 1 < ls->n; i++) {
		struct stat st;
		ply_autofd fd = ply_sys_open_beneath(ls->layer[i].fd, path, O_PATH);

		if (fd >= 0 && !ply_sys_stat(PLY_FD(fd), &st) && S_ISREG(st.st_mode))
			return dataref_new(i, path, &w->out->data);
	}
	/* The last one is not asked before the data is wanted: listing an image must not need its store. */
	return dataref_new(ls->n - 1, path, &w->out->data);
}

int ply_resolve(struct ply_fs *fs, struct ply_node *dir, const char *name, const struct ply_resolve_hint *hint,
		struct ply_resolved *out)
{
	struct walk w = { .fs = fs, .dir = dir, .out = out };
	int r = ply_buf_addstr(&w.path, name);

	if (!r && !hint->from)
		r = look_upper(&w);
	if (!r && !w.stop)
		r = look_lowers(&w, hint);
	if (!r && !w.found)
		r = -ENOENT;
	if (!r && w.metacopy)
		r = look_data(&w);
	ply_buf_free(&w.path);
	return r;
}

int ply_resolve_indexed(struct ply_fs *fs, struct ply_node *dir, const char *name, const struct ply_resolved *low,
			const char *hex, const struct stat *st, struct ply_resolved *out)
{
	struct ply_at at = PLY_AT(fs->work.index_fd, hex);
	int r;

	if ((st->st_mode & S_IFMT) != (low->st.st_mode & S_IFMT))
		return -EIO;
	out->layer = PLY_LAYER_UPPER;
	out->st = *st;
	r = ply_resolve_marks(fs->layers.upper, at, &out->marks);
	if (r || !(out->marks & PLY_MARK_METACOPY))
		return r;
	if (!may_be_metacopy(st, false))
		return drop_empty_metacopy(fs, at);
	r = is_metacopy(fs->layers.upper, at);
	if (r <= 0)
		return r;
	/* The data is the lower object's own, or what that one points to. */
	if (low->data)
		return dataref_new(low->data->layer, low->data->path, &out->data);
	return ply_resolve_dataref(fs, dir, ply_dir_layer(dir, low->layer), name, &out->data);
}
