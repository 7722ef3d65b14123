#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# metacopy: a change of attributes without the data, always followed where found, made where asked.

load lib/common

# An owner that this suite may give a file to.
other_owner()
{
	[ "$PLY_SUITE" = plainuser ] && id -u || echo 1000
}

big()
{
	mkdir -p "$(dirname "$1")"
	head -c 3000000 /dev/zero | tr '\0' 'd' >"$1"
}

@test "metacopy=on: chmod, chown, utime, xattr copy no data; reading gives the lower's" {
	big "$L/d/f"
	id=$(other_owner)
	union_mount metacopy=on
	f chmod d/f 0600 , chown d/f "$id" -1 , utime d/f 5 6 , setx d/f user.k v , stat d/f size 3000000 mode 600 uid "$id" mtime 6.000000000 , open r d/f r , check r 0 3000000 d
	has_xattr "$U/d/f" "$OVL.metacopy"
	[ "$(field b "$U/d/f")" -lt 100 ]
	[ "$(field b "$M/d/f")" -gt 100 ]
	union_remount
	f stat d/f size 3000000 mode 600 uid "$id" , getx d/f user.k v , open r d/f r , check r 0 3000000 d , listx d/f user.k
}

@test "the first write brings the data, the mark goes" {
	big "$L/f"
	union_mount metacopy=on
	f chmod f 0600 , open w f rw , pwrite w 100 X , check w 0 100 d , check w 101 2999899 d , stat f size 3000000 mode 600
	no_xattr "$U/f" "$OVL.metacopy"
	union_remount
	f open r f r , pread r 99 3 dXd , check r 101 2999899 d , stat f mode 600
}

@test "truncate of a metacopy file, to something and to nothing" {
	big "$L/f"; big "$L/g"; big "$L/h"
	union_mount metacopy=on
	f chmod f 0600 , truncate f 1000 , stat f size 1000 , open r f r , check r 0 1000 d , chmod g 0600 , truncate g 0 , stat g size 0 , chmod h 0600 , open w h w+trunc , write w new
	says "$M/h" new
	no_xattr "$U/f" "$OVL.metacopy"; no_xattr "$U/g" "$OVL.metacopy"
	union_remount
	f stat f size 1000 , open r f r , check r 0 1000 d , stat g size 0
}

@test "a renamed metacopy file finds its data" {
	big "$L/d/f"; mkdir "$L/e"; big "$L/other"
	union_mount metacopy=on
	f chmod d/f 0600 , rename d/f e/g , rename other e/o , open r e/g r , check r 0 3000000 d
	if [ "$PLY_TARGET" = overlayfs ]; then # plyfs may bring the data instead
		has_xattr "$U/e/g" "$OVL.metacopy"
		has_xattr "$U/e/g" "$OVL.redirect"
	fi
	union_remount
	f stat e/g size 3000000 mode 600 , open r e/g r , check r 0 3000000 d , open o e/o r , check o 0 3000000 d , rename d d2 , rename e/g d2/h , open w d2/h rw , pwrite w 0 X , check w 1 2999999 d
	union_remount
	f open r d2/h r , pread r 0 2 Xd
}

@test "a metacopy file in a renamed directory" {
	big "$L/a/b/f"
	union_mount metacopy=on
	f chmod a/b/f 0600 , rename a x , open r x/b/f r , check r 0 3000000 d
	union_remount
	f open r x/b/f r , check r 0 3000000 d , stat x/b/f mode 600 , rename x/b y
	union_remount
	f open r y/f r , check r 0 3000000 d
}

@test "chains of metacopy over three layers are followed" {
	LAYERS=("$L2" "$L")
	big "$L/f"
	mkdir "$T/w1"
	# the middle layer is made by a mount of its own
	LAYERS=("$L") UPPER=$L2 WORK=$T/w1
	union_mount metacopy=on
	f chmod f 0640
	union_umount
	lower_changed
	LAYERS=("$L2" "$L") UPPER=$U WORK=$W
	has_xattr "$L2/f" "$OVL.metacopy"
	union_mount metacopy=on
	f stat f mode 640 size 3000000 , open r f r , check r 0 3000000 d , chmod f 0600 , check r 0 3000000 d
	has_xattr "$U/f" "$OVL.metacopy"
	union_remount
	f open r f r , check r 0 3000000 d , stat f mode 600 , open w f rw , pwrite w 0 X , check w 1 2999999 d
}

@test "metacopy found while the option is off is followed all the same, never zeros" {
	big "$L/f"; big "$L/g"
	union_mount metacopy=on
	f chmod f 0600 , chmod g 0600
	union_umount
	plyfs_only "overlayfs refuses such files then"
	union_mount metacopy=off
	f stat f mode 600 size 3000000 , open r f r , check r 0 3000000 d , open w g rw , pwrite w 0 X , check w 1 2999999 d
}

@test "metacopy=off: attributes copy the data" {
	big "$L/f"
	union_mount metacopy=off
	f chmod f 0600
	no_xattr "$U/f" "$OVL.metacopy"
	[ "$(field b "$U/f")" -gt 100 ]
}

