// SPDX-License-Identifier: GPL-2.0-or-later
#include "options.h"

#include "util.h"

const char ply_options_help[] =
"usage: plyfs [-f] [-d] -o OPTIONS [SOURCE] MOUNTPOINT\n"
"A union of directories: the first layer that has a name wins, changes go to upperdir.\n"
"\n"
"  -o OPTIONS            comma-separated, see below; may be given several times\n"
"  -f, --foreground      stay in the foreground\n"
"  -d, --debug           log every request to stderr; implies -f\n"
"  -s                    one thread (threads=1)\n"
"  -h, --help            this text\n"
"  -V, --version         versions of plyfs and libfuse\n"
"\n"
"layers\n"
"  lowerdir=DIR[:DIR...][::DATADIR...]\n"
"                        layers that are read, topmost first, up to 500; behind '::'\n"
"                        data-only layers. Write '\\:' and '\\,' inside names. Required\n"
"  lowerdir+=DIR         one more layer below those so far; datadir+=DIR: data-only\n"
"  upperdir=DIR          where changes go (default: none, the mount is read-only)\n"
"  workdir=DIR           empty directory on the filesystem of upperdir; needed with it\n"
"\n"
"the union\n"
"  redirect_dir=on|follow|nofollow|off     rename of lower directories (on)\n"
"  index=on|off|auto     hard links stay one file (auto: where file handles exist)\n"
"  metacopy=on|off       chmod and chown copy no data (off; reading always works)\n"
"  xino=on|off|auto      accepted; inode numbers are always unique and stable (auto)\n"
"  userxattr             keep overlay attributes as user.overlay.* (off, but the only\n"
"                        choice without privilege)\n"
"  static=DIR[:DIR...]   directories in the mount whose large files are replaced, never\n"
"                        rewritten (/usr:/bin:/sbin:/lib:/lib32:/lib64:/libx32:/opt:\n"
"                        /boot:/nix/store:/gnu/store)\n"
"  noacl                 no POSIX ACLs (off)\n"
"  noxattrs[=0|1]        no extended attributes (0)\n"
"  static_nlink          directories show one link (off)\n"
"\n"
"reading and writing\n"
"  passthrough=auto|full|off|required      which files bypass the daemon (auto)\n"
"  max_stack_depth=0|1|2 room for stacked filesystems (as small as the layers allow)\n"
"  fsync=auto|0|1|strict|volatile          when data is made durable (auto)\n"
"  volatile              as fsync=volatile: never; after a crash upperdir is void (off)\n"
"  timeout=SECONDS|inf   how long the kernel may cache names and attributes (inf)\n"
"  threads=N             threads that serve requests, 1 to 1024 (0: as many as it takes)\n"
"  threaded=0|1          0 is threads=1 (1)\n"
"  io_uring[=0|1]        requests over io_uring, where the kernel allows it (0)\n"
"  clone_fd              accepted, without effect (off)\n"
"  writeback=0|1         writeback cache of the kernel where nothing has passthrough (1)\n"
"  fast_ino=0|1          accepted (0)\n"
"\n"
"owners\n"
"  uidmapping=DISK:SHOWN:LENGTH[:...]      owners on disk and as shown (identity)\n"
"  gidmapping=DISK:SHOWN:LENGTH[:...]      groups (identity)\n"
"  squash_to_root        everything belongs to 0:0 (off)\n"
"  squash_to_uid=UID, squash_to_gid=GID    everything belongs to UID, GID (off)\n"
"  xattr_permissions=0|1|2                 owner and mode in an attribute: 1\n"
"                        security.fuseoverlayfs, 2 user.containers (0)\n"
"\n"
"the mount\n"
"  fsname=NAME           source in mountinfo (SOURCE, else plyfs)\n"
"  subtype=NAME          the type shows as fuse.NAME (plyfs)\n"
"  allow_other, allow_root, noallow_other  who may use it (root mounts: allow_other)\n"
"  default_permissions   the kernel checks modes (always on)\n"
"  context=\"LABEL\", fscontext=, defcontext=, rootcontext=   SELinux labels (none)\n"
"  plugins=LIST          accepted; a layer that needs one is refused (none)\n"
"  ro rw suid nosuid dev nodev exec noexec noatime nodiratime ...  as for mount(8)\n"
"                        (rw; suid, dev and exec when mounted by root)\n"
"\n"
"All about them: plyfs(8). What a mount does: plyctl status MOUNTPOINT.\n";

void ply_options_free_list(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

void ply_options_free(struct ply_options *o)
{
	ply_options_free_list(o->lower);
	ply_options_free_list(o->static_paths);
	free(o->upper);
	free(o->work);
	free(o->source);
	free(o->mountpoint);
	free(o->fsname);
	free(o->subtype);
	free(o->context);
	free(o->kernel_opts);
	free(o->plugins);
	ply_idmap_free(&o->uids);
	ply_idmap_free(&o->gids);
	*o = (struct ply_options){ 0 };
}
