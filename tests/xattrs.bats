#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Extended attributes: the users' are kept, the overlay's own are hidden, a nested overlay's are escaped.

load lib/common

@test "user attributes on files and directories of every layer" {
	put "$L/f" x; mkdir "$L/d"; put "$U/u" y; xattr "$L/f" user.low 1; xattr "$L/d" user.low 2
	union_mount
	f getx f user.low 1 , getx d user.low 2 , setx f user.new 3 , setx d user.new 4 , setx u user.new 5 , getx f user.low 1 , getx f user.new 3 , listx f 'user.low user.new' \
		, listx d 'user.low user.new' , listx u user.new , rmx f user.low , '!ENODATA' getx f user.low '' , '!ENODATA' rmx f user.low , listx f user.new
	union_remount
	f listx f user.new , getx d user.new 4 , getx u user.new 5
	says "$M/f" x
}

@test "create and replace flags, empty and big values, errors" {
	put "$L/f" x; xattr "$L/f" user.a old
	union_mount
	big=$(printf 'v%.0s' {1..2000})
	f '!EEXIST' setx f user.a b create , '!ENODATA' setx f user.z b replace , setx f user.a new replace , getx f user.a new , setx f user.e '' , getx f user.e '' , setx f user.big "$big" , getx f user.big "$big" \
		, '!EOPNOTSUPP' setx f nonsense.a b , '!ENODATA' getx f user.absent x , setx f user.bin 0x00ff0a00 , getx f user.bin 0x00ff0a00
	f '!ERANGE' setx f "user.$(printf 'n%.0s' {1..251})" v , setx f "user.$(printf 'n%.0s' {1..250})" v
}

@test "a failed change of attributes copies nothing up" {
	put "$L/f" x
	union_mount
	f '!ENODATA' rmx f user.none
	absent "$U/f"
}

@test "attributes by handle and of symlinks, fifos: user.* is refused there" {
	put "$L/f" x; ln -s f "$L/s"; mkfifo "$L/p"
	union_mount
	f open r f r , setx @r user.k v , getx @r user.k v , getx f user.k v , listx @r user.k , '!EPERM' setx s user.k v , '!EPERM' setx p user.k v , rmx @r user.k
}

@test "setxattr on a symlink with an absolute target inside the union: no deadlock" {
	need_root
	put "$L/f" x; ln -s "$M/f" "$L/s"; ln -s "$M/s" "$L/loop"
	union_mount
	f setx s trusted.k v , getx s trusted.k v , '!ENODATA' getx f trusted.k v , setx loop trusted.k v , rmx s trusted.k
	says "$M/s" x
}

@test "trusted, security: kept over copy-up" {
	need_root
	put "$L/f" x; xattr "$L/f" trusted.t 1; xattr "$L/f" security.s 2
	union_mount
	f getx f trusted.t 1 , getx f security.s 2 , open w f w , close w , getx f trusted.t 1 , getx f security.s 2 , setx f security.n 3 , setx f trusted.m 4
	has_xattr "$U/f" trusted.t 1
	has_xattr "$U/f" security.n 3
	f user 1000 1000 , listx f 'security.n security.s' , '!ENODATA' getx f trusted.t 1
}

@test "the overlay's own attributes are invisible, trusted.overlay-xxx and trusted.overlayxxx are not" {
	need_root
	put "$L/d/f" x; put "$L/d2/g" y
	xattr "$L/d/f" trusted.overlayxxx 1; xattr "$L/d/f" trusted.overlay 2
	union_mount
	f getx d/f trusted.overlayxxx 1 , getx d/f trusted.overlay 2 , rename d moved , listx moved '' , '!ENODATA' getx moved trusted.overlay.redirect x , '!ENODATA' getx moved trusted.overlay.origin x \
		, setx moved trusted.overlayfoo bar , getx moved trusted.overlayfoo bar , listx moved trusted.overlayfoo , open w moved/f w , listx moved/f 'trusted.overlay trusted.overlayxxx'
	has_xattr "$U/moved" trusted.overlay.redirect
	has_xattr "$U/moved/f" trusted.overlay.origin
}

@test "a nested overlay's attributes are escaped in the layer and plain in the union" {
	need_root
	mkdir "$L/inner"; xattr "$L/inner" trusted.overlay.overlay.opaque y
	put "$L/f" x
	union_mount
	f getx inner trusted.overlay.opaque y , listx inner trusted.overlay.opaque , setx f trusted.overlay.redirect inside , getx f trusted.overlay.redirect inside , mkdir made , setx made trusted.overlay.opaque y
	has_xattr "$U/f" trusted.overlay.overlay.redirect inside
	has_xattr "$U/made" trusted.overlay.overlay.opaque y
	no_xattr "$U/f" trusted.overlay.redirect
	union_remount
	f getx made trusted.overlay.opaque y , getx inner trusted.overlay.opaque y , rmx made trusted.overlay.opaque , listx made ''
	no_xattr "$U/made" trusted.overlay.overlay.opaque
}

@test "user.overlay.* is the users' for root, the overlay's with userxattr" {
	need_root
	put "$L/d/f" x; xattr "$L/d/f" user.overlay.note 1; put "$L2/d/hidden" y
	LAYERS=("$L" "$L2")
	xattr "$L/d" user.overlay.opaque y
	[ "$PLY_TARGET" = plyfs ] || skip "the kernel reads one name space, plyfs both"
	union_mount
	f ls d f
}

@test "userxattr: marks are in user.overlay, invisible" {
	put "$L/d/f" x; put "$L/e/old" y
	union_mount userxattr
	f open w d/f w+append , write w y , listx d/f ''
	rm -rf "$M/e"
	f mkdir e , ls e '' , listx e ''
	has_xattr "$U/e" user.overlay.opaque y
	[ -z "$("$FSOP" listx "$U/e" | grep trusted)" ]
	union_remount
	f ls e '' , listx e ''
}

@test "the opaque mark is not copied up, nor redirect, nor impure" {
	LAYERS=("$L" "$L2")
	put "$L/d/f" x; opaque "$L/d"; put "$L2/d/g" y
	xattr "$L/d" "$OVL.impure" y
	union_mount
	f chmod d 0700 , ls d f
	no_xattr "$U/d" "$OVL.opaque"
	union_remount
	f ls d f , listx d ''
}

@test "origin and impure marks are written as the kernel does" {
	put "$L/d/f" x
	union_mount
	f open w d/f w+append , write w y
	union_umount
	has_xattr "$U/d/f" "$OVL.origin"
	has_xattr "$U/d" "$OVL.impure" y
	has_xattr "$U/d" "$OVL.origin"
	union_mount
}

@test "noxattrs" {
	plyfs_only "its option"
	put "$L/f" x; xattr "$L/f" user.a b
	union_mount noxattrs
	f '!EOPNOTSUPP' setx f user.b c , '!EOPNOTSUPP' getx f user.a b
	says "$M/f" x
	f open w f w+append , write w y
}

@test "listxattr in a directory full of attributes" {
	put "$L/f" x
	for i in {1..40}; do xattr "$L/f" user.attribute-number-$i "value $i"; done
	union_mount
	[ "$("$FSOP" -C "$M" listx f | wc -w)" = 40 ]
	f chmod f 0600 , getx f user.attribute-number-17 'value 17'
	[ "$("$FSOP" -C "$M" listx f | wc -w)" = 40 ]
}
