#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns asan
# timeout: 900
#
# The daemon on kernels and filesystems that lack something: tests/mask/mask.h answers its system calls as they would.

load lib/common

prepare()
{
	LAYERS=("$L" "$L2")
	PLY_REAL=$PLYFS
	echo one >"$L/a"
	ln "$L/a" "$L/a2"
	mkdir -p "$L/d" "$L2/d/sub"
	echo x >"$L/d/x"
	echo y >"$L2/d/y"
	echo z >"$L2/d/sub/z"
	echo two >"$L2/b"
	ln -s /etc/passwd "$L/s"
	head -c 300000 /dev/zero | tr '\0' q >"$L2/big"
	chmod 755 "$L2/big"
}

# masked WORDS: from now on the daemon runs so
masked()
{
	cat >"$R/plyfs" <<-END
		#!/bin/sh
		exec "$PLY_BUILDDIR/tests/tools/mask" "$1" "$PLY_REAL" "\$@"
	END
	chmod +x "$R/plyfs"
	PLYFS=$R/plyfs
}

# Something of everything that has another way.
work()
{
	echo more >>"$M/a"
	[ "$(cat "$M/a")" = "one
more" ]
	rm "$M/b"
	[ ! -e "$M/b" ]
	echo new >"$M/b"
	[ "$(cat "$M/b")" = new ]
	mv "$M/d" "$M/e"
	[ "$(cat "$M/e/x" "$M/e/y" "$M/e/sub/z")" = "x
y
z" ]
	[ ! -e "$M/d" ]
	mkdir "$M/d"
	[ -z "$(ls -A "$M/d")" ]
	rmdir "$M/d"
	[ "$(readlink "$M/s")" = /etc/passwd ]
	# user.* attributes are not for symlinks: there is no place for where a copied-up one comes from
	[ "$OVL" = user.overlay ] || touch -h -d @1000 "$M/s"
	chmod 700 "$M/big"
	[ "$(head -c 300000 /dev/zero | tr '\0' q | cksum)" = "$(cksum <"$M/big")" ]
	mkdir "$M/n"
	echo k >"$M/n/k"
	mv "$M/n/k" "$M/k"
	rm -r "$M/n"
	# a directory over one that is empty but for whiteouts
	mkdir "$M/over"
	echo o >"$M/over/o"
	rm "$M/e/sub/z"
	"$FSOP" rename "$M/over" "$M/e/sub"
	[ "$(ls -A "$M/e/sub")" = o ]
	rm -r "$M/e"
	mkdir "$M/e"
	[ -z "$(ls -A "$M/e")" ]
}

# try WORDS: all of it, and the tree after a remount; with "-" the numbers of inodes may be other ones
try()
{
	local flags=-u
	if [ "${2:-}" = - ]; then
		RECHECK=no
	else
		flags='-u -i'
	fi
	masked "$1"
	union_mount
	work
	# shellcheck disable=SC2086
	"$TREESUM" $flags "$M" >"$R/before"
	union_remount
	# shellcheck disable=SC2086
	"$TREESUM" $flags "$M" | diff "$R/before" -
}

@test "the mask itself: unknown words end it" {
	run "$PLY_BUILDDIR/tests/tools/mask" no-such-word true
	[ "$status" = 125 ]
	run "$PLY_BUILDDIR/tests/tools/mask" openat2 true
	[ "$status" = 0 ]
}

@test "nothing lacks" { try uuid; }
@test "no openat2, fchmodat2, *xattrat, statx: an old kernel" { try openat2,fchmodat2,xattrat,statx,utimens-empty,link-empty; }
@test "no new mount API" { try mountapi; }
@test "no read-only clones" { try clone; }
@test "no passthrough" { try passthrough; }
@test "no O_TMPFILE" { try tmpfile; }
@test "no hard links" { try link -; }
@test "no reflinks, no copy_file_range, no fallocate" { try copy-range,reflink,fallocate; }
@test "no rename flags" { try rename-flags; }
@test "no RENAME_EXCHANGE" { try rename-exchange; }
@test "no RENAME_WHITEOUT" { try rename-whiteout; }
@test "no file handles" {
	# Without an index a copied-up name of a hard link is a file of its own after a remount.
	rm "$L/a2"
	try handles
}
@test "file handles that cannot be opened" { try open-handles; }
@test "no character device for whiteouts" { try whiteout; }
@test "no extended attributes" { try xattr -; }
@test "no extended attributes, no device: AUFS's whiteouts" { try xattr,mknod -; }
@test "no flock" { try flock; }

# uuid_on TYPE SIZE: the kernel's overlayfs compares the uuid in what is noted of upper and of the origins with the filesystem's
uuid_on()
{
	need_kernel_overlay
	fs_loop "$T/disk" "$1" "$2" -q
	mkdir "$T/disk/l" "$T/disk/u" "$T/disk/w"
	cp -a "$L/." "$T/disk/l/"
	LAYERS=("$T/disk/l") UPPER=$T/disk/u WORK=$T/disk/w
	masked uuid
	union_mount index=on
	echo more >>"$M/a2"
	union_umount
	mount -i -t overlay overlay -o "lowerdir=$T/disk/l,upperdir=$T/disk/u,workdir=$T/disk/w,index=on" "$M"
	says "$M/a" "one
more
"
	f stat a same a2
	umount "$M"
	RECHECK=no
}

@test "no FS_IOC_GETFSUUID: the kernel takes ext4 with our index" { uuid_on ext4 64M; }
@test "no FS_IOC_GETFSUUID: the kernel takes xfs with our index" { uuid_on xfs 320M; }
@test "no FS_IOC_GETFSUUID: the kernel takes btrfs with our index" { uuid_on btrfs 200M; }

# Nor is there another way to ask for the uuid: what the kernel has noted tells it.
@test "no FS_IOC_GETFSUUID, on tmpfs: the kernel takes our index, we take the kernel's" {
	local opts
	need_kernel_overlay
	fs_tmpfs "$T/disk" size=16m
	mkdir "$T/disk/l" "$T/disk/u" "$T/disk/w"
	cp -a "$L/." "$T/disk/l/"
	ln "$T/disk/l/d/x" "$T/disk/l/f2"
	LAYERS=("$T/disk/l") UPPER=$T/disk/u WORK=$T/disk/w
	opts=lowerdir=$T/disk/l,upperdir=$T/disk/u,workdir=$T/disk/w,index=on
	masked uuid
	union_mount index=on
	echo more >>"$M/a2"
	says "$M/a" "one
more
"
	union_umount
	mount -i -t overlay overlay -o "$opts" "$M"
	says "$M/a2" "one
more
"
	echo more >>"$M/f2"
	umount "$M"
	union_mount index=on
	says "$M/d/x" "$(cat "$M/f2")
"
	f stat d/x same f2
	f chmod d/x 0600 , stat f2 mode 600
	union_umount
	mount -i -t overlay overlay -o "$opts" "$M"
	f stat d/x same f2 , stat f2 mode 600
	umount "$M"
	RECHECK=no
}
