#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Reading a union: lookup, stat, listing, layer order, and what a read-only union refuses.

load lib/common

@test "the first layer wins, directories merge, a non-directory stops merging" {
	LAYERS=("$L" "$L2" "$L3")
	put "$L/d/a" top; put "$L2/d/a" middle; put "$L2/d/b" middle; put "$L3/d/c" bottom
	put "$L/x" file; put "$L2/x/under" hidden
	put "$L2/y" stop; put "$L3/y/under" hidden; put "$U/d/u" upper
	mkdir "$L/y"; put "$L/y/seen" yes
	union_mount
	says "$M/d/a" top; says "$M/d/b" middle; says "$M/d/c" bottom; says "$M/d/u" upper
	says "$M/x" file
	f ls d 'a b c u' , ls y seen , ls . 'd x y' , '!ENOENT' stat y/under , '!ENOTDIR' stat x/under
}

@test "one lower alone, without upper: reads work, every change is EROFS" {
	if [ "$PLY_TARGET" = overlayfs ]; then LAYERS+=("$L2"); fi # which wants two
	put "$L/d/f" data; ln -s f "$L/d/s"; UPPER=
	union_mount
	says "$M/d/f" data
	f '!EROFS' open w d/f w , '!EROFS' mkdir new , '!EROFS' unlink d/f , '!EROFS' rename d/f g , '!EROFS' chmod d/f 0600 \
		, '!EROFS' truncate d/f 0 , '!EROFS' symlink a b , '!EROFS' link d/f g , '!EROFS' setx d/f user.a b \
		, '!EROFS' access d/f w , access d/f r , readlink d/s f
}

@test "three lowers without upper" {
	LAYERS=("$L" "$L2" "$L3"); UPPER=
	put "$L/a" 1; put "$L2/a" 2; put "$L3/a" 3; put "$L2/d/b" 2; put "$L3/d/c" 3; whiteout "$L/w"; put "$L2/w" gone
	union_mount
	says "$M/a" 1
	f ls . 'a d' , ls d 'b c'
}

@test "stat shows the layer's attributes" {
	put "$L/f" 12345; chmod 640 "$L/f"; ln "$L/f" "$L/g"; ln -s target "$L/s"; mkfifo -m 600 "$L/p"; mkdir -m 1771 "$L/d"
	"$FSOP" utime "$L/f" 1000000001.123456789 1000000002.987654321 , utime "$L/d" 11.5 12.000000005 , bind s "$L/sock"
	union_mount
	f stat f type f mode 640 size 5 nlink 2 atime 1000000001.123456789 mtime 1000000002.987654321 same g \
		, stat s type l size 6 , stat p type p mode 600 , stat d type d mode 1771 mtime 12.000000005 , stat sock type s
}

@test "device nodes of a lower layer show their number" {
	need_root
	mknod -m 666 "$L/null" c 1 3; mknod -m 600 "$L/blk" b 7 200
	union_mount
	f stat null type c rdev 1:3 mode 666 , stat blk type b rdev 7:200
	echo data >"$M/null"
	f open z null r , pread z 0 10 ''
}

@test "listing: d_type, d_ino, no doubles; everywhere in the tree" {
	LAYERS=("$L" "$L2")
	put "$L/d/f" x; ln -s f "$L/d/s"; mkfifo "$L/d/p"; mkdir "$L/d/dd"; put "$L2/d/f" y; put "$L2/d/g" z
	ln "$L/d/f" "$L/d/hard"; put "$L2/only/f" x
	union_mount
	echo w >"$M/d/h"
	f lscheck . , lscheck d , lscheck only , lscheck d/dd
	# and again from whatever is cached
	f lscheck . , lscheck d , lscheck only , lscheck d/dd
	[ "$(ls "$M/d" | sort | tr '\n' ' ')" = 'dd f g h hard p s ' ]
	[ "$(find "$M" -type f | wc -l)" = 5 ]
}

@test "listing after copy-up keeps d_ino = st_ino" {
	put "$L/d/f" x; put "$L/d/g" y
	union_mount
	f lscheck d , open w d/f w+append , write w more , lscheck d , chmod d 0700 , lscheck . , lscheck d
	union_remount
	f lscheck . , lscheck d
}

@test "listing: d_ino where upper was made by hand, without origin and impure marks" {
	plyfs_only "overlayfs lists other numbers than it stats there"
	put "$L/d/f" x; put "$L/e/g" x; put "$U/d/h" w; put "$U/e/g" y
	union_mount
	f lscheck . , lscheck d , lscheck e
	union_remount
	f lscheck . , lscheck d , lscheck e
}

