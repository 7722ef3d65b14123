#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs nopassthrough asan
# timeout: 900
#
# The same day's work with layers on ext4, xfs, btrfs, tmpfs and squashfs, in several arrangements.

load lib/common

fill()
{
	put "$1/d/f" "lower file"; put "$1/d/sub/g" deep; put "$1/a" A; ln "$1/a" "$1/b"; ln -s a "$1/s"; mkfifo "$1/p"; put "$1/gone" x; put "$1/dir/old" y
	chmod 4755 "$1/a"; chown 3:4 "$1/d/f"
	truncate -s 2M "$1/sparse"; printf end >>"$1/sparse"
}

work()
{
	f open w d/f rw , pwrite w 0 LOWER , fsync w , mmap m w 0 4096 rw shared , mwrite m 5 _ , msync m , pread w 0 10 LOWER_file , chmod a 0600 , stat b mode 600 same a , open h b w+append , write h B , unlink gone \
		, rename d/sub up , mkdir d/sub , ls d/sub '' , ls up g , symlink t new , mknod q p 0600 , open t . rw+tmpfile , write t tmp , link @t tmp , rename p d/p , truncate sparse 10 , utime s 5 6 , stat s mtime 6.000000000 , lscheck . , lscheck d
	rm -rf "$M/dir"
	mkdir "$M/dir"
	f ls dir '' , setx d user.k v , getx d user.k v , rename a c exchange || f rename a c
	says "$M/b" AB
	f open w fall rw+creat , fallocate w alloc 0 100000 , fill w 0 100000 x , fallocate w punch 8192 8192 , check w 8192 8192 '\0' , check w 16384 83616 x , lseek w 0 data , copy w 0 w 200000 5000 , check w 200000 5000 x
	union_remount
	says "$M/b" AB; says "$M/tmp" tmp; says "$M/up/g" deep; says "$M/d/f" 'LOWER_file'
	f ls dir '' , ls d/sub '' , '!ENOENT' stat gone , stat s mtime 6.000000000 , stat c same b nlink 2 , lscheck . , lscheck d , getx d user.k v
}

upper_on()
{
	mkdir "$1/u" "$1/w"
	UPPER=$1/u WORK=$1/w
}

@test "all on xfs" {
	fs_loop "$T/fs" xfs 320M -q
	mkdir "$T/fs/l"; LAYERS=("$T/fs/l"); fill "$T/fs/l"; upper_on "$T/fs"
	union_mount
	work
}

@test "all on btrfs" {
	fs_loop "$T/fs" btrfs 128M -q
	mkdir "$T/fs/l"; LAYERS=("$T/fs/l"); fill "$T/fs/l"; upper_on "$T/fs"
	union_mount
	work
}

@test "all on ext4" {
	fs_loop "$T/fs" ext4 64M -q
	mkdir "$T/fs/l"; LAYERS=("$T/fs/l"); fill "$T/fs/l"; upper_on "$T/fs"
	union_mount
	work
}

@test "all on tmpfs" {
	fs_tmpfs "$T/fs"
	mkdir "$T/fs/l"; LAYERS=("$T/fs/l"); fill "$T/fs/l"; upper_on "$T/fs"
	"$FSOP" setx "$UPPER" user.probe 1 || skip "tmpfs without user xattrs"
	"$FSOP" rmx "$UPPER" user.probe
	union_mount
	work
}

@test "lower on xfs, upper on btrfs" {
	fs_loop "$T/a" xfs 320M -q
	fs_loop "$T/b" btrfs 128M -q
	mkdir "$T/a/l"; LAYERS=("$T/a/l"); fill "$T/a/l"; upper_on "$T/b"
	union_mount
	work
}

@test "lower on this disk, upper on tmpfs" {
	fs_tmpfs "$T/b"
	fill "$L"; upper_on "$T/b"
	"$FSOP" setx "$UPPER" user.probe 1 || skip "tmpfs without user xattrs"
	"$FSOP" rmx "$UPPER" user.probe
	union_mount
	work
}

@test "a lower mounted read-only" {
	fs_loop "$T/a" ext4 64M -q
	fill "$T/a"
	mount -o remount,ro "$T/a"
	LAYERS=("$T/a")
	union_mount
	rmdir "$M/lost+found"
	work
}

