#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# Hard links: names of one lower file stay one file, live and after a remount, whatever is done to which name.

load lib/common

@test "link in upper, to a lower file, to a copied-up file" {
	put "$L/low" lower; put "$U/up" upper; mkdir "$L/d"
	union_mount
	f link up d/up2 , stat d/up2 same up nlink 2 , link low d/low2 , stat d/low2 same low nlink 2 , stat low nlink 2 , open w low w+append , write w + , link low d/low3 , stat d/low3 nlink 3 same low
	says "$M/d/low2" lower+; says "$M/d/low3" lower+
	union_remount
	f stat d/low3 nlink 3 same low , stat d/low2 same low
	says "$L/low" lower
}

@test "two lower names: a write to one is seen by the other, live and after a remount" {
	put "$L/a" 0123456789; ln "$L/a" "$L/b"
	union_mount
	f stat a nlink 2 same b , open w a w , pwrite w 3 XX , stat a nlink 2 same b
	says "$M/b" 012XX56789
	union_remount
	f stat a nlink 2 same b
	says "$M/a" 012XX56789; says "$M/b" 012XX56789
	f open w b w+append , write w tail
	says "$M/a" 012XX56789tail
	union_remount
	says "$M/a" 012XX56789tail; says "$M/b" 012XX56789tail
}

@test "both names open before the copy-up" {
	plyfs_only "overlayfs' readers stay on the lower file"
	put "$L/a" 0123456789; ln "$L/a" "$L/b"
	union_mount passthrough=auto
	f open ra a r , open rb b r , open w b rw , pwrite w 0 NEW , pread ra 0 4 NEW3 , pread rb 0 4 NEW3 , stat @ra same @rb , stat a same b
}

@test "three names in three directories, second lookup after the copy-up" {
	put "$L/x/a" data; mkdir "$L/y" "$L/z"; ln "$L/x/a" "$L/y/b"; ln "$L/x/a" "$L/z/c"
	union_mount
	f open w z/c w+trunc , write w changed , stat y/b size 7 nlink 3 same z/c , stat x/a same z/c
	says "$M/x/a" changed
	union_remount
	f stat y/b nlink 3 same x/a , stat z/c same x/a
	says "$M/y/b" changed
}

@test "unlink of one name: the other lives, nlink counts down" {
	put "$L/a" data; ln "$L/a" "$L/b"; ln "$L/a" "$L/c"
	union_mount
	f stat a nlink 3 , unlink b , stat a nlink 2 , open w c w+append , write w + , stat a nlink 2 same c , unlink a , stat c nlink 1
	says "$M/c" data+
	union_remount
	f ls . c , stat c nlink 1
	says "$M/c" data+
	f unlink c , ls . ''
}

@test "nlink does not grow as names are seen, nor shrink over remounts" {
	put "$L/a" data; mkdir "$L/d"
	for i in {1..10}; do ln "$L/a" "$L/d/$i"; done
	union_mount
	for i in {1..10}; do f stat d/$i nlink 11 same a; done
	f chmod a 0600
	for i in {1..10}; do f stat d/$i nlink 11 mode 600; done
	union_remount
	f stat d/7 nlink 11 mode 600 same a , link d/3 d/new , stat a nlink 12 , unlink d/1 , stat d/new nlink 11
	union_remount
	f stat a nlink 11 same d/new , stat d/10 nlink 11
}

@test "chmod, xattr, utime of one name show on the other after a remount" {
	put "$L/a" data; ln "$L/a" "$L/b"
	union_mount
	f chmod a 0611 , setx b user.k v , utime a 5 6 , stat b mode 611 mtime 6.000000000 , getx a user.k v
	union_remount
	f stat b mode 611 mtime 6.000000000 same a , getx a user.k v , getx b user.k v
}

@test "rename of one name, then a write through the other" {
	put "$L/a" data; ln "$L/a" "$L/b"; mkdir "$L/d"
	union_mount
	f rename a d/a2 , stat d/a2 same b nlink 2 , open w b w+append , write w + , stat d/a2 size 5
	says "$M/d/a2" data+
	union_remount
	f stat d/a2 same b nlink 2 , '!ENOENT' stat a
	says "$M/d/a2" data+; says "$M/b" data+
}

@test "a name replaced by another file leaves the rest alone" {
	put "$L/a" data; ln "$L/a" "$L/b"; put "$L/c" other
	union_mount
	f rename c a , stat b nlink 1 size 4
	says "$M/a" other; says "$M/b" data
	union_remount
	says "$M/a" other; says "$M/b" data
	f open w b w+append , write w + , stat a size 5
	says "$M/a" other
}