@test "seekdir goes on after every cookie, merged and plain directories" {
	LAYERS=("$L" "$L2")
	mkdir "$L/d" "$L2/d" "$L/p"
	"$FSOP" mkmany "$L/d" one- 100 , mkmany "$L2/d" two- 100 , mkmany "$L/p" plain- 100
	union_mount
	f seekcheck d , seekcheck p , mkmany d new- 50 , seekcheck d , seekcheck .
}

@test "rewinddir sees what was made since" {
	put "$L/d/a" x
	union_mount
	f opendir d d , readdir d end , mkdir d/new , rewinddir d , ls @d 'a new'
}

@test "symlinks resolve inside the union, a long target too" {
	put "$L/real/f" data; ln -s real "$L/link"; ln -s ../real/f "$L/real/up"; ln -s "$(printf 'x%.0s' {1..4000})" "$L/long"
	union_mount
	says "$M/link/f" data; says "$M/real/up" data
	f readlink long "$(printf 'x%.0s' {1..4000})" , stat long size 4000 , '!ENAMETOOLONG' open r long r
}

@test "absent names stay absent until they are made" {
	mkdir "$L/d"
	union_mount
	f '!ENOENT' stat d/x , '!ENOENT' stat d/x , open w d/x w+creat , stat d/x type f , unlink d/x , '!ENOENT' stat d/x \
		, mkdir d/x , stat d/x type d
}

@test "access, execute, and running a program from a layer" {
	printf '#!/bin/sh\necho ran "$1"\n' >"$L/prog"; chmod 755 "$L/prog"; put "$L/data" x; chmod 644 "$L/data"
	cp "$(type -P true)" "$L/true"
	union_mount
	[ "$("$M/prog" me)" = 'ran me' ]
	"$M/true"
	f access prog x , access data r+w
	need_root
	f user 12345 12345 , '!EACCES' access data w , '!EACCES' access data x , access prog r+x
}

@test "statfs shows the upper's filesystem" {
	union_mount
	"$FSOP" statfs "$M" "$U"
	[ "$PLY_TARGET" = overlayfs ] || [ "$(stat -f -c %t "$M")" = 65735546 ]
}

@test "one st_dev for everything" {
	fs_tmpfs "$L2"
	LAYERS=("$L" "$L2")
	put "$L/d/f" x; put "$L2/e/g" y; put "$L2/d/h" z; put "$U/u" w
	union_mount
	[ "$(find "$M" -printf '%D\n' | sort -u | wc -l)" = 1 ]
}

@test "a deep tree and a wide one read as they are" {
	LAYERS=("$L" "$L2")
	for i in {1..40}; do mkdir -p "$L/$(seq -s/ 1 "$i")"; done
	put "$L2/$(seq -s/ 1 40)/leaf" deep; mkdir "$L2/wide"
	"$FSOP" mkmany "$L2/wide" n 3000
	union_mount
	says "$M/$(seq -s/ 1 40)/leaf" deep
	[ "$(ls "$M/wide" | wc -l)" = 3000 ]
	f statmany wide n 3000
	says "$M/wide/n1234" n1234
}

@test "fifteen layers, one name in each" {
	LAYERS=()
	for i in {1..15}; do put "$T/l$i/d/n$i" "$i"; put "$T/l$i/d/common" "$i"; LAYERS+=("$T/l$i"); done
	union_mount
	[ "$(ls "$M/d" | wc -l)" = 16 ]
	says "$M/d/common" 1; says "$M/d/n15" 15; says "$M/d/n7" 7
}

@test "five hundred layers" {
	# as containers/storage does: a short relative name each, and the daemon started beside them
	plyfs_only "mount(2) takes one page of options"
	RECHECK=no
	for i in {1..500}; do mkdir -p "$T/l/$i/d"; echo "$i" >"$T/l/$i/d/n$i"; done
	echo first >"$T/l/1/d/f"; echo last >"$T/l/500/d/f"
	mount_opts "$M" "lowerdir=$(join : "$T"/l/*),upperdir=$U,workdir=$W$(suite_options '')"
	[ "$(ls "$M/d" | wc -l)" = 501 ]
	says "$M/d/f" "first
"
	says "$M/d/n250" "250
"
	f mkdir d/new , ls d/new ''
}
