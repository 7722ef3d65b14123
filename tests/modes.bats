#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
#
# Files and directories whose mode keeps out their owner too: the union can do everything with them that one filesystem
# could, also where the daemon has no privilege. What the mode forbids stays forbidden.

load lib/common

# lower_release DIR...: so that the test's own directory can be removed
lower_release()
{
	chmod -R u+rwx "$@"
	lower_changed
}

@test "a read-only file: its mode, times, name, links and attributes" {
	for n in a b c d e; do put "$L/$n" x; xattr "$L/$n" user.k v; chmod 444 "$L/$n"; done
	union_mount
	f chmod a 0400 , utime b 5 6 , rename c c2 , link d d2 , unlink e
	f stat a mode 400 , getx a user.k v , stat b mode 444 mtime 6.000000000 , getx c2 user.k v , stat d2 mode 444 nlink 2 same d
	for n in a b c2 d d2; do says "$M/$n" x; done
	[ "$PLY_SUITE" != plainuser ] || f '!EACCES' setx a user.k w , '!EACCES' open w a w , '!EACCES' truncate a 0
}

@test "a read-only file with several names in lower" {
	put "$L/a" x; ln "$L/a" "$L/b"; ln "$L/a" "$L/c"; chmod 444 "$L/a"
	union_mount
	f chmod a 0400 , stat b mode 400 nlink 3 same a , unlink a , stat b nlink 2 , link c d , stat b nlink 3 same d , rename b e , stat d nlink 3 same e
	says "$M/e" x
	union_remount
	f stat c mode 400 nlink 3 same d , unlink c , stat e nlink 2
}

@test "a read-only file with an ACL" {
	put "$L/f" x; xattr "$L/f" user.k v; setfacl -m u:5:r "$L/f" || skip "no ACLs here"
	chmod 440 "$L/f"
	union_mount
	f utime f 5 6 , getx f user.k v , stat f mode 440
	getfacl -n -c -p "$M/f" | grep -q '^user:5:r--'
}

@test "read-only directories: what they hold is changed, they stay as they are" {
	put "$L/a/b/c/f" x; put "$L/a/b/g" y; chmod 444 "$L/a/b/g"; chmod 555 "$L/a" "$L/a/b"
	union_mount
	f chmod a/b/g 0600 , rename a/b/c/f a/b/c/f2 , mkdir a/b/c/new
	echo more >>"$M/a/b/c/f2"
	f stat a mode 555 , stat a/b mode 555
	[ "$PLY_SUITE" != plainuser ] || f '!EACCES' mkdir a/new , '!EACCES' unlink a/b/g , '!EACCES' open w a/b/new w+creat
	union_remount
	f stat a mode 555 , stat a/b mode 555 , stat a/b/g mode 600
	chmod -R u+w "$M"
	lower_release "$L"
}

@test "a read-only directory is renamed, replaced and removed, whiteouts in it too" {
	put "$L/a/f" x; put "$L/b/f" x; put "$L/c/d/f" x; mkdir "$L/e"; chmod 555 "$L/e"
	union_mount
	f unlink a/f , chmod a 0555 , rename a a2 , '!ENOENT' stat a , unlink b/f , chmod b 0555 , mkdir n , rename n b , '!ENOENT' stat b/f
	f unlink c/d/f , chmod c/d 0555 , rmdir c/d , rmdir c , chmod e 0500 , rename e e2
	union_remount
	f '!ENOENT' stat a2/f , '!ENOENT' stat b/f , '!ENOENT' stat c , stat e2 mode 500
	chmod -R u+w "$M"
	lower_release "$L"
}

@test "new objects that may not be written, over whiteouts too" {
	put "$L/a" x; mkdir "$L/old" "$L/older"
	union_mount
	f mkdir d 0555 , rmdir old , mkdir old 0555 , rmdir older , mkdir older 0000 , rename old old2 , rmdir old2
	f unlink a , open w a rw+creat+excl 0400 , write w data , open u c rw+creat 0 , write u data , mknod p p 0 , mknod n f 0
	f link c c2 , rename a a2 , chmod c 0600 , chmod older 0700 , chmod n 0400 , chmod p 0400 , stat a2 mode 400
	says "$M/a2" data; says "$M/c2" data
}
