// SPDX-License-Identifier: GPL-2.0-or-later
#include "attr_store.h"

#include <errno.h>
#include <sys/sysmacros.h>

/* With override_stat everybody on disk may read and search; what counts is in the attribute. */
#define ATTR_OVERRIDE_MODE 0755
#define ATTR_PERM 07777

bool ply_attr_has_override(const struct ply_fs *fs)
{
	const struct ply_layer *up = fs->layers.upper;

	return up && up->override != PLY_XPERM_NONE && up->override_name;
}

int ply_attr_store_id(const struct ply_idmap *map, uint32_t shown, uint32_t *disk)
{
	uint32_t id = ply_idmap_store(map, shown);

	if (id == PLY_ID_INVALID)
		return -EOVERFLOW;
	*disk = id;
	return 0;
}

int ply_attr_write_override(struct ply_fs *fs, struct ply_at at, uid_t uid, gid_t gid, mode_t mode, dev_t rdev)
{
	struct ply_override o = {
		.uid = uid,
		.gid = gid,
		.mode = mode,
		.has_type = true,
		.major = major(rdev),
		.minor = minor(rdev),
	};
	char val[PLY_OVERRIDE_MAX];
	size_t len = ply_format_override_build(&o, val);
	int r = ply_sys_setxattr(at, fs->layers.upper->override_name, val, len, 0);

	if ((r == -EPERM || r == -EOPNOTSUPP) && !S_ISREG(mode) && !S_ISDIR(mode))
		return 0;
	return r;
}

mode_t ply_attr_override_backing(mode_t mode)
{
	return (mode & 0777) | ATTR_OVERRIDE_MODE;
}

/* A group that is not ours keeps its sgid only with CAP_FSETID, which this thread's last request may have left off. */
static int attr_chmod(struct ply_at at, mode_t mode)
{
	ply_creds_fsetid(true);
	return ply_sys_chmod(at, mode);
}

/*
 * Root of the outside makes files in a container of another root before it gives them away (podman: /etc/mtab);
 * and a group that shows as "unmapped" is handed on by setgid directories. On disk both are nobody's until then.
 */
static int attr_new_owner(const struct ply_idmap *map, uint32_t shown, uint32_t *disk)
{
	int r = ply_attr_store_id(map, shown, disk);

	if (!r || (shown != 0 && shown != PLY_ID_OVERFLOW))
		return r;
	*disk = PLY_ID_OVERFLOW;
	return 0;
}

int ply_attr_init(struct ply_fs *fs, struct ply_at at, const struct stat *have,
		  uid_t uid, gid_t gid, mode_t mode, dev_t rdev)
{
	bool chowned = false;
	mode_t want = mode & ATTR_PERM;
	uid_t duid;
	gid_t dgid;
	int r;

	r = attr_new_owner(&fs->opt->uids, uid, &duid);
	if (!r)
		r = attr_new_owner(&fs->opt->gids, gid, &dgid);
	if (r)
		return r;
	if (ply_attr_has_override(fs)) {
		r = ply_attr_write_override(fs, at, duid, dgid, mode, rdev);
		if (r)
			return r;
		want = ply_attr_override_backing(mode);
	} else if (have->st_uid != duid || have->st_gid != dgid) {
		r = ply_sys_chown(at, duid, dgid);
		if (r)
			return r;
		chowned = true;
	}
	if (S_ISLNK(mode))
		return 0;
	/* A change of owner takes suid and sgid away. */
	if (want == (have->st_mode & ATTR_PERM) && !(chowned && (want & (S_ISUID | S_ISGID))))
		return 0;
	return attr_chmod(at, want);
}

bool ply_attr_may_lack_data(const struct ply_fs *fs, mode_t mode)
{
	return !ply_sys_lends() || ply_attr_has_override(fs) || (mode & 0600) == 0600;
}

bool ply_attr_is(struct ply_fs *fs, const struct stat *have, uid_t uid, gid_t gid, mode_t mode)
{
	uid_t duid;
	gid_t dgid;

	return !ply_attr_has_override(fs) && !attr_new_owner(&fs->opt->uids, uid, &duid) &&
	       !attr_new_owner(&fs->opt->gids, gid, &dgid) && have->st_uid == duid && have->st_gid == dgid &&
	       (S_ISLNK(mode) || (have->st_mode & ATTR_PERM) == (mode & ATTR_PERM));
}

int ply_attr_copy(struct ply_fs *fs, struct ply_at at, const struct stat *lower)
{
	const struct ply_idmap *u = &fs->opt->uids, *g = &fs->opt->gids;
	/* Squashed: there is one owner on disk, perhaps the only one that we may give. */
	uid_t uid = u->squash ? u->squash_to : lower->st_uid;
	gid_t gid = g->squash ? g->squash_to : lower->st_gid;
	mode_t want = lower->st_mode & ATTR_PERM;
	struct stat have;
	int r;

	if (ply_attr_has_override(fs)) {
		r = ply_attr_write_override(fs, at, uid, gid, lower->st_mode, lower->st_rdev);
		return r || S_ISLNK(lower->st_mode) ? r : attr_chmod(at, ply_attr_override_backing(lower->st_mode));
	}
	r = ply_sys_stat(at, &have);
	if (r)
		return r;
	/* Each of them is a transaction of its own; most files are root's, as what we make is. */
	if (have.st_uid != uid || have.st_gid != gid) {
		r = ply_sys_chown(at, uid, gid);
		if (r)
			return r;
		have.st_mode &= ~(mode_t)(S_ISUID | S_ISGID);
	}
	if (S_ISLNK(lower->st_mode) || (have.st_mode & ATTR_PERM) == want)
		return 0;
	return attr_chmod(at, want);
}

/* ---- held attributes ---- */

/* Of all mounts of the process; a handful at most. A leaf lock. */
static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ply_list holds = { &holds, &holds };
static _Atomic uint64_t hold_seq;

void ply_attr_hold_begin(struct ply_attr_hold *h)
{
	pthread_mutex_lock(&hold_lock);
	ply_list_add(&holds, &h->link);
	atomic_fetch_add(&hold_seq, 1);
	pthread_mutex_unlock(&hold_lock);
}

void ply_attr_hold_end(struct ply_attr_hold *h)
{
	pthread_mutex_lock(&hold_lock);
	ply_list_del(&h->link);
	atomic_fetch_add(&hold_seq, 1);
	pthread_mutex_unlock(&hold_lock);
}

void ply_attr_hold_apply(const struct ply_node *n, struct stat *st)
{
	pthread_mutex_lock(&hold_lock);
	for (struct ply_list *l = holds.next; l != &holds; l = l->next) {
		const struct ply_attr_hold *h = ply_container_of(l, struct ply_attr_hold, link);

		if (h->n != n)
			continue;
		st->st_atim = h->st.st_atim;
		st->st_mtim = h->st.st_mtim;
	}
	pthread_mutex_unlock(&hold_lock);
}

uint64_t ply_attr_hold_seq(void)
{
	return atomic_load(&hold_seq);
}
