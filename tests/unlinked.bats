#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# What has lost its name but not its users keeps working: open files, mappings, directories.

load lib/common

@test "an unlinked open file reads, writes, truncates, stats with nlink 0" {
	put "$L/low" 0123456789; put "$U/up" 0123456789
	union_mount
	for n in low up; do
		f open h $n rw , unlink $n , stat @h nlink 0 size 10 , pread h 0 4 0123 , pwrite h 2 XX , pread h 0 5 01XX4 , truncate @h 6 , stat @h size 6 , truncate @h 1m , stat @h size 1m , fallocate h punch 0 4096 , fsync h \
			, chmod @h 0600 , stat @h mode 600 nlink 0 , utime @h 5 6 , stat @h mtime 6.000000000 , '!ENOENT' stat $n , mmap m h 0 4096 rw shared , mwrite m 0 Z , pread h 0 1 Z
	done
	f ls . ''
}

@test "a lower file opened read-only, then unlinked" {
	put "$L/f" data; put "$L/g" data
	union_mount
	f open r f r , unlink f , pread r 0 9 data , stat @r size 4 , '!ENODATA' getx @r user.none ''
	is_whiteout "$U/f"
	plyfs_only "overlayfs: nlink 1, chmod EEXIST"
	f open r g r , unlink g , stat @r nlink 0 , chmod @r 0600 , stat @r mode 600 nlink 0 size 4 , pread r 0 9 data , utime @r 5 6 , stat @r mtime 6.000000000
}

@test "xattrs and ACL calls on an unlinked file" {
	put "$L/f" data; xattr "$L/f" user.a b
	union_mount
	f open r f rw , unlink f , getx @r user.a b , setx @r user.c d , getx @r user.c d , listx @r 'user.a user.c'
}

@test "a file renamed over while open" {
	put "$L/a" A; put "$L/b" B; put "$U/c" C
	union_mount
	f open h b rw , rename a b , pread h 0 9 B , stat @h nlink 0 , pwrite h 0 X , open n b r , pread n 0 9 A , open k c r , rename b c , pread k 0 9 C , stat @k nlink 0
	says "$M/c" A
}

@test "an unlinked file gets its name back by linkat on its handle: only if it was a tmpfile" {
	put "$L/f" data
	union_mount
	f open h f rw , unlink f , '!ENOENT' link @h g , ls . ''
}

@test "unlink, create again, both open" {
	put "$L/f" old
	union_mount
	f open a f rw , unlink f , open b f rw+creat+excl , write b new , pread a 0 9 old , pread b 0 9 new , unlink f , open c f rw+creat+excl , write c newer , pread b 0 9 new , pwrite a 0 OLD , pread a 0 9 OLD
	says "$M/f" newer
}

@test "a removed directory that is open: fstat, empty listing, ENOENT for new names" {
	mkdir -p "$L/d" "$U/e"
	union_mount
	for n in d e; do
		f open h $n r+dir , rmdir $n , '!ENOENT' ls @h , '!ENOENT' openat x h f w+creat , '!ENOENT' openat x h f r , '!ENOENT' stat $n , stat @h type d
	done
	[ "$PLY_TARGET" = plyfs ] || return 0 # overlayfs: nlink 2, ENOTDIR
	mkdir "$M/g" "$M/e"
	f open h g r+dir , rmdir g , stat @h nlink 0 , chmod @h 0711 , stat @h mode 711 nlink 0 , open i e r+dir , rmdir e , chmod @i 0711 , stat @i mode 711 nlink 0
}

@test "a removed directory made again under a cwd" {
	mkdir "$L/d"
	union_mount
	f chdir d , rmdir ../d , mkdir ../d , open w ../d/new w+creat , '!ENOENT' ls . , '!ENOENT' open x f w+creat , stat . type d , chdir ../d || f ls d new
	f ls d new
}

@test "an executable unlinked while it runs" {
	cp "$(type -P sleep)" "$L/sleeper"
	union_mount
	"$M/sleeper" 1000 3>&- &
	pid=$!
	wait_for "exec" test "$(readlink "/proc/$pid/exe")" != "$(readlink /proc/self/exe)"
	f unlink sleeper
	kill "$pid"
	wait "$pid" || true
	f ls . ''
}

@test "many unlinked open files at once" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" f 150
	union_mount
	cmds=()
	for i in {0..149}; do cmds+=(, open "h$i" "d/f$i" rw , unlink "d/f$i"); done
	for i in {0..149}; do cmds+=(, pwrite "h$i" 0 "X" , stat "@h$i" nlink 0 , check "h$i" 0 1 X); done
	f ls d "$(ls "$L/d" | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')" "${cmds[@]}" , ls d ''
}
