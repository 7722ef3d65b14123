#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Rename: files and directories, lower, upper and merged, across directories, NOREPLACE and EXCHANGE; redirects.

load lib/common


@test "files: lower, upper, copied up; the old name is gone, also after a remount" {
	put "$L/low" lower; put "$U/up" upper; put "$L/both" old; put "$U/both" new; mkdir "$L/d"
	union_mount
	f rename low d/low2 , rename up d/up2 , rename both d/both2 , ls . d , ls d 'both2 low2 up2' , '!ENOENT' stat low , '!ENOENT' stat up , '!ENOENT' stat both
	says "$M/d/low2" lower; says "$M/d/up2" upper; says "$M/d/both2" new
	is_whiteout "$U/low"; is_whiteout "$U/both"; absent "$U/up"
	union_remount
	f ls . d , ls d 'both2 low2 up2'
}

@test "onto an existing file of every kind" {
	put "$L/a" A; put "$L/b" B; put "$U/c" C; put "$U/d" D; put "$L/e" E
	union_mount
	f rename a b , '!ENOENT' stat a
	says "$M/b" A
	f rename c b
	says "$M/b" C
	f rename e d , ls . 'b d'
	says "$M/d" E
	union_remount
	f ls . 'b d'
	says "$M/d" E
	is_whiteout "$U/a"; is_whiteout "$U/e"
}

@test "onto a whiteout, and back to the old name" {
	put "$L/a" A; put "$L/b" B
	union_mount
	f unlink a , rename b a , ls . a , rename a b , ls . b , rename b a
	says "$M/a" B
	union_remount
	f ls . a
	says "$M/a" B
}

@test "onto what nothing but the upper's disk shows: a whiteout where no lower is, also for a directory" {
	plyfs_only "overlayfs shows the whiteouts of a directory that no lower has"
	put "$U/up/a" A; mkdir "$U/up/dir"; mknod "$U/up/b" c 0 0; mknod "$U/up/c" c 0 0
	put "$L/low" L
	union_mount
	f ls up 'a dir' , rename up/a up/b , rename up/dir up/c , ls up 'b c' , rename up/b up/d , rename low up/low
	says "$M/up/d" A
	union_remount
	f ls up 'c d low' , ls up/c
	says "$M/up/d" A
	says "$M/up/low" L
}

@test "wrong kinds: file over directory, directory over file, into itself, not empty" {
	put "$L/f" x; put "$L/d/g" y; mkdir -p "$L/e" "$U/up/in"
	union_mount
	f '!EISDIR' rename f e , '!ENOTDIR' rename e f , '!EINVAL' rename d d/sub , '!ENOTEMPTY' rename e d , '!ENOTEMPTY' rename up d , '!ENOENT' rename absent x \
		, '!ENOENT' rename f absent/x , rename f f , ls . 'd e f up' , ls d g
}

@test "a lower directory: content moves along, the old name is free" {
	put "$L/d/a" 1; put "$L/d/sub/b" 2; ln -s a "$L/d/s"
	union_mount
	f rename d e , ls . e , ls e 'a s sub' , ls e/sub b , '!ENOENT' stat d , mkdir d , ls d ''
	says "$M/e/sub/b" 2
	union_remount
	f ls . 'd e' , ls d '' , ls e 'a s sub' , open w e/sub/b w+append , write w more
	says "$M/e/sub/b" 2more
	says "$L/d/sub/b" 2
	union_remount
	says "$M/e/sub/b" 2more
}

@test "a merged directory: both halves move" {
	LAYERS=("$L" "$L2")
	put "$L/d/a" 1; put "$L2/d/b" 2; put "$L2/d/sub/c" 3; put "$L/x/y" z
	union_mount
	f open w d/up w+creat , write w up , unlink d/b , rename d x/moved , ls x 'moved y' , ls x/moved 'a sub up' , ls x/moved/sub c , '!ENOENT' stat d
	says "$M/x/moved/up" up
	union_remount
	f ls . x , ls x/moved 'a sub up' , ls x/moved/sub c
	says "$M/x/moved/sub/c" 3
}