@test "hard-linked symlinks, fifos and devices" {
	ln -s t "$L/s"; ln "$L/s" "$L/s2"; mkfifo "$L/p"; ln "$L/p" "$L/p2"
	union_mount
	if [ "$OVL" = user.overlay ]; then
		# user.* cannot be set on those: the link may break, the change must not fail
		RECHECK=no
		f chmod p 0600 , stat p mode 600 , utime s 5 6 , stat s mtime 6.000000000 , link s s3 , readlink s3 t , unlink p2 , unlink s2
		union_remount
		f stat p mode 600 type p , stat s type l mtime 6.000000000 , ls . 'p s s3'
		return
	fi
	f stat s same s2 nlink 2 , stat p same p2 , chmod p 0600 , stat p2 mode 600 , utime s 5 6 , stat s2 mtime 6.000000000 , link s s3 , stat s3 nlink 3 , readlink s3 t
	union_remount
	f stat s same s2 nlink 3 , stat p2 mode 600 same p
}

@test "links over two lower layers are two files" {
	LAYERS=("$L" "$L2")
	put "$L/a" top; ln "$L/a" "$L/b"; put "$L2/b" bottom; ln "$L2/b" "$L2/c"
	union_mount
	f stat a same b
	says "$M/b" top; says "$M/c" bottom
	f open w b w+append , write w + , open v c w+append , write v -
	says "$M/a" top+; says "$M/c" bottom-
	union_remount
	says "$M/a" top+; says "$M/b" top+; says "$M/c" bottom-
	f stat a same b nlink 2
}

@test "a whited-out name of a lower file counts no more after a remount" {
	put "$L/a" data; ln "$L/a" "$L/b"
	union_mount
	f unlink a , stat b nlink 1
	union_remount
	says "$M/b" data
	f open w b w+append , write w + , stat b nlink 1 , link b a , stat a nlink 2 same b
	says "$M/a" data+
}

@test "link errors" {
	put "$L/f" x; mkdir "$L/d"
	union_mount
	f '!EEXIST' link f d , '!EPERM' link d d2 , '!ENOENT' link absent g , '!EEXIST' link f f , '!ENOENT' link f absent/g
}

@test "unlinked everywhere but open: nlink 0, then a new file of the old name is another" {
	put "$L/a" data; ln "$L/a" "$L/b"
	union_mount
	f open r a rw , unlink a , stat @r nlink 1 , unlink b , stat @r nlink 0 , pwrite r 0 D , pread r 0 9 Data , open n a rw+creat+excl , write n new , pread r 0 9 Data , stat a size 3 nlink 1
	says "$M/a" new
}

@test "many links, many threads, one file" {
	put "$L/0" data; for i in {1..20}; do ln "$L/0" "$L/$i"; done
	union_mount
	for i in {0..20}; do f open w $i w , pwrite w $((i + 10)) x & pids[i]=$!; done
	for i in {0..20}; do wait "${pids[i]}"; done
	f stat 0 nlink 21 size 31 same 20
	[ "$(tail -c 21 "$M/13")" = xxxxxxxxxxxxxxxxxxxxx ]
	union_remount
	f stat 5 nlink 21 size 31 same 20
}

@test "index entries are the kernel's: one for a lower hard link, none for a plain file" {
	put "$L/a" data; ln "$L/a" "$L/b"; put "$L/plain" x
	union_mount
	f open w plain w+append , write w +
	plain=$(ls "$W/index" 2>/dev/null | wc -l)
	f open w a w+append , write w +
	[ "$(ls "$W/index" | wc -l)" = $((plain + 1)) ]
	[ "$(field i "$W/index/$(ls "$W/index" | head -n 1)")" = "$(field i "$U/a")" ] || [ "$plain" != 0 ]
	has_xattr "$U/a" "$OVL.nlink"
	has_xattr "$U/a" "$OVL.origin"
	f unlink a , unlink b
	union_remount
	# an index of a file with no name left is an orphan
	[ "$(find "$W/index" -type f | wc -l)" -le "$plain" ]
}

@test "index=off: what is copied up is one file of its own, nothing corrupt" {
	RECHECK=no # the link is broken there by design
	put "$L/a" 0123456789; ln "$L/a" "$L/b"
	union_mount index=off
	f open w a w+append , write w + , open v b r
	union_remount
	says "$M/a" 0123456789+
	got=$(cat "$M/b")
	[ "$got" = 0123456789 ] || [ "$got" = 0123456789+ ]
	says "$L/a" 0123456789
}

@test "read-only with an upper: hard links are still one file" {
	put "$L/a" data; ln "$L/a" "$L/b"
	union_mount
	f open w a w+append , write w more
	union_remount ro
	cmp "$M/a" "$M/b"
	f stat b nlink 2 , '!EROFS' open w b w
}
