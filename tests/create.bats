#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Making things: every open flag, every file type, umask and owner, and where it lands in upper.

load lib/common

@test "create, write, read back; it is in upper" {
	mkdir "$L/d"
	union_mount
	f open w d/f rw+creat+excl 0640 , write w hello , pread w 0 10 hello , stat d/f size 5 mode 640 nlink 1 , now d/f mtime
	says "$M/d/f" hello
	says "$U/d/f" hello
	absent "$L/d/f"
}

@test "O_EXCL refuses names of upper, lower and symlinks" {
	put "$L/low" x; put "$U/up" x; ln -s nowhere "$L/dangling"
	union_mount
	f '!EEXIST' open w low w+creat+excl , '!EEXIST' open w up w+creat+excl , '!EEXIST' open w dangling w+creat+excl \
		, '!EEXIST' mkdir low , '!EEXIST' mkdir up , '!EEXIST' symlink a low , '!EEXIST' mknod up f 0644 , '!EEXIST' link up low
	f open w dangling w+creat , stat nowhere type f
}

@test "O_CREAT opens what is there in any layer" {
	put "$L/low" abc; put "$U/up" def
	union_mount
	f open a low rw+creat , pread a 0 9 abc , open b up rw+creat , pread b 0 9 def , pwrite a 1 X , pread a 0 9 aXc
	says "$L/low" abc
}

@test "O_TRUNC on lower and upper files, alone and with O_APPEND" {
	put "$L/a" 'long content'; put "$L/b" 'long content'; put "$L/c" 'long content'; put "$U/d" 'long content'
	union_mount
	f open a a w+trunc , stat a size 0 , write a new , open b b w+trunc+append , write b new , open c c r+trunc , stat c size 0 \
		, open d d w+trunc , write d new
	says "$M/a" new; says "$M/b" new; says "$M/c" ''; says "$M/d" new
	says "$L/a" 'long content'
}

@test "O_TRUNC while others have the file open" {
	put "$L/f" 0123456789
	union_mount
	f open r f r , pread r 0 3 012 , open w f w+trunc , pread r 0 9 '' , pwrite w 0 ab , pread r 0 9 ab , stat @r size 2
}

@test "O_APPEND always writes at the end" {
	put "$L/f" start; put "$U/g" start
	union_mount
	f open a f w+append , open b f rw , write a -1 , pwrite b 20 x , write a -2 , stat f size 23 , lseek a 0 cur 23 \
		, open c g w+append , open e g w+append , write c -1 , write e -2 , write c -3
	says "$M/g" start-1-2-3
}

@test "O_TMPFILE: nameless, then linked" {
	mkdir "$L/d"
	union_mount
	f open t d rw+tmpfile 0640 , write t hidden , stat @t nlink 0 size 6 mode 640 , ls d '' , link @t d/shown , stat @t nlink 1 \
		, stat d/shown same @t mode 640 , ls d shown , '!EEXIST' link @t d/shown , link @t d/second , stat d/second nlink 2
	says "$M/d/shown" hidden
}

@test "O_TMPFILE: dropped without a name leaves nothing; O_EXCL cannot be linked" {
	mkdir "$L/d"
	union_mount
	f open t d rw+tmpfile , write t gone , close t , ls d '' , open x d rw+tmpfile+excl , write x y , '!ENOENT' link @x d/never , close x
}

@test "O_DIRECT" {
	# only where the layers' filesystem has it
	dd if=/dev/zero of="$L/f" bs=4096 count=4 status=none
	"$FSOP" open d "$L/f" r+direct || skip "no O_DIRECT here"
	union_mount
	f open d f r+direct , check d 0 16k '\0' , close d , open w f rw+direct , fill w 4096 4096 x , check w 4096 4096 x , check w 8192 4096 '\0' \
		, open b f r , check b 4096 4096 x , check b 0 4096 '\0' , open n new rw+creat+direct , fill n 0 8192 y , check n 0 8192 y
	# buffered readers see direct writes (fuse-overlayfs once gave stale pages)
	f open b f rw , check b 0 4k '\0' , open d f rw+direct , fill d 0 4k z , check b 0 4k z , fill b 0 4k q , check d 0 4k q
	# where the kernel keeps mtimes (writeback caching) it does not learn of direct writes: set, they are known to both
	f utime f 5 6 , utime new 5 6
}

@test "O_DIRECTORY, O_NOFOLLOW, O_PATH" {
	put "$L/f" x; ln -s f "$L/s"; mkdir "$L/d"
	union_mount
	f '!ENOTDIR' open d f r+dir , open d d r+dir , '!ELOOP' open s s r+nofollow , open p f path , '!EBADF' pread p 0 1 x \
		, '!EISDIR' open w d w , '!EISDIR' open w d rw , '!EISDIR' open c d r+creat , reopen n p rw , pwrite n 0 y , openat o d ../f r , pread o 0 5 y
}