@test "renamed again and again, out of and into renamed directories" {
	put "$L/a/b/c/f" deep; put "$L/z/g" other
	union_mount
	f rename a/b z/b1 , rename z z1 , rename z1/b1/c c1 , rename c1 z1/c2 , rename z1/c2 a/c3 , rename a a1 , ls . 'a1 z1' , ls a1 c3 , ls a1/c3 f , ls z1 'b1 g' , ls z1/b1 ''
	says "$M/a1/c3/f" deep
	union_remount
	f ls . 'a1 z1' , ls a1/c3 f , ls z1 'b1 g' , ls z1/b1 '' , rename a1/c3 c4 , ls c4 f
	union_remount
	says "$M/c4/f" deep
	f mkdir a , mkdir a/b , ls a b , ls a/b ''
}

@test "a directory renamed over an empty one: lower, upper, merged, with whiteouts inside" {
	put "$L/d/f" x; mkdir "$L/empty" "$L/hollow"; put "$L/hollow/gone" y; put "$L/e/g" z
	union_mount
	f rename d empty , ls . 'e empty hollow' , ls empty f , unlink hollow/gone , rename e hollow , ls hollow g , '!ENOENT' stat hollow/gone
	union_remount
	f ls . 'empty hollow' , ls empty f , ls hollow g
}

@test "a directory renamed over: the old one's handle lives with nlink 0" {
	mkdir "$L/a" "$L/b"
	union_mount
	f open h b r+dir , rename a b , stat b type d , '!ENOENT' openat x h new w+creat
	plyfs_only "overlayfs shows nlink 2 there"
	mkdir "$M/c"
	f open h b r+dir , rename c b , stat @h nlink 0
}

@test "NOREPLACE" {
	put "$L/a" A; put "$L/b" B; mkdir "$L/d" "$L/e"; put "$U/u" U
	union_mount
	f '!EEXIST' rename a b noreplace , '!EEXIST' rename d e noreplace , '!EEXIST' rename u a noreplace , '!EEXIST' rename a u noreplace , rename a c noreplace , rename d f noreplace \
		, unlink b , rename c b noreplace , ls . 'b e f u'
	says "$M/b" A
}

@test "EXCHANGE: file with file, over layers" {
	put "$L/a" A; put "$U/b" B; put "$L/d/c" C
	union_mount
	f rename a b exchange
	says "$M/a" B; says "$M/b" A
	f rename b d/c exchange
	says "$M/b" C; says "$M/d/c" A
	union_remount
	says "$M/a" B; says "$M/b" C; says "$M/d/c" A
	f '!ENOENT' rename a absent exchange
}

@test "EXCHANGE: directories, merged with upper, lower with lower, file with directory" {
	put "$L/a/f" 1; put "$L/b/g" 2; put "$U/c/h" 3; put "$L/file" F
	union_mount
	f open w a/new w+creat , rename a b exchange , ls a g , ls b 'f new' , rename a c exchange , ls a h , ls c g , rename b file exchange , ls file 'f new'
	says "$M/b" F
	union_remount
	f ls a h , ls c g , ls file 'f new'
	says "$M/b" F; says "$M/file/f" 1
}

@test "EXCHANGE: a parent with its child is EINVAL" {
	put "$L/a/b/f" 1
	union_mount
	f '!EINVAL' rename a a/b exchange , '!EINVAL' rename a/b a exchange , '!EINVAL' rename a b exchange+noreplace
}

@test "open handles and the cwd follow a rename" {
	put "$L/d/f" data; put "$L/d/sub/g" x
	union_mount
	f open r d/f rw , open dir d r+dir , chdir d/sub , rename ../../d ../../e , stat g size 1 , pread r 0 9 data , pwrite r 0 D , openat n dir f r , pread n 0 9 Data , openat c dir new w+creat \
		, getcwd "$M/e/sub" , open x h w+creat
	f ls e 'f new sub' , ls e/sub 'g h'
}

@test "hard links: rename of one onto the other does nothing" {
	put "$U/a" x; ln "$U/a" "$U/b"; put "$L/c" y; ln "$L/c" "$L/d"
	union_mount
	f rename a b , ls . 'a b c d' , rename c d , ls . 'a b c d'
}