@test "hard links and metacopy" {
	big "$L/a"; ln "$L/a" "$L/b"
	union_mount metacopy=on
	f chmod a 0600 , stat b mode 600 nlink 2 same a , open r b r , check r 0 3000000 d , open w b rw , pwrite w 0 X , open n a r , pread n 0 2 Xd
	union_remount
	f stat b mode 600 nlink 2 same a , open n a r , pread n 0 2 Xd , check n 1 2999999 d
}

@test "a metacopy whose data is missing is an error, not zeros" {
	mkdir "$L/d"
	truncate -s 1000 "$U/lost"; xattr "$U/lost" "$OVL.metacopy" ''; put "$L/f" x
	RECHECK=no
	union_mount metacopy=on
	! cat "$M/lost" 2>/dev/null | grep -q . || fail "it was read"
	f '!EIO' open r lost r
	says "$M/f" x
}

@test "a reader from before the metadata copy-up, a writer after it" {
	plyfs_only "overlayfs' reader stays on the lower file"
	big "$L/f"
	union_mount metacopy=on,passthrough=auto
	f open r f r , chmod f 0600 , check r 0 3000000 d , open w f rw , fill w 0 4096 X , check r 0 4096 X , check r 4096 4096 d
}

@test "mmap of a metacopy file" {
	big "$L/f"
	union_mount metacopy=on
	f chmod f 0600 , open r f r , mmap m r 0 8192 r shared , mread m 5 3 ddd , open w f rw , mmap n w 0 8192 rw shared , mwrite n 0 X , pread w 0 2 Xd
}

@test "a metacopy that its owner may not write: renamed, linked, made writable, written" {
	for n in a b c d; do big "$L/$n"; chmod 444 "$L/$n"; done
	ln "$L/c" "$L/c2"
	union_mount metacopy=on
	f chmod a 0400 , chmod b 0400 , chmod c 0400 , chmod d 0400 , rename a a2 , link b b2 , rename c2 c3 , utime d 5 6
	f open r a2 r , check r 0 3000000 d , open r b2 r , check r 0 3000000 d , open r c3 r , check r 0 3000000 d , stat c mode 400 nlink 2 same c3
	f chmod b2 0600 , open w b rw , pwrite w 0 X , check w 1 2999999 d , chmod d 0600 , chmod d 0400 , stat d mode 400
	union_remount
	f open r a2 r , check r 0 3000000 d , open r b2 r , pread r 0 2 Xd , stat c mode 400 , stat c3 mode 400 , unlink a2 , unlink c , open r c3 r , check r 0 3000000 d
	f chmod d 0600 , open w d rw , pwrite w 0 X , check w 1 2999999 d
}

@test "a metacopy that its owner may neither read nor write has its data all the same, after a remount too" {
	for n in a b c; do big "$L/$n"; done
	ln "$L/c" "$L/c2"
	union_mount metacopy=on
	f chmod a 0640 , chmod a 0 , chmod b 0 , chmod c 0200
	RECHECK=no
	union_remount
	f stat a size 3000000 mode 0 , rename a a2 , chmod a2 0600 , open r a2 r , check r 0 3000000 d
	f chmod b 0600 , open w b rw , pwrite w 0 X , check w 1 2999999 d
	f chmod c2 0600 , open r c2 r , check r 0 3000000 d
}

@test "userxattr: plyfs has metacopy there too; the kernel has not, and takes the upper once the data are brought" {
	need_root
	big "$L/f"; big "$L/g"
	if [ "$PLY_TARGET" = overlayfs ]; then
		! union_mount userxattr,metacopy=on || fail "the kernel has learnt it: say so in plyfs(8)"
		return 0
	fi
	RECHECK=no
	union_mount userxattr,metacopy=on
	f chmod f 0600 , chmod g 0640
	has_xattr "$U/f" user.overlay.metacopy
	union_remount userxattr
	f stat f size 3000000 mode 600 , open r f r , check r 0 3000000 d
	if grep -qw overlay /proc/filesystems; then
		union_umount
		PLY_TARGET=overlayfs union_mount userxattr
		f '!EPERM' open r f r
		umount -i "$M"
		union_mount userxattr
	fi
	f open w f rw , open w2 g rw
	no_xattr "$U/f" user.overlay.metacopy
	if grep -qw overlay /proc/filesystems; then
		union_umount
		PLY_TARGET=overlayfs union_mount userxattr
		f stat f size 3000000 mode 600 , open r f r , check r 0 3000000 d , stat g mode 640 , open r g r , check r 0 3000000 d
		umount -i "$M"
		union_mount userxattr
	fi
	f stat f size 3000000 mode 600 , open r f r , check r 0 3000000 d
}

@test "an empty metacopy, as a crash or the kernel leaves it: what is written stays" {
	big "$L/f"; put "$L/g" 'lower'
	put "$U/f" ''; put "$U/g" ''; : >"$U/f"; : >"$U/g"
	xattr "$U/f" "$OVL.metacopy" ''; xattr "$U/g" "$OVL.metacopy" ''
	plyfs_only "overlayfs shows the lower's data"
	union_mount
	f stat f size 0 , open w f w+append , write w new , fsync w , open w g w+trunc , write w other
	says "$M/f" new
	union_remount
	says "$M/f" new; says "$M/g" other
	no_xattr "$U/f" "$OVL.metacopy"
}
