#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Directories: making, removing, making again. Removed content never comes back, at any depth, nor after a remount.

load lib/common

@test "mkdir and rmdir in upper, lower and merged directories" {
	mkdir -p "$L/low" "$L/merged" "$U/merged" "$U/up"
	union_mount
	f mkdir new 0750 , stat new mode 750 type d , rmdir new , '!ENOENT' stat new , rmdir low , rmdir merged , rmdir up , ls . '' , '!ENOENT' rmdir low
	is_whiteout "$U/low"
	is_whiteout "$U/merged"
	absent "$U/up"
}

@test "rmdir refuses what is not empty, in every layer" {
	put "$L/a/f" x; put "$U/b/f" x; put "$L/c/f" x; put "$U/c/g" y
	union_mount
	f '!ENOTEMPTY' rmdir a , '!ENOTEMPTY' rmdir b , '!ENOTEMPTY' rmdir c , unlink c/g , '!ENOTEMPTY' rmdir c , unlink c/f , ls c '' , rmdir c , '!ENOTDIR' rmdir a/f , '!EISDIR' unlink a
	f ls . 'a b'
}

@test "rmdir of a directory that holds only whiteouts" {
	put "$L/d/a" x; put "$L/d/b" y
	union_mount
	f unlink d/a , unlink d/b , ls d '' , rmdir d , '!ENOENT' stat d
	union_remount
	f '!ENOENT' stat d , ls . ''
	is_whiteout "$U/d"
}

@test "rm -rf d; mkdir d directly under the root: nothing comes back" {
	put "$L/d/old" x; mkdir "$L/d/sub"; put "$L/d/sub/deep" y
	union_mount
	rm -rf "$M/d"
	absent "$M/d"
	mkdir "$M/d"
	f ls d '' , '!ENOENT' stat d/old , '!ENOENT' stat d/sub
	has_xattr "$U/d" "$OVL.opaque" y
	union_remount
	f ls d '' , '!ENOENT' stat d/old , '!ENOENT' stat d/sub/deep
}

@test "rm -rf d; mkdir d at every depth" {
	mkdir -p "$L/1/2/3/4/5"
	for p in 1 1/2 1/2/3 1/2/3/4 1/2/3/4/5; do put "$L/$p/old" x; done
	union_mount
	for p in 1/2/3/4/5 1/2/3/4 1/2/3 1/2 1; do
		rm -rf "${M:?}/$p"
		mkdir "$M/$p"
		f ls $p ''
		union_remount
		f ls $p '' , mkdir $p/fresh , ls $p fresh , rmdir $p/fresh
	done
}

@test "rm -rf, mkdir -p of the same tree: every level is new" {
	mkdir -p "$L/a/b/c" "$L/a/x"; put "$L/a/b/c/f" x; put "$L/a/f" x
	union_mount
	rm -rf "$M/a"
	mkdir -p "$M/a/b/c"
	f ls a b , ls a/b c , ls a/b/c ''
	union_remount
	f ls a b , ls a/b c , ls a/b/c '' , open w a/b/c/f w+creat+excl , '!ENOENT' stat a/f
}

@test "removal with three lower layers" {
	LAYERS=("$L" "$L2" "$L3")
	put "$L/d/a" 1; put "$L2/d/b" 2; put "$L3/d/c" 3
	union_mount
	rm -rf "$M/d"
	f '!ENOENT' stat d , mkdir d , ls d ''
	union_remount
	f ls d ''
	f open w d/b w+creat , write w new , ls d b
	says "$M/d/b" new
}

@test "a file where a directory was, and the other way round" {
	put "$L/d/f" x; put "$L/file" y
	union_mount
	rm -rf "$M/d"
	f open w d w+creat , write w 'now a file' , unlink file , mkdir file , ls file '' , '!ENOTDIR' stat d/f
	union_remount
	says "$M/d" 'now a file'
	f stat file type d , ls file '' , '!ENOTDIR' stat d/f
	f unlink d , rmdir file
	absent "$M/d" "$M/file"
	is_whiteout "$U/d"
	is_whiteout "$U/file"
}

@test "an opaque directory in a lower hides what is under it, and copies up as one that is merged" {
	LAYERS=("$L" "$L2")
	put "$L/d/a" 1; opaque "$L/d"; put "$L2/d/b" 2; opaque "$L/e"; put "$L2/e/c" 3
	union_mount
	f ls d a , ls e '' , '!ENOENT' stat d/b , open w d/new w+creat , open w e/new w+creat , ls d 'a new'
	no_xattr "$U/d" "$OVL.opaque"
	union_remount
	f ls d 'a new' , ls e new
}

@test "an opaque directory in upper, made by hand" {
	put "$L/d/hidden" x; put "$U/d/seen" y; opaque "$U/d"
	union_mount
	f ls d seen , '!ENOENT' stat d/hidden , mkdir d/more , ls d 'more seen'
}

@test "a new directory over nothing merges with nothing when a lower one appears later" {
	LAYERS=("$L" "$L2")
	mkdir "$L/base"
	union_mount
	f mkdir plain , open w plain/f w+creat
	union_umount
	lower_changed
	# no opaque mark is needed where there was no lower; only what stood there is hidden
	put "$L2/other/x" y
	union_mount
	f ls other x , ls plain f
}

@test "rename of a directory that was removed and made again" {
	put "$L/d/old" x
	union_mount
	rm -rf "$M/d"
	f mkdir d , open w d/new w+creat , rename d e , ls e new , '!ENOENT' stat d , mkdir d , ls d ''
	union_remount
	f ls e new , ls d ''
}

@test "mkdir, rmdir many times over the same lower directory" {
	put "$L/d/old" x
	union_mount
	rm -rf "$M/d"
	for i in {1..30}; do f mkdir d , ls d '' , open w d/f w+creat , '!ENOTEMPTY' rmdir d , unlink d/f , rmdir d , '!ENOENT' stat d; done
	is_whiteout "$U/d"
}

@test "rm -rf of a big merged tree" {
	LAYERS=("$L" "$L2")
	for i in {1..20}; do mkdir -p "$L/t/$i/s" "$L2/t/$i/s"; "$FSOP" mkmany "$L/t/$i/s" a 30 , mkmany "$L2/t/$i/s" b 30 , mkmany "$L2/t/$i" c 30; done
	union_mount
	rm -rf "$M/t/3"
	touch "$M/t/5/s/a1"
	rm -r "$M/t"
	absent "$M/t"
	mkdir "$M/t"
	f ls t ''
}

@test "a removed cwd: . still stats, nothing can be made, the union unmounts" {
	mkdir -p "$L/d/e"
	union_mount
	f chdir d/e , rmdir ../../d/e , stat . type d , '!ENOENT' open w x w+creat , '!ENOENT' mkdir y , '!ENOENT' getcwd , '!ENOENT' ls .
}

@test "rmdir of the root, of ., and removal of a mount point are refused" {
	mkdir -p "$L/d"
	union_mount
	f '!EINVAL' rmdir d/. , '!ENOTEMPTY' rmdir d/.. , '!EBUSY' rmdir "$M" , '!EBUSY' rename "$M" "$T/elsewhere"
}

@test "a directory's contents survive chmod, chown and xattr copy-ups of it" {
	put "$L/d/a" x; put "$L/d/e/b" y
	union_mount
	f chmod d 0700 , setx d user.k v , ls d 'a e' , ls d/e b
	union_remount
	f ls d 'a e' , stat d mode 700 , getx d user.k v
}
