#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# chmod, chown, utimensat on every type of file, in lower and upper; what a copy-up must bring along.

load lib/common

# one object of every type an ordinary user can make, below $1
types()
{
	mkdir -p "$1/dir"; put "$1/file" data; mkfifo "$1/fifo"; ln -s nowhere "$1/link"
	"$FSOP" bind s "$1/sock"
}

devices()
{
	mknod -m 644 "$1/chr" c 1 3; mknod -m 644 "$1/blk" b 7 200
}

@test "chmod on every type, in lower and in upper" {
	types "$L/low"; types "$U/up"
	union_mount
	for d in low up; do
		f chmod $d/dir 01750 , stat $d/dir mode 1750 , chmod $d/file 04711 , stat $d/file mode 4711 , chmod $d/fifo 0611 , stat $d/fifo mode 611 \
			, chmod $d/sock 0600 , stat $d/sock mode 600 , now $d/file ctime
	done
	says "$M/low/file" data
	union_remount
	f stat low/dir mode 1750 , stat low/file mode 4711 , stat low/fifo mode 611 , stat low/sock mode 600 type s
}

@test "utimensat with nanoseconds on every type" {
	types "$L/low"; types "$U/up"
	union_mount
	for d in low up; do
		for n in dir file fifo sock link; do
			f utime $d/$n 1000000000.111111111 1000000001.222222222 , stat $d/$n atime 1000000000.111111111 mtime 1000000001.222222222
		done
	done
	union_remount
	for n in dir file fifo sock link; do f stat low/$n mtime 1000000001.222222222; done
}

@test "UTIME_NOW and UTIME_OMIT, before the epoch, far in the future" {
	types "$L"
	"$FSOP" utime "$L/file" 7 8.5
	union_mount
	f utime file omit 9.000000001 , stat file atime 7.000000000 mtime 9.000000001 , utime file now omit , now file atime , stat file mtime 9.000000001 \
		, utime file omit now , now file mtime , utime file omit omit , utime file 5 -100 , stat file mtime -100.000000000 , utime file 5 4000000000 , stat file mtime 4000000000.000000000 \
		, open r file r , utime @r 3 4 , stat file mtime 4.000000000
}

@test "chown on every type, symlinks too; data stays" {
	need_root
	types "$L/low"; types "$U/up"; devices "$L/low"; devices "$U/up"
	union_mount
	for d in low up; do
		for n in dir file fifo sock link chr blk; do
			f chown $d/$n 1001 1002 , stat $d/$n uid 1001 gid 1002 , chown $d/$n -1 1003 , stat $d/$n uid 1001 gid 1003 , chown $d/$n 1004 -1 , stat $d/$n uid 1004 gid 1003
		done
	done
	says "$M/low/file" data
	union_remount
	for n in dir file fifo sock link chr blk; do f stat low/$n uid 1004 gid 1003; done
	f stat low/chr type c rdev 1:3 , stat low/blk type b rdev 7:200
}

@test "chown inside the ids we have" {
	[ "$PLY_SUITE" != plainuser ] || skip "only root chowns"
	types "$L/low"
	union_mount
	f chown low/file 1001 1002 , stat low/file uid 1001 gid 1002 , chown low/link 5 6 , stat low/link uid 5 gid 6
}

@test "device nodes: chmod, utime, rename, unlink in lower" {
	need_root
	devices "$L"; mknod "$L/gone" c 5 6; mknod "$L/tomove" b 5 6
	union_mount
	f chmod chr 0666 , stat chr mode 666 rdev 1:3 , utime blk 3 4 , stat blk mtime 4.000000000 rdev 7:200 , unlink gone , '!ENOENT' stat gone , rename tomove moved , stat moved type b rdev 5:6
	is_whiteout "$U/gone"
	echo x >"$M/chr"
}