@test "a squashfs lower" {
	command -v mksquashfs >/dev/null && grep -qw squashfs /proc/filesystems || skip "no squashfs"
	fill "$T/src"
	mksquashfs "$T/src" "$T/img" -noappend -quiet -no-progress >/dev/null
	mkdir "$T/sq"
	mount -o loop "$T/img" "$T/sq" || skip "no loop devices"
	echo "$T/sq" >>"$R/extra"
	LAYERS=("$T/sq")
	union_mount
	work
}

@test "two lowers on two filesystems, upper on a third" {
	fs_loop "$T/a" xfs 320M -q
	fs_tmpfs "$T/b"
	mkdir "$T/a/l" "$T/b/l"
	fill "$T/a/l"; put "$T/b/l/d/tmpfile" tmpfs; put "$T/b/l/only/here" x
	LAYERS=("$T/b/l" "$T/a/l")
	union_mount
	says "$M/d/tmpfile" tmpfs
	f lscheck d , lscheck only
	work
}

@test "reflinks: a copy-up on a filesystem that has them takes no space" {
	fs_loop "$T/fs" btrfs 200M -q
	mkdir "$T/fs/l"; LAYERS=("$T/fs/l"); upper_on "$T/fs"
	head -c 60M /dev/urandom >"$T/fs/l/big"
	sync -f "$T/fs"
	before=$(df --output=used -B1 "$T/fs" | tail -n 1)
	union_mount
	f open w big w , pwrite w 5m X
	cmp -n $((5 << 20)) "$T/fs/l/big" "$M/big"
	sync -f "$T/fs"
	after=$(df --output=used -B1 "$T/fs" | tail -n 1)
	[ $((after - before)) -lt $((30 << 20)) ]
}

@test "a lower without file handles or uuid: overlayfs as a lower" {
	mkdir "$T/ov" "$T/ou" "$T/ow"
	fill "$L2"
	mount -t overlay overlay -o "lowerdir=$L2,upperdir=$T/ou,workdir=$T/ow" "$T/ov" || skip "no overlayfs"
	echo "$T/ov" >>"$R/extra"
	LAYERS=("$T/ov")
	RECHECK=no # hard links need file handles
	union_mount
	f open w d/f rw , pwrite w 0 LOWER , unlink gone , rename d d2 , ls d2 'f sub' , mkdir d , ls d '' , lscheck .
	union_remount
	says "$M/d2/f" 'LOWER file'
	f ls d '' , '!ENOENT' stat gone
}

@test "vfat as a lower: read, changed, deleted, renamed; the FAT is as it was" {
	plyfs_only "the kernel's overlayfs refuses it"
	need_root
	fs_loop "$T/fat" vfat 16M
	mkdir -p "$T/fat/l/d/e"; echo one >"$T/fat/l/d/f"; echo two >"$T/fat/l/g"; dd if=/dev/urandom of="$T/fat/l/big" bs=64k count=20 status=none
	LAYERS=("$T/fat/l")
	union_mount
	says "$M/d/f" "one
"
	cmp "$T/fat/l/big" "$M/big"
	f open w g w+append , write w more , chmod d/f 0600 , unlink big , rename d d2 , symlink x s , link g h , stat g nlink 2 same h , setx g user.k v
	union_remount
	f '!ENOENT' stat d , '!ENOENT' stat big , stat d2/f mode 600 , getx h user.k v
	says "$M/h" "two
more"
}

@test "vfat as the upper: names and data hold, of what FAT can store" {
	plyfs_only "the kernel's overlayfs refuses it"
	need_root
	fs_loop "$T/fat" vfat 16M
	mkdir "$T/fat/u" "$T/fat/w"; UPPER=$T/fat/u WORK=$T/fat/w
	put "$L/d/f" one; put "$L/g" two
	# times of two seconds, numbers that change with the mount
	RECHECK=no
	union_mount
	echo new >"$M/new"; echo more >>"$M/g"
	rm "$M/d/f"; mv "$M/new" "$M/newer"; mkdir "$M/dir"; mv "$M/dir" "$M/dir2"
	union_remount
	absent "$M/d/f" "$M/new" "$M/dir"
	says "$M/g" "twomore
"
	says "$M/newer" "new
"
	[ -d "$M/dir2" ] && [ -z "$(ls -A "$M/d")" ]
}
