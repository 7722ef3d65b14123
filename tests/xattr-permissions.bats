#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan
#
# xattr_permissions=1|2: every type with any owner and mode lives through create, chmod, chown, rename, link, copy-up and
# remount, also where only one user id is to be had. (What layers hold on disk: override.bats.)

load lib/common

prepare()
{
	plyfs_only "override_stat"
	need_root
	put "$L/file" data; chown 1001:1002 "$L/file"; chmod 4751 "$L/file"
	mkdir "$L/dir"; chown 1003:1004 "$L/dir"; chmod 2770 "$L/dir"; put "$L/dir/in" in; chown 1005:1006 "$L/dir/in"; chmod 0 "$L/dir/in"
	mknod "$L/char" c 1 3; chown 1007:1008 "$L/char"; chmod 620 "$L/char"
	mknod "$L/block" b 7 9; chown 1009:1010 "$L/block"; chmod 640 "$L/block"
	mkfifo "$L/fifo"; chown 1011:1012 "$L/fifo"; chmod 604 "$L/fifo"
	"$FSOP" mknod "$L/socket" s 0700; chown 1013:1014 "$L/socket"
	ln "$L/file" "$L/file2"
	"$FSOP" setx "$L/file" user.note kept
}

# is NAME TYPE U:G MODE, in the union
is()
{
	f stat "$1" type "$2" uid "${3%:*}" gid "${3#*:}" mode "$4"
}

round() # OPTS
{
	union_mount "$1"
	# copied up by a change of the mode, of the owner, by a rename, by a link
	chmod 0640 "$M/char"; chown 2001:2002 "$M/block"; mv "$M/fifo" "$M/fifo.moved"; ln "$M/socket" "$M/socket.link"; mv "$M/dir" "$M/dir.moved"
	touch "$M/dir.moved/in"
	is char c 1007:1008 640; is block b 2001:2002 640; is fifo.moved p 1011:1012 604; is socket.link s 1013:1014 700
	is dir.moved d 1003:1004 2770; is dir.moved/in f 1005:1006 0
	# a file keeps its data and attributes, under both of its names
	chmod 4711 "$M/file2"
	is file f 1001:1002 4711; says "$M/file" data; f getx file user.note kept
	echo more >>"$M/file2"; says "$M/file" "datamore
"
	chown 3001:3002 "$M/file"; is file2 f 3001:3002 711
	# made, changed, moved
	f umask 0 , open w new w+creat 06755 , mkdir newdir 01777 , mknod newchar c 0622 5 1 , mknod newblock b 0660 8 0 , mknod newfifo p 0606 , mknod newsock s 0777 , symlink target newlink
	for n in new newdir newchar newblock newfifo newsock; do
		chown 4001:4002 "$M/$n"; mv "$M/$n" "$M/$n.moved"; ln "$M/$n.moved" "$M/$n.link" 2>/dev/null || true
	done
	chmod 0123 "$M/newfifo.moved"; chmod 0 "$M/newchar.moved"
	checked
	union_remount
	checked
	f lscheck . , lscheck dir.moved
	rm -r "$M/dir.moved" "$M/newdir.moved"; rm "$M"/new*.link "$M/char"
	absent "$M/dir.moved" "$M/char"
}

checked()
{
	is char c 1007:1008 640; is block b 2001:2002 640; is fifo.moved p 1011:1012 604; is socket.link s 1013:1014 700
	is dir.moved d 1003:1004 2770; is dir.moved/in f 1005:1006 0; is file f 3001:3002 711
	is new.moved f 4001:4002 755; is newdir.moved d 4001:4002 1777; is newchar.moved c 4001:4002 0
	is newblock.moved b 4001:4002 660; is newfifo.moved p 4001:4002 123; is newfifo.link p 4001:4002 123; is newsock.moved s 4001:4002 777
	f stat newchar.moved rdev 5:1 , stat newblock.link rdev 8:0 , stat block rdev 7:9 , stat newlink type l
}

# On disk everything is the mounting user's, and plain files and directories stand for the rest.
on_disk()
{
	[ -z "$(find "$U" -mindepth 1 \( -not -uid 0 -o -type b -o -type p -o -type s -o \( -type c -not -perm 0 -not -perm /777 \) \) -printf '%P %y %U\n')" ] ||
		fail "$(find "$U" -mindepth 1 -printf '%P %y %U\n')"
	[ -z "$(find "$U" -perm /6000)" ]
}

@test "mode 1: security.fuseoverlayfs.override_stat" {
	round xattr_permissions=1
	on_disk
	has_xattr "$U/new.moved" security.fuseoverlayfs.override_stat
}

@test "mode 2: user.containers.override_stat" {
	round xattr_permissions=2
	on_disk
	has_xattr "$U/new.moved" user.containers.override_stat
}

@test "an upper that has the older form keeps it" {
	xattr "$U" user.fuseoverlayfs.override_stat 0:0:40755
	put "$U/theirs" x; xattr "$U/theirs" user.fuseoverlayfs.override_stat 77:78:100640
	union_mount xattr_permissions=2
	is theirs f 77:78 640
	chown 79:80 "$M/theirs"
	has_xattr "$U/theirs" user.fuseoverlayfs.override_stat
	no_xattr "$U/theirs" user.containers.override_stat
	union_remount
	is theirs f 79:80 640
}

@test "mode 2: capabilities and labels are kept aside" {
	put "$L/caps" x; "$FSOP" setx "$L/caps" security.capability 0x0100000200200000000000000000000000000000
	union_mount xattr_permissions=2
	chmod 700 "$M/caps"
	f getx caps security.capability 0x0100000200200000000000000000000000000000
	has_xattr "$U/caps" user.containers.override_security.capability
	no_xattr "$U/caps" security.capability
	f rmx caps security.capability , '!ENODATA' getx caps security.capability x
}

@test "one user id is enough: a namespace with root alone" {
	chown -R 61234:61234 "$T"
	rm -r "$L"; mkdir "$L"; put "$L/file" data; chown -R 61234:61234 "$L"
	install -m 755 "$PLYFS" "$T/plyfs"
	chmod 666 /dev/fuse
	cat >"$T/inside" <<-END
		set -eu
		o=lowerdir=$L,upperdir=$U,workdir=$W,xattr_permissions=2
		"$T/plyfs" -o "\$o" "$M"
		mkfifo "$M/p"; mkdir "$M/d"; ln -s x "$M/l"
		# the kernel lets root of this namespace give away only to ids that it knows; what the attribute says may be more
		chmod 4711 "$M/file"; chmod 600 "$M/p"; chmod 1777 "$M/d"; echo more >>"$M/file"
		umount "$M"
		for i in 1 2 3 4 5 6 7 8 9 10; do "$T/plyfs" -o "\$o" "$M" && break; sleep 0.5; done
		stat -c '%a %u %F' "$M/file" "$M/p" "$M/d"
		cat "$M/file"
		umount "$M"
	END
	RECHECK=no
	run setpriv --reuid 61234 --regid 61234 --clear-groups unshare -rm --propagation private bash "$T/inside" 3>&-
	[ "$output" = "711 0 regular file
600 0 fifo
1777 0 directory
datamore" ] || fail "$output"
}
