#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# POSIX ACLs: read, set, inherited instead of the umask, masked right, brought along by a copy-up, and obeyed.

load lib/common

prepare()
{
	"$FSOP" setacl "$U" access u::rwx,g::r-x,o::r-x 2>/dev/null || skip "no ACLs on this filesystem"
}

@test "an ACL of the lower is seen, obeyed and copied up" {
	put "$L/f" x; put "$L/d/g" y; chmod 640 "$L/f"
	"$FSOP" setacl "$L/f" access u::rw-,u:1000:rw-,g::r--,m::rw-,o::--- , setacl "$L/d" default u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---
	union_mount
	f getacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::--- , stat f mode 660
	f user 1000 1000 , open r f rw , write r X
	f user 1001 1001 , '!EACCES' open r f r
	f getacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::--- , open n d/n w+creat
	"$FSOP" getacl "$U/f" access u::rw-,u:1000:rw-,g::r--,m::rw-,o::---
	"$FSOP" getacl "$U/d" default | grep -q u:1001:rwx
	union_remount
	f getacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::---
}

@test "set, change and remove; the mode's group bits are the mask" {
	put "$L/f" x
	union_mount
	f setacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::r-- , stat f mode 664 , chmod f 0604 , getacl f access u::rw-,u:1000:rw-,g::r--,m::---,o::r-- , stat f mode 604
	f user 1000 1000 , '!EACCES' open r f rw
	f chmod f 0660 , getacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::--- , rmx f system.posix_acl_access , '!ENODATA' getacl f access , stat f mode 660
}

@test "a trivial ACL becomes the mode alone" {
	put "$L/f" x
	union_mount
	f setacl f access u::rwx,g::---,o::--- , stat f mode 700 , '!ENODATA' getacl f access
}

@test "a default ACL takes the place of the umask, for files and directories, in lower and upper" {
	mkdir "$L/low" "$U/up"
	for d in "$L/low" "$U/up"; do "$FSOP" setacl "$d" default u::rwx,u:1000:rwx,g::rwx,m::rwx,o::rwx; done
	union_mount
	for d in low up; do
		f umask 077 , open w $d/f w+creat 0666 , stat $d/f mode 666 , getacl $d/f access u::rw-,u:1000:rwx,g::rwx,m::rw-,o::rw- , mkdir $d/sub 0777 , stat $d/sub mode 777 \
			, getacl $d/sub default u::rwx,u:1000:rwx,g::rwx,m::rwx,o::rwx , mkdir $d/sub2 0700 , stat $d/sub2 mode 700 , open g $d/g w+creat 0640 , stat $d/g mode 640 \
			, mknod $d/p p 0666 , stat $d/p mode 666 , open t $d rw+tmpfile 0666 , stat @t mode 666 , link @t $d/t , getacl $d/t access u::rw-,u:1000:rwx,g::rwx,m::rw-,o::rw- \
			, open x $d/sub/x w+creat 0666 , stat $d/sub/x mode 666
	done
}

@test "a default ACL without a mask entry" {
	mkdir "$L/d"
	"$FSOP" setacl "$L/d" default u::rwx,g::r--,o::---
	union_mount
	f umask 0 , open w d/f w+creat 0666 , stat d/f mode 640 , mkdir d/s , stat d/s mode 740
}

@test "a default ACL over a whiteout, and in a directory made again" {
	put "$L/d/f" x; mkdir "$L/d/s"
	"$FSOP" setacl "$L/d" default u::rwx,u:1000:rwx,g::rwx,m::rwx,o::---
	union_mount
	f umask 077 , unlink d/f , open w d/f w+creat 0666 , stat d/f mode 660 , rmdir d/s , mkdir d/s , stat d/s mode 770 , getacl d/s default u::rwx,u:1000:rwx,g::rwx,m::rwx,o::---
}

@test "only the owner may set" {
	put "$L/f" x
	union_mount
	f user 1000 1000 , '!EPERM' setacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::r--
	absent "$U/f"
	[ "$PLY_SUITE" != userns ] || return 0
	f chown f 1000 1000 , user 1000 1000 , setacl f access u::rw-,u:1001:rw-,g::r--,m::rw-,o::r-- , getacl f access u::rw-,u:1001:rw-,g::r--,m::rw-,o::r--
}

@test "invalid ACLs, a default one on a file" {
	put "$L/f" x
	union_mount
	f '!EINVAL' setacl f access u::rw-,u:1000:rw-,g::r--,o::r-- , '!EACCES' setacl f default u::rwx,g::r-x,o::r-x , '!EINVAL' setx f system.posix_acl_access 0x00
}

@test "ACL and sgid: set by a stranger to the group, sgid goes" {
	need_root
	put "$L/f" x; chown 1000:2000 "$L/f"; chmod 2755 "$L/f"
	union_mount
	f user 1000 1000 , setacl f access u::rwx,u:1001:rwx,g::r-x,m::rwx,o::r-x , stat f mode 775
}

@test "noacl: ACLs cannot be set, mode rules" {
	plyfs_only "its option"
	put "$L/f" x
	union_mount noacl
	f '!EOPNOTSUPP' setacl f access u::rw-,u:1000:rw-,g::r--,m::rw-,o::r-- , chmod f 0600 , stat f mode 600
}