@test "the caller's umask counts, for every kind of object" {
	mkdir "$L/d"
	union_mount
	f umask 0027 , open f d/f w+creat 0666 , stat d/f mode 640 , mkdir d/d 0777 , stat d/d mode 750 , mknod d/p p 0666 , stat d/p mode 640 \
		, umask 0 , open g d/g w+creat 0666 , stat d/g mode 666 , mkdir d/e 01777 , stat d/e mode 1777 , umask 0777 , open h d/h w+creat 0666 \
		, stat d/h mode 0 , umask 0077 , open t d rw+tmpfile 0666 , stat @t mode 600 , bind s d/s , stat d/s mode 700
}

@test "an ordinary user's files are his" {
	need_root
	mkdir -m 1777 "$L/tmp"
	union_mount
	f user 1234 1235 , open w tmp/f w+creat 0600 , write w x , mkdir tmp/d , symlink a tmp/s , mknod tmp/p p 0600 , open t tmp rw+tmpfile , link @t tmp/t
	f stat tmp/f uid 1234 gid 1235 mode 600 , stat tmp/d uid 1234 gid 1235 , stat tmp/s uid 1234 gid 1235 , stat tmp/p uid 1234 , stat tmp/t uid 1234 gid 1235
	[ "$(field u:%g "$U/tmp/f")" = 1234:1235 ]
	f user 1236 1236 , '!EACCES' open r tmp/f r , '!EPERM' unlink tmp/f , '!EACCES' open x newfile w+creat
}

@test "a file made without permission to write is still writable by its maker's handle" {
	mkdir -m 1777 "$L/tmp"
	union_mount
	f open w tmp/f rw+creat+excl 0444 , write w x , pread w 0 5 x , stat tmp/f mode 444 , truncate @w 10 , fallocate w alloc 0 100 , stat tmp/f size 100
}

@test "mknod: fifo, socket, regular file, devices" {
	mkdir "$L/d"
	union_mount
	f mknod d/f f 0644 , stat d/f type f size 0 , mknod d/p p 0644 , stat d/p type p , mknod d/s s 0644 , stat d/s type s
	need_root
	f mknod d/c c 0666 1 3 , stat d/c type c rdev 1:3 , mknod d/b b 0600 7 1 , stat d/b type b rdev 7:1
	echo x >"$M/d/c"
}

@test "a fifo and a socket work" {
	mkfifo "$L/p"
	union_mount
	f open p p rw+nonblock , write p hi , read p 9 hi
	"$FSOP" -C "$M" bind s sock , connect sock , mknod q p 0600 , open q q rw , write q ho , read q 5 ho
	(echo through >"$M/p") & says "$M/p" 'through
'
}

@test "symlink: any target, owner and times" {
	union_mount
	f symlink /etc/passwd abs , readlink abs /etc/passwd , symlink 'no where' s , readlink s 'no where' , stat s type l size 8 , '!ENOENT' symlink '' e \
		, now s mtime , '!ENOENT' stat e
}

@test "create below directories of the lower makes the ancestors in upper, with their attributes" {
	mkdir -p "$L/a/b/c"; chmod 2751 "$L/a"; chmod 700 "$L/a/b"; xattr "$L/a/b" user.note kept
	"$FSOP" utime "$L/a" 1.5 2.000000007 , utime "$L/a/b" 3 4.250000000
	union_mount
	f open w a/b/c/f w+creat , stat a mode 2751 mtime 2.000000007 , stat a/b mode 700 mtime 4.250000000 , getx a/b user.note kept
	[ "$(field a "$U/a") $(field a "$U/a/b")" = '2751 700' ]
	"$FSOP" getx "$U/a/b" user.note kept
}

@test "create in a directory that was removed meanwhile is ENOENT" {
	mkdir "$L/d"
	union_mount
	f open d d r+dir , rmdir d , '!ENOENT' openat x d f w+creat , '!ENOENT' mkdirat d sub
}

@test "over a whiteout: create, mkdir, symlink, mknod, link" {
	for n in a b c d e; do put "$L/$n" lower; done; put "$U/src" upper
	union_mount
	f unlink a , unlink b , unlink c , unlink d , unlink e , ls . src
	is_whiteout "$U/a"
	f open w a w+creat+excl , write w new , mkdir b , ls b '' , symlink t c , mknod d p 0600 , link src e , ls . 'a b c d e src'
	says "$M/a" new
}

@test "mtime and ctime of the parent move when a name comes or goes" {
	mkdir "$L/d"; put "$L/d/f" x
	"$FSOP" utime "$L/d" 5 5
	union_mount
	f stat d mtime 5.000000000 , open w d/new w+creat , now d mtime , now d ctime , utime d 5 5 , unlink d/f , now d mtime , utime d 5 5 , mkdir d/m , now d mtime \
		, utime d 5 5 , rename d/new d/newer , now d mtime , utime d 5 5 , rmdir d/m , now d mtime
}
