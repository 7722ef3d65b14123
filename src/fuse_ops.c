// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuse_ops.h"
#include "ahead.h"
#include "attr.h"
#include "dirops.h"
#include "fuse_uring.h"
#include "io.h"
#include "lookup.h"
#include "plyfs-fuse.h"
#include "readdir.h"
#include "rename.h"
#include "xattr.h"
#include <errno.h>

/* --- decoding --- */

static struct ply_fs *op_fs(fuse_req_t req)
{
	return ply_reply_fuse(req)->fs;
}

static struct ply_handle *op_handle(const struct fuse_file_info *fi)
{
	return fi && fi->fh ? ply_reply_handle(fi->fh) : NULL;
}

/* The node by its number, also when it is stale. NULL: answered. */
static struct ply_node *op_node_raw(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_node *n = ply_node_get(op_fs(req)->graph, ino);

	if (!n)
		ply_reply_err(req, -ESTALE);
	return n;
}

/* The file that this number leads to now. NULL: answered. */
static struct ply_node *op_node(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_graph *g = op_fs(req)->graph;
	struct ply_node *n = op_node_raw(req, ino), *cur;

	if (!n || !(n->flags & PLY_N_STALE))
		return n;
	cur = ply_node_current(g, n);
	ply_node_put(g, n);
	return cur;
}

/*
 * Something of the file that this number leads to was changed. Where that is a stale number, the kernel does not know
 * that the file's present node changed too. Before the reply.
 */
static void op_changed(struct ply_fs *fs, fuse_ino_t ino, const struct ply_node *n)
{
	if (n->id != ino && fs->up.inval_inode)
		fs->up.inval_inode(fs->up.arg, n->id, -1, 0);
}

static struct ply_node *op_dir(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_node *n = op_node_raw(req, ino);

	if (n && n->type != S_IFDIR) {
		ply_node_put(op_fs(req)->graph, n);
		ply_reply_err(req, -ENOTDIR);
		return NULL;
	}
	return n;
}

/* The kernel passes names of up to 1,024 bytes. */
static bool op_name_ok(fuse_req_t req, const char *name)
{
	if (strlen(name) <= 255)
		return true;
	ply_reply_err(req, -ENAMETOOLONG);
	return false;
}

/* The directory in which the request names something. NULL: answered. */
static struct ply_node *op_dir_of(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	return op_name_ok(req, name) ? op_dir(req, parent) : NULL;
}

static struct ply_cred op_cred(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return (struct ply_cred){ .uid = c->uid, .gid = c->gid, .pid = c->pid, .umask = c->umask };
}

static pid_t op_pid(fuse_req_t req)
{
	return fuse_req_ctx(req)->pid;
}

/* With FUSE_ALLOW_IDMAP the kernel only says it of who makes something; for the rare other need /proc knows. */
static bool op_is_root(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	return c->uid == FUSE_INVALID_UIDGID ? ply_creds_is_root(c->pid) : c->uid == 0;
}

/* Requests that change data but do not say whether privileges are to go: as for whoever is not root. */
static bool op_kill(fuse_req_t req)
{
	return !op_is_root(req);
}

