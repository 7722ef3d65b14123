#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Every form of whiteout and of opaque directory that layers hold is read; the kernel's is written; none is ever shown.

load lib/common

prepare()
{
	LAYERS=("$L" "$L2")
}

@test "whiteouts by character device hide files, directories and symlinks" {
	put "$L2/f" x; put "$L2/d/g" y; ln -s f "$L2/s"; put "$L2/sub/h" z; put "$L2/sub/keep" k
	whiteout "$L/f"; whiteout "$L/d"; whiteout "$L/s"; whiteout "$L/sub/h"; whiteout "$L/nothing"
	union_mount
	f ls . sub , ls sub keep , '!ENOENT' stat f , '!ENOENT' stat d , '!ENOENT' stat d/g , '!ENOENT' readlink s x , '!ENOENT' stat sub/h , '!ENOENT' stat nothing , '!ENOENT' unlink f , '!ENOENT' rename f g
}

@test "whiteouts in upper hide the lowers" {
	put "$L/a" 1; put "$L2/b" 2; put "$L2/d/c" 3
	whiteout "$U/a"; whiteout "$U/b"; whiteout "$U/d/c"
	union_mount
	f ls . d , ls d '' , rmdir d , ls . ''
}

@test "a whiteout in the middle layer hides only what is below it" {
	LAYERS=("$L" "$L2" "$L3")
	put "$L/d/f" top; whiteout "$L2/d/f"; put "$L3/d/f" bottom; whiteout "$L2/d/g"; put "$L3/d/g" bottom; whiteout "$L2/e"; put "$L/e/new" 1; put "$L3/e/old" 2
	union_mount
	says "$M/d/f" top
	f ls d f , ls e new , '!ENOENT' stat e/old
}

@test "whiteouts by xattr, in a directory that says so (opaque=x)" {
	put "$L2/d/f" x; put "$L2/d/g" y; put "$L2/d/h" z
	mkdir "$L/d"; : >"$L/d/f"; : >"$L/d/g"; xattr "$L/d" "$OVL.opaque" x; xattr "$L/d/f" "$OVL.whiteout" y
	union_mount
	# g has no mark: an empty file; what is not a whiteout merges
	f ls d 'g h' , '!ENOENT' stat d/f , stat d/g size 0 , open w d/f w+creat+excl , write w new , ls d 'f g h' , unlink d/f , ls d 'g h'
	union_remount
	f ls d 'g h' , '!ENOENT' stat d/f
}

@test "an xattr whiteout without its directory's mark is a plain file, and so is one with content" {
	[ "$PLY_TARGET" = plyfs ] || skip "not said by the kernel's documentation for every version"
	mkdir "$L/d"; put "$L/d/f" content; xattr "$L/d" "$OVL.opaque" x; xattr "$L/d/f" "$OVL.whiteout" y
	union_mount
	says "$M/d/f" content
}

@test "AUFS whiteouts: .wh.NAME hides and is hidden" {
	plyfs_only "AUFS forms"
	put "$L2/f" x; put "$L2/d/g" y; put "$L2/d/keep" k; put "$L2/e/h" z
	: >"$L/.wh.f"; mkdir "$L/d"; : >"$L/d/.wh.g"; : >"$L/.wh.e"; put "$L/new" n
	union_mount
	f ls . 'd new' , ls d keep , '!ENOENT' stat f , '!ENOENT' stat .wh.f , '!ENOENT' stat d/.wh.g , '!ENOENT' stat d/g , '!ENOENT' stat e/h , '!ENOENT' unlink .wh.f
	f open w f w+creat+excl , write w new , mkdir e , ls e '' , ls . 'd e f new'
	union_remount
	says "$M/f" new
	f ls e '' , rmdir e , ls . 'd f new'
}

@test "AUFS opaque directories: .wh..wh..opq hides what is below and is hidden" {
	plyfs_only "AUFS forms"
	put "$L2/d/old" x; mkdir "$L/d"; put "$L/d/new" y; : >"$L/d/.wh..wh..opq"
	union_mount
	f ls d new , '!ENOENT' stat d/old , '!ENOENT' stat d/.wh..wh..opq , open w d/more w+creat , ls d 'more new'
	union_remount
	f ls d 'more new' , '!ENOENT' stat d/old
	rm -rf "$M/d"
	f ls . ''
}

@test "AUFS whiteout and a file of the same name in one layer: the file is there, what is below is not" {
	plyfs_only "AUFS forms"
	put "$L2/d/old" x; put "$L2/f" old; mkdir "$L/d"; : >"$L/.wh.d"; put "$L/f" new; : >"$L/.wh.f"; put "$L/d/new" y
	union_mount
	says "$M/f" new
	f ls d new
}

@test "opaque directories: trusted and user name space, fuse-overlayfs' mark" {
	for n in a b c d; do put "$L2/$n/old" x; put "$L/$n/new" y; done
	xattr "$L/a" "$OVL.opaque" y
	union_mount
	f ls a new , '!ENOENT' stat a/old
	union_umount
	plyfs_only "the kernel reads one name space"
	xattr "$L/b" user.overlay.opaque y; xattr "$L/c" user.fuseoverlayfs.opaque y
	lower_changed
	union_mount
	f ls a new , ls b new , ls c new , ls d 'new old' , listx a '' , listx c ''
}

@test "an opaque mark of another value does not hide" {
	put "$L2/d/old" x; put "$L/d/new" y; xattr "$L/d" "$OVL.opaque" n
	union_mount
	f ls d 'new old'
}

@test "what is written: a character device 0/0, and an opaque mark" {
	put "$L/f" x; put "$L2/d/g" y; mkdir "$L/emptydir"
	union_mount
	f unlink f , unlink d/g , rmdir emptydir , rmdir d , mkdir d
	union_umount
	is_whiteout "$U/f"; is_whiteout "$U/emptydir"
	has_xattr "$U/d" "$OVL.opaque" y
	[ "$(ls -A "$U")" = "d
emptydir
f" ]
	union_mount
	f ls . d , ls d ''
}

@test "no whiteout is left for what was only in upper" {
	put "$U/f" x; mkdir "$L/d"
	union_mount
	f unlink f , open w d/new w+creat , unlink d/new , mkdir d/sub , rmdir d/sub , open g g w+creat , rename g h , unlink h , ls . d
	[ -z "$(ls -A "$U/d")" ]
	[ "$(ls -A "$U")" = d ]
}

@test "a whiteout cannot be made by a user, 0/0 devices are refused or hidden" {
	need_root
	mkdir "$L/d"
	union_mount
	"$FSOP" -C "$M" mknod d/w c 0600 0 0 || true
	"$FSOP" -C "$M" stat d/w && ls -l "$M/d"
	f ls d '' || f ls d w
	union_remount
}

@test "whiteouts with names that are not UTF-8" {
	odd=$'\xff\xfe\x80'
	put "$L2/$odd" x; put "$L2/d/$odd" y; whiteout "$L/$odd"
	union_mount
	f ls . d , '!ENOENT' stat "$odd" , unlink "d/$odd" , ls d ''
	is_whiteout "$U/d/$odd"
	union_remount
	f ls d '' , open w "d/$odd" w+creat+excl
}

@test "names that look like AUFS marks can be made and used in upper" {
	plyfs_only "a name starting with .wh. is special"
	mkdir "$L/d"
	union_mount
	# either refused with an error, or kept as any other name: never lost without a word
	if "$FSOP" -C "$M" open w d/.wh.name w+creat , write w x; then
		says "$M/d/.wh.name" x
		union_remount
		says "$M/d/.wh.name" x
	fi
}