@test "types other than files and directories" {
	ln -s t "$L/s"; mkfifo "$L/p"; "$FSOP" bind x "$L/k"; put "$L/d/f" x
	union_mount
	f rename s d/s , rename p d/p , rename k d/k , readlink d/s t , stat d/p type p , stat d/k type s , ls . d
	is_whiteout "$U/s"; is_whiteout "$U/p"; is_whiteout "$U/k"
}

@test "sticky and unwritable directories refuse a stranger" {
	need_root
	mkdir -m 1777 "$L/tmp"; put "$L/tmp/mine" x; put "$L/f" y
	union_mount
	f user 1000 1000 , '!EPERM' rename tmp/mine tmp/his , '!EACCES' rename f tmp/f , '!EACCES' rename f g , open w tmp/his w+creat , '!EPERM' rename tmp/his tmp/mine
}

@test "redirect: what the kernel writes is followed, relative and absolute" {
	LAYERS=("$L" "$L2")
	put "$L2/orig/a" 1; put "$L2/orig/sub/b" 2; put "$L2/deep/er/c" 3
	mkdir "$U/renamed" "$L/abs" "$L/rel"
	xattr "$U/renamed" "$OVL.redirect" orig
	xattr "$L/abs" "$OVL.redirect" /deep/er
	xattr "$L/rel" "$OVL.redirect" deep
	union_mount
	f ls renamed 'a sub' , ls renamed/sub b , ls abs c , ls rel er
	says "$M/rel/er/c" 3
}

@test "redirect: a rename in one directory writes the name, across directories the path" {
	plyfs_only "overlayfs is the one that is imitated; it writes absolute ones for everything but the plainest case"
	put "$L/a/d/f" x; put "$L/e/f" y; mkdir "$L/b"
	union_mount
	f rename a/d a/d2 , rename e b/e2
	union_umount
	has_xattr "$U/a/d2" "$OVL.redirect" d || has_xattr "$U/a/d2" "$OVL.redirect" /a/d
	has_xattr "$U/b/e2" "$OVL.redirect" /e
	union_mount
	f ls a/d2 f , ls b/e2 f
}

@test "redirect_dir=off: renaming a lower directory is EXDEV, mv copes" {
	put "$L/d/f" x; mkdir "$U/own"; put "$L/merged/a" b; put "$U/merged/c" d
	union_mount redirect_dir=off
	f '!EXDEV' rename d e , '!EXDEV' rename merged m2 , rename own own2
	mv "$M/d" "$M/e"
	f ls . 'e merged own2' , ls e f
	union_remount
	f ls . 'e merged own2' , ls e f
}

@test "redirect_dir=nofollow: a redirect is not followed" {
	LAYERS=("$L" "$L2"); RECHECK=no
	put "$L2/orig/a" 1; mkdir "$L/d"
	xattr "$L/d" "$OVL.redirect" orig
	union_mount redirect_dir=nofollow
	f '!EPERM' ls d || f ls d ''
}

@test "a new directory, renamed, that later lies in a lower layer (layers rotate)" {
	put "$L/base/f" x
	union_mount
	f mkdir new , open w new/g w+creat , rename new new2 , rename base base2
	union_umount
	lower_changed
	# what was the upper is now a lower: its redirects must still lead where they led
	mkdir "$T/upper2" "$T/work2"
	LAYERS=("$U" "$L") UPPER=$T/upper2 WORK=$T/work2
	union_mount
	f ls . 'base2 new2' , ls base2 f , ls new2 g , rename new2 new3 , rename base2 base3 , ls base3 f
	union_remount
	f ls . 'base3 new3' , ls base3 f , ls new3 g
}

@test "a rename that fails changes nothing" {
	put "$L/d/f" x; put "$L/e/g" y
	union_mount
	f '!ENOTEMPTY' rename d e , ls . 'd e' , ls d f , ls e g , '!EEXIST' rename d e noreplace , ls d f
	union_remount
	f ls . 'd e' , ls d f , ls e g
}