/* --- names --- */

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	struct ply_graph *g = op_fs(req)->graph;
	size_t i;

	for (i = 0; i < count; i++)
		ply_node_forget(g, f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

/* Answers a request that made something: node n (whose reference is taken over) and st, or err. */
static void op_reply_made(fuse_req_t req, int err, struct ply_node *n, const struct stat *st)
{
	struct ply_graph *g = op_fs(req)->graph;	/* the reply ends the request */

	if (err) {
		ply_reply_err(req, err);
		return;
	}
	ply_reply_entry(req, n, st);
	ply_node_put(g, n);
}

/* mknod, mkdir and symlink, by the type in mode. */
static void op_make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev, const char *target)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_cred cred = op_cred(req);
	struct ply_node *n = NULL;
	struct stat st;
	int err;

	ply_autonode(dir, fs, op_dir_of(req, parent, name));
	if (!dir.n)
		return;
	if (S_ISDIR(mode))
		err = ply_dirops_mkdir(fs, dir.n, name, mode & ~(mode_t)S_IFMT, &cred, &n, &st);
	else if (S_ISLNK(mode))
		err = ply_dirops_symlink(fs, dir.n, name, target, &cred, &n, &st);
	else
		err = ply_dirops_mknod(fs, dir.n, name, mode, rdev, &cred, &n, &st);
	op_reply_made(req, err, n, &st);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	op_make(req, parent, name, mode, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	op_make(req, parent, name, S_IFDIR | mode, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	op_make(req, parent, name, S_IFLNK, 0, target);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct ply_fs *fs = op_fs(req);
	struct stat st;
	int err;

	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	ply_autonode(dir, fs, op_dir_of(req, parent, name));
	if (!dir.n)
		return;
	err = ply_dirops_link(fs, n.n, dir.n, name, &st);
	if (err)
		ply_reply_err(req, err);
	else
		ply_reply_entry(req, n.n, &st);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ply_fs *fs = op_fs(req);

	ply_autonode(dir, fs, op_dir_of(req, parent, name));
	if (dir.n)
		ply_reply_err(req, ply_dirops_unlink(fs, dir.n, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ply_fs *fs = op_fs(req);

	ply_autonode(dir, fs, op_dir_of(req, parent, name));
	if (dir.n)
		ply_reply_err(req, ply_dirops_rmdir(fs, dir.n, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
		      unsigned int flags)
{
	struct ply_fs *fs = op_fs(req);

	ply_autonode(from, fs, op_dir_of(req, parent, name));
	if (!from.n)
		return;
	if (newparent == parent) {
		if (op_name_ok(req, newname))
			ply_reply_err(req, ply_rename(fs, from.n, name, from.n, newname, flags));
		return;
	}
	ply_autonode(to, fs, op_dir_of(req, newparent, newname));
	if (to.n)
		ply_reply_err(req, ply_rename(fs, from.n, name, to.n, newname, flags));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ply_fs *fs = op_fs(req);
	ply_autofree char *target = NULL;
	int err;

	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	err = ply_dirops_readlink(fs, n.n, &target);
	if (err)
		ply_reply_err(req, err);
	else
		fuse_reply_readlink(req, target);
}

/* --- attributes --- */

static unsigned int setattr_what(int to_set)
{
	static const struct { int fuse; unsigned int ply; } map[] = {
		{ FUSE_SET_ATTR_MODE, PLY_SET_MODE }, { FUSE_SET_ATTR_UID, PLY_SET_UID },
		{ FUSE_SET_ATTR_GID, PLY_SET_GID }, { FUSE_SET_ATTR_SIZE, PLY_SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, PLY_SET_ATIME }, { FUSE_SET_ATTR_MTIME, PLY_SET_MTIME },
		{ FUSE_SET_ATTR_CTIME, PLY_SET_CTIME }, { FUSE_SET_ATTR_ATIME_NOW, PLY_SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, PLY_SET_MTIME_NOW },
		/* FATTR_KILL_SUIDGID of the protocol */
		{ FUSE_SET_ATTR_KILL_SUID, PLY_SET_KILL_PRIV },
	};
	unsigned int what = 0;
	size_t i;

	for (i = 0; i < PLY_ARRAY_SIZE(map); i++)
		if (to_set & map[i].fuse)
			what |= map[i].ply;
	return what;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_cred cred = op_cred(req);
	off_t size = attr->st_size;
	int err = 0;

	ply_autonode(raw, fs, op_node_raw(req, ino));
	if (!raw.n)
		return;
	if ((to_set & FUSE_SET_ATTR_SIZE) && !fi)
		err = ply_backing_check_setsize(fs, raw.n, attr->st_size, op_pid(req));
	if (err) {
		ply_reply_err(req, err);
		return;
	}
	if (to_set & FUSE_SET_ATTR_SIZE)
		ply_backing_cut(raw.n, size);
	for (;;) {
		ply_autonode(n, fs, ply_node_current(fs->graph, raw.n));

		err = ply_attr_set(fs, n.n, op_handle(fi), &cred, setattr_what(to_set), attr);
		if (!err && (to_set & FUSE_SET_ATTR_MODE) && (attr->st_mode & (S_ISUID | S_ISGID)))
			ply_backing_mode_changed(fs, n.n);
		op_changed(fs, ino, n.n);
		if (err != -ESTALE || !(n.n->flags & PLY_N_STALE))
			break;
		/* Handed off between the two calls. */
	}
	if (err) {
		ply_reply_err(req, err);
		return;
	}
	ply_backing_snapshot_attr(fs, raw.n, attr);
	if (to_set & FUSE_SET_ATTR_SIZE)
		ply_backing_cut(raw.n, size);
	ply_reply_attr(req, raw.n, attr);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int err = ply_io_statfs(op_fs(req), &st);

	(void)ino;
	if (err)
		ply_reply_err(req, err);
	else
		fuse_reply_statfs(req, &st);
}

/* --- extended attributes --- */

/* The length where size is 0, else the bytes. */
static void op_reply_xattr(fuse_req_t req, const char *buf, ssize_t len, size_t size)
{
	if (len < 0)
		ply_reply_err(req, (int)len);
	else if (!size)
		fuse_reply_xattr(req, (size_t)len);
	else if ((size_t)len > size)
		ply_reply_err(req, -ERANGE);
	else
		fuse_reply_buf(req, buf, (size_t)len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct ply_fs *fs = op_fs(req);
	ply_autofree char *buf = size ? malloc(size) : NULL;

	ply_autonode(n, fs, op_node(req, ino));
	if (n.n)
		op_reply_xattr(req, buf, size && !buf ? -ENOMEM : ply_xattr_get(fs, n.n, name, buf, size), size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct ply_fs *fs = op_fs(req);
	ply_autofree char *list = NULL;
	ssize_t len;

	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	len = ply_xattr_list(fs, n.n, &list);
	/* The kernel leaves it to us who sees trusted.*; to ask for the caller's rights costs more than all the rest. */
	if (len > 0 && ply_xattr_list_has_trusted(list, (size_t)len) && !op_is_root(req))
		len = (ssize_t)ply_xattr_list_hide_trusted(list, (size_t)len);
	op_reply_xattr(req, list, len, size);
}

/* libfuse's handlers do not get these flags. */
static bool setxattr_kills_sgid(fuse_req_t req)
{
	const struct fuse_setxattr_in *in;

	if (!ply_reply_fuse(req)->setxattr_ext || !ply_fuse_request || ply_fuse_request->opcode != FUSE_SETXATTR)
		return false;
	in = (const void *)(ply_fuse_request + 1);
	return (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *val, size_t size, int flags)
{
	struct ply_fs *fs = op_fs(req);

	int err;

	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	err = ply_xattr_set(fs, n.n, name, val, size, flags, setxattr_kills_sgid(req));
	op_changed(fs, ino, n.n);
	ply_reply_err(req, err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct ply_fs *fs = op_fs(req);

	int err;

	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	err = ply_xattr_remove(fs, n.n, name);
	op_changed(fs, ino, n.n);
	ply_reply_err(req, err);
}

/* --- opening --- */

/* fd and n (taken over) of a file that was just made: opens it and answers. */
static void op_reply_new_file(fuse_req_t req, int fd, struct ply_node *n, const struct stat *st, int flags)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_open_reply o;
	int err = ply_backing_opened_new(fs, n, fd, flags, &o);

	if (err) {
		close(fd);
		ply_reply_err(req, err);
	} else {
		ply_reply_create(req, n, st, &o);
	}
	ply_node_put(fs->graph, n);
}

/* The name came into being after the kernel's lookup. */
static void op_create_existing(fuse_req_t req, struct ply_node *dir, const char *name, const struct fuse_file_info *fi)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_open_reply o;
	struct ply_node *n;
	struct stat st;
	int err = ply_lookup(fs, dir, name, &n, &st);

	if (err) {
		ply_reply_err(req, err);
		return;
	}
	ply_autonode(ref, fs, n);
	err = ply_backing_open(fs, n, fi->flags & ~(O_CREAT | O_EXCL), fi->kill_suidgid, op_pid(req), &o);
	if (!err) {
		err = ply_attr_get(fs, n, o.h, &st);
		if (err)
			ply_backing_release(fs, o.h);
	}
	if (err)
		ply_reply_err(req, err);
	else
		ply_reply_create(req, n, &st, &o);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_cred cred = op_cred(req);
	struct ply_node *n;
	struct stat st;
	int err, fd;

	ply_autonode(dir, fs, op_dir_of(req, parent, name));
	if (!dir.n)
		return;
	err = ply_dirops_create(fs, dir.n, name, mode, fi->flags, &cred, &fd, &n, &st);
	if (!err)
		op_reply_new_file(req, fd, n, &st, fi->flags);
	else if (err == -EEXIST && !(fi->flags & O_EXCL))
		op_create_existing(req, dir.n, name, fi);
	else
		ply_reply_err(req, err);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct ply_fs *fs = op_fs(req);
	struct ply_cred cred = op_cred(req);
	struct ply_node *n;
	struct stat st;
	int err, fd;

	ply_autonode(dir, fs, op_dir(req, parent));
	if (!dir.n)
		return;
	err = ply_dirops_tmpfile(fs, dir.n, mode, fi->flags, &cred, &fd, &n, &st);
	if (err)
		ply_reply_err(req, err);
	else
		op_reply_new_file(req, fd, n, &st, fi->flags);
}

/* --- data --- */

/* Those that fuse_direct does not serve: over io_uring, and large ones. */
static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec vec = FUSE_BUFVEC_INIT(size);
	struct ply_fs *fs = op_fs(req);
	struct stat st;
	ssize_t n;
	char *to = ply_uring_payload(size);
	int err;

	(void)ino;
	if (to) {
		n = ply_io_read(fs, op_handle(fi), to, size, off);
		if (n >= 0 && (size_t)n < size)
			ply_reply_read_wait(op_handle(fi)->node, off, n);
		if (n < 0)
			ply_reply_err(req, (int)n);
		else
			fuse_reply_buf(req, to, (size_t)n);
		return;
	}
	err = ply_handle_fd(fs, op_handle(fi), &vec.buf[0].fd);
	if (err) {
		ply_reply_err(req, err);
		return;
	}
	if (!ply_sys_stat(PLY_FD(vec.buf[0].fd), &st) && st.st_size < off + (off_t)size)
		ply_reply_read_wait(op_handle(fi)->node, off, st.st_size > off ? st.st_size - off : 0);
	vec.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
	vec.buf[0].pos = off;
	fuse_reply_data(req, &vec, 0);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n;

	(void)ino;
	n = (fi->writepage ? ply_io_write_back : ply_io_write)(op_fs(req), op_handle(fi), buf, size, off, fi->kill_suidgid);
	if (n < 0)
		ply_reply_err(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	ply_reply_err(req, ply_io_fsync(op_fs(req), op_handle(fi), datasync != 0));
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct ply_fs *fs = op_fs(req);

	(void)fi;
	ply_autonode(dir, fs, op_dir(req, ino));
	if (dir.n)
		ply_reply_err(req, ply_io_fsyncdir(fs, dir.n, datasync != 0));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	(void)ino;
	ply_reply_err(req, ply_io_fallocate(op_fs(req), op_handle(fi), mode, off, len, op_kill(req)));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	off_t at = ply_io_lseek(op_fs(req), op_handle(fi), off, whence);

	(void)ino;
	if (at < 0)
		ply_reply_err(req, (int)at);
	else
		fuse_reply_lseek(req, at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			       fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	ssize_t n = ply_io_copy_range(op_fs(req), op_handle(fi_in), off_in, op_handle(fi_out), off_out, len,
				      (unsigned int)flags, op_kill(req));

	(void)ino_in;
	(void)ino_out;
	if (n < 0)
		ply_reply_err(req, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
		     unsigned int flags, const void *in, size_t in_size, size_t out_size)
{
	/* As large and as aligned as any of the structures that io knows. */
	_Alignas(8) char buf[PLY_IO_IOCTL_MAX] = { 0 };
	struct ply_fs *fs = op_fs(req);
	int err;

	(void)arg;
	if (in_size > sizeof(buf) || out_size > sizeof(buf)) {
		ply_reply_err(req, -ENOTTY);
		return;
	}
	ply_autonode(n, fs, op_node(req, ino));
	if (!n.n)
		return;
	if (in_size)
		memcpy(buf, in, in_size);
	err = ply_io_ioctl(fs, n.n, flags & FUSE_IOCTL_DIR ? NULL : op_handle(fi), cmd, buf);
	op_changed(fs, ino, n.n);
	if (err)
		ply_reply_err(req, err);
	else
		fuse_reply_ioctl(req, 0, buf, out_size);
}

/* --- listings --- */

static int readdir_emit(void *arg, const struct ply_readdir_entry *e)
{
	struct ply_reply_dir *d = arg;
	int full = ply_reply_dir_add(d, e->name, e->off, e->ino, e->type, e->node, e->st);

	if (!full && e->node)
		ply_node_put(op_fs(d->req)->graph, e->node);
	return full;
}

static void op_readdir_any(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct ply_fs *fs = op_fs(req);
	bool at_end = false;
	struct ply_reply_dir d;
	int err;

	ply_autonode(dir, fs, op_dir(req, ino));
	if (!dir.n)
		return;
	if (!off)
		ply_ahead_listed(fs, dir.n, op_pid(req));
	err = ply_reply_dir_begin(&d, req, size, plus);
	if (!err)
		err = ply_readdir(fs, dir.n, (uint64_t)off, plus, op_pid(req), readdir_emit, &d, &at_end);
	/* readdir.h says why. */
	if (!err && !d.used && at_end && dir.n->dir->lost_name && fs->up.inval_inode)
		fs->up.inval_inode(fs->up.arg, dir.n->id, 0, 0);
	ply_reply_dir_end(&d, err);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	op_readdir_any(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	op_readdir_any(req, ino, size, off, true);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct ply_fuse *f = userdata;

	f->on_init(f, conn);
}

/*
 * fuse_direct serves lookup, forget, getattr, open, release and small reads.
 * Left out, so that libfuse says ENOSYS and the kernel never asks again: opendir (listings are cached), access
 * (default_permissions), flush (nothing is held back), locks (the kernel keeps them).
 */
void ply_fuse_ops_fill(struct fuse_lowlevel_ops *ops, const struct ply_options *opt)
{
	*ops = (struct fuse_lowlevel_ops){
		.init = op_init, .forget_multi = op_forget_multi,
		.setattr = op_setattr, .statfs = op_statfs,
		.readlink = op_readlink, .mknod = op_mknod, .mkdir = op_mkdir, .symlink = op_symlink,
		.link = op_link, .unlink = op_unlink, .rmdir = op_rmdir, .rename = op_rename,
		.create = op_create, .tmpfile = op_tmpfile,
		.read = op_read, .write = op_write, .fsync = op_fsync, .fsyncdir = op_fsyncdir,
		.fallocate = op_fallocate, .lseek = op_lseek, .copy_file_range = op_copy_file_range,
		.ioctl = op_ioctl, .readdir = op_readdir, .readdirplus = op_readdirplus,
	};
	if (!opt->noxattrs) {
		ops->getxattr = op_getxattr;
		ops->listxattr = op_listxattr;
		ops->setxattr = op_setxattr;
		ops->removexattr = op_removexattr;
	}
}