@test "copy-up by write keeps owner, mode, times of the rest, xattrs" {
	put "$L/d/f" data; chmod 750 "$L/d/f"; chmod 711 "$L/d"; xattr "$L/d/f" user.a 1; xattr "$L/d" user.b 2
	"$FSOP" utime "$L/d/f" 100 200.123456789 , utime "$L/d" 300 400.987654321
	if [ "$PLY_SUITE" = normal ] || [ "$PLY_SUITE" = overlayfs ]; then chown 1001:1002 "$L/d/f"; chown 1003:1004 "$L/d"; fi
	union_mount
	before=$(stat -c '%a %u %g %s %Y' "$M/d/f" "$M/d")
	f open w d/f w , stat d/f mtime 200.123456789 , getx d/f user.a 1 , getx d user.b 2 , stat d mtime 400.987654321
	[ "$(stat -c '%a %u %g %s %Y' "$M/d/f" "$M/d")" = "$before" ]
	[ "$(stat -c '%a %u %g %s %Y' "$U/d/f" "$U/d")" = "$before" ]
}

@test "copy-up by rename of symlinks, fifos and sockets keeps owner and times" {
	types "$L"
	for n in fifo link sock; do "$FSOP" utime "$L/$n" 100 200.000000300; done
	if [ "$PLY_SUITE" = normal ] || [ "$PLY_SUITE" = overlayfs ]; then chown -h 1001:1002 "$L/link" "$L/fifo"; fi
	union_mount
	owner=$(stat -c %u:%g "$M/link" "$M/fifo")
	f rename link link2 , rename fifo fifo2 , rename sock sock2 , stat link2 type l mtime 200.000000300 , readlink link2 nowhere \
		, stat fifo2 type p mtime 200.000000300 , stat sock2 type s mtime 200.000000300
	[ "$(stat -c %u:%g "$M/link2" "$M/fifo2")" = "$owner" ]
}

@test "a metadata change leaves mtime alone and moves ctime" {
	put "$L/f" data
	"$FSOP" utime "$L/f" 5 6.000000007
	union_mount
	f chmod f 0600 , stat f mtime 6.000000007 , now f ctime , setx f user.a b , stat f mtime 6.000000007
}

@test "a metadata change is seen on a handle opened before, and the other way round" {
	put "$L/f" data
	union_mount
	f open r f r , chmod f 0611 , stat @r mode 611 , chmod @r 0622 , stat f mode 622 , utime @r 3 4 , stat f mtime 4.000000000 , open w f rw , chmod @w 0644 , stat @r mode 644 , stat @w mode 644
}

@test "the root of the union: chmod, utime, xattr" {
	mkdir "$L/d"
	union_mount
	f chmod . 0711 , stat . mode 711 , utime . 5 6.000000001 , stat . mtime 6.000000001 , setx . user.root yes , getx . user.root yes
	union_remount
	f stat . mode 711 , getx . user.root yes
}

@test "the root shows the upper's attributes" {
	chmod 701 "$U"; chmod 755 "$L"
	union_mount
	f stat . mode 701 type d
}

@test "st_nlink of directories never lies for find" {
	mkdir -p "$L/d/a/b" "$U/d/c"; put "$L/d/a/b/f" x
	union_mount
	[ "$(find "$M" -type f)" = "$M/d/a/b/f" ]
	[ "$(find "$M" -type d | wc -l)" = 5 ]
}

@test "st_blocks and st_size of lower, upper and copied-up files agree with the layer" {
	head -c 100000 /dev/urandom >"$L/f"; head -c 50000 /dev/urandom >"$U/g"
	union_mount
	[ "$(field s "$M/f") $(field b "$M/f")" = "$(field s "$L/f") $(field b "$L/f")" ]
	[ "$(field s "$M/g") $(field b "$M/g")" = "$(field s "$U/g") $(field b "$U/g")" ]
}

@test "the error of a denied change is the right one" {
	need_root
	put "$L/f" x; mkdir "$L/d"; chmod 700 "$L/d"; put "$L/d/f" x
	union_mount
	f user 1000 1000 , '!EPERM' chmod f 0777 , '!EPERM' chown f 1000 1000 , '!EPERM' utime f 5 6 , '!EACCES' utime f now now , '!EACCES' stat d/f , '!EACCES' truncate f 0
	absent "$U/f"
}
