#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan
# timeout: 900
#
# Owner, mode and type in an attribute (containers/storage's force_mask, xattr_permissions=): read in lower layers,
# written in upper, never shown.

load lib/common

STAT=user.containers.override_stat

prepare()
{
	plyfs_only "override_stat"
}

# overridden FILE VALUE: a regular file (or directory) on disk, another thing by its attribute
overridden()
{
	[ -e "$1" ] || put "$1" ''
	xattr "$1" "$STAT" "$2"
}

@test "a lower layer that has it on its root: owner, mode and every type" {
	overridden "$L" 0:0:0755:dir
	put "$L/f" data; overridden "$L/f" 1000:1001:0100640:file
	overridden "$L/old" 5:6:600 # without S_IFMT and type, as older ones
	overridden "$L/suid" 0:0:4755; overridden "$L/p" 7:8:0644:pipe; overridden "$L/s" 7:8:0600:socket
	overridden "$L/c" 0:0:0666:char-1-3; overridden "$L/b" 0:0:0600:block-7-9; mkdir "$L/d"; overridden "$L/d" 9:10:1777:dir
	union_mount
	says "$M/f" data
	f stat f uid 1000 gid 1001 mode 640 type f , stat old uid 5 gid 6 mode 600 , stat suid mode 4755 , stat p type p uid 7 gid 8 mode 644 , stat s type s , stat c type c rdev 1:3 mode 666 , stat b type b rdev 7:9 \
		, stat d type d uid 9 gid 10 mode 1777 , lscheck .
	f listx f '' , listx . '' , '!ENODATA' getx f $STAT x
}

@test "changes of such a layer's objects are copied up as what they are shown as" {
	overridden "$L" 0:0:0755:dir
	put "$L/f" data; overridden "$L/f" 1000:1001:0640:file; overridden "$L/c" 3:4:0666:char-1-3; overridden "$L/p" 7:8:0644:pipe
	need_root
	union_mount
	f open w f w+append , write w + , chmod c 0600 , chmod p 0611 , stat f uid 1000 gid 1001 mode 640 , stat c type c rdev 1:3 mode 600 uid 3 , stat p type p mode 611
	union_remount
	f stat f uid 1000 gid 1001 mode 640 size 5 , stat c type c rdev 1:3 mode 600 , stat p type p mode 611 uid 7
}

@test "xattr_permissions=2: what is made and changed is kept in the attribute" {
	put "$L/f" data; mkdir "$L/d"
	union_mount xattr_permissions=2
	f chown f 1000 1001 , chmod f 04711 , mkdir new 0700 , chown new 5 6 , mknod c c 0600 1 3 , mknod p p 0622 , open w n w+creat 0640 , chown d 7 8 , chmod d 01777 , symlink t s
	f stat f uid 1000 gid 1001 mode 4711 , stat new uid 5 gid 6 mode 700 , stat c type c rdev 1:3 mode 600 , stat p type p , stat d uid 7 gid 8 mode 1777 , stat s type l , listx f '' , lscheck .
	for n in f new c p n d; do
		has_xattr "$U/$n" "$STAT"
		[ "$(field u:%g "$U/$n")" = "$(field u:%g "$U")" ] || fail "$n has another owner on disk"
	done
	[ "$(stat -c %F "$U/c")" = 'regular empty file' ]
	"$FSOP" getx "$U/f" "$STAT" 1000:1001:04711:file || "$FSOP" getx "$U/f" "$STAT" 1000:1001:0104711:file
	union_remount
	f stat f uid 1000 gid 1001 mode 4711 , stat new uid 5 gid 6 mode 700 , stat c type c rdev 1:3 , stat p type p , stat d uid 7 mode 1777
	says "$M/f" data
	rm -rf "$M/new" "$M/c" "$M/d"
	f ls . 'f n p s'
}

@test "malformed values are no values" {
	overridden "$L" 0:0:0755:dir
	for v in '' x 1 1:2 1:2:x 1:2:3:4:5 -1:0:0644 99999999999:0:0644 0:0:0644:char 0:0:0644:char-x-y "$(printf '1%.0s' {1..200})"; do
		i=$((${i:-0} + 1)); put "$L/f$i" "$i"; xattr "$L/f$i" "$STAT" "$v"
	done
	RECHECK=no
	union_mount
	ls -la "$M" || true
	for ((j = 1; j <= i; j++)); do "$FSOP" -C "$M" stat "f$j" || true; done
	f mkdir alive , stat alive type d
}

@test "the attribute of a layer whose root has none is only an attribute" {
	put "$L/f" data; overridden "$L/f" 1000:1001:0640:file
	union_mount
	f stat f uid "$(field u "$L/f")" mode "$(field a "$L/f")"
}
