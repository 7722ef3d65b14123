#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# setgid directories, the sticky bit, and what an ordinary user's changes take away: suid, sgid, file capabilities.

load lib/common

CAPS=0x0100000200040000000000000000000000000000 # cap_net_raw=ep, version 2

# a file of mode $2 that the world may write
open_to_all()
{
	put "$1" 'some data'
	chmod "$2" "$1"
}

@test "setgid directories hand on their group and bit, over a whiteout too" {
	[ "$PLY_SUITE" != plainuser ] || skip "chown"
	mkdir "$L/d" "$U/u"; put "$L/d/gone" x; mkdir "$L/d/gonedir"; chown 0:2000 "$L/d" "$U/u"; chmod 2777 "$L/d" "$U/u"
	union_mount
	f open w d/f w+creat 0644 , stat d/f gid 2000 mode 644 , mkdir d/s , stat d/s gid 2000 mode 2755 , mkdir d/s/t , stat d/s/t gid 2000 mode 2755 , symlink t d/l , stat d/l gid 2000 , mknod d/p p 0600 , stat d/p gid 2000 \
		, unlink d/gone , open g d/gone w+creat , stat d/gone gid 2000 , rmdir d/gonedir , mkdir d/gonedir , stat d/gonedir gid 2000 mode 2755 , open t d rw+tmpfile , stat @t gid 2000 \
		, open x u/f w+creat , stat u/f gid 2000 , mkdir u/s , stat u/s gid 2000 mode 2755
	f user 1000 1000 , open w d/mine w+creat 02770 , stat d/mine uid 1000 gid 2000 , mkdir d/mydir , stat d/mydir gid 2000 mode 2755
	# sgid and group-execute are not for those outside the group
	f user 1000 1000 , umask 0 , open w d/evil w+creat 02775 , stat d/evil mode 775
	[ "$(field g "$U/d/f")" = "$(field g "$L/d")" ]
}

@test "sticky directories: only the owner removes and renames" {
	mkdir -m 1777 "$L/tmp"; put "$L/tmp/roots" x
	union_mount
	f user 1000 1000 , open w tmp/mine w+creat , '!EPERM' unlink tmp/roots , '!EPERM' rename tmp/roots tmp/x , mkdir tmp/d
	f user 1001 1001 , '!EPERM' unlink tmp/mine , '!EPERM' rmdir tmp/d , '!EPERM' rename tmp/mine tmp/his
	f user 1000 1000 , unlink tmp/mine , rmdir tmp/d
}

@test "suid and sgid go at a write by an ordinary user, in lower and upper" {
	for n in a b c d; do open_to_all "$L/$n" 6777; open_to_all "$U/u$n" 6777; done
	union_mount
	for p in '' u; do
		f user 1000 1000 , open w ${p}a rw , stat ${p}a mode 6777 , pwrite w 0 X , stat ${p}a mode 777 , open v ${p}b w+append , write v X , stat ${p}b mode 777 , truncate ${p}c 3 , stat ${p}c mode 777 , open t ${p}d w+trunc , stat ${p}d mode 777
		says "$M/${p}a" 'Xome data'
	done
	union_remount
	f stat a mode 777 , stat ua mode 777
}

@test "suid and sgid go at fallocate, punch and zero by an ordinary user" {
	for n in a b c; do open_to_all "$L/$n" 6777; open_to_all "$U/u$n" 6777; done
	"$FSOP" open w "$T/probe" rw+creat , fill w 0 64k x , fallocate w punch 0 4096 , fallocate w zero 0 4096 || skip "not all modes here"
	union_mount
	for p in '' u; do
		f user 1000 1000 , open a ${p}a rw , fallocate a alloc 0 8192 , stat ${p}a mode 777 , open b ${p}b rw , fallocate b punch 0 4096 , stat ${p}b mode 777 , open c ${p}c rw , fallocate c zero 0 4096 , stat ${p}c mode 777
	done
}

@test "suid and sgid go at copy_file_range, splice and ftruncate by an ordinary user" {
	for n in a b c; do open_to_all "$L/$n" 6777; done
	put "$L/src" 0123456789
	union_mount
	f user 1000 1000 , open r src r , open a a rw , copy r 0 a 0 10 , stat a mode 777 , open b b rw , splice r 0 b 0 10 , stat b mode 777 , open c c rw , truncate @c 2 , stat c mode 777
}

@test "root's write leaves suid alone" {
	need_root # capable() asks for the initial namespace
	open_to_all "$L/a" 6777
	union_mount
	f open w a rw , pwrite w 0 X , stat a mode 6777
}

@test "chown by root drops suid and sgid of files, keeps them on directories" {
	[ "$PLY_SUITE" != plainuser ] || skip "chown"
	open_to_all "$L/f" 6755; open_to_all "$L/g" 2745; mkdir "$L/d"; chmod 2755 "$L/d"; open_to_all "$U/u" 6755
	union_mount
	f chown f 1000 1000 , stat f mode 755 , chown g 1000 1000 , stat g mode 2745 , chown d 1000 1000 , stat d mode 2755 , chown u 1000 1000 , stat u mode 755
}

@test "chgrp by the owner drops suid and sgid" {
	need_root
	open_to_all "$L/f" 6755; chown 1000:1000 "$L/f"
	union_mount
	f user 1000 1000 , chown f -1 1000 , stat f mode 755
}

@test "chmod: sgid of a foreign group is dropped silently" {
	need_root
	put "$L/f" x; chown 1000:2000 "$L/f"; put "$L/mine" x; chown 1000:1000 "$L/mine"
	union_mount
	f user 1000 1000 , chmod f 02755 , stat f mode 755 , chmod mine 02755 , stat mine mode 2755 , chmod mine 04755 , stat mine mode 4755
}

@test "file capabilities: seen, kept by copy-up of metadata, dropped at write, truncate and chown" {
	need_root
	for n in a b c d e; do open_to_all "$L/$n" 777; xattr "$L/$n" security.capability "$CAPS"; done
	open_to_all "$U/u" 777; xattr "$U/u" security.capability "$CAPS"
	union_mount
	f getx a security.capability "$CAPS" , utime a 5 6 , getx a security.capability "$CAPS" , chmod a 0666 , getx a security.capability "$CAPS"
	f user 1000 1000 , open w a rw , write w X , '!ENODATA' getx a security.capability '' , open v u rw , write v X , '!ENODATA' getx u security.capability '' , truncate b 1 , '!ENODATA' getx b security.capability ''
	f chown c 5 6 , '!ENODATA' getx c security.capability '' , open w d w , write w X , '!ENODATA' getx d security.capability '' , rename e e2 , getx e2 security.capability "$CAPS"
	union_remount
	f '!ENODATA' getx a security.capability '' , '!ENODATA' getx d security.capability '' , getx e2 security.capability "$CAPS"
}

@test "a stranger reads, writes and lists only what modes allow, in every layer" {
	put "$L/secret" x; chmod 600 "$L/secret"; mkdir -m 700 "$L/private"; put "$L/private/f" x; mkdir -m 711 "$L/blind"; put "$L/blind/f" x; put "$U/usecret" y; chmod 600 "$U/usecret"
	union_mount
	f user 1000 1000 , '!EACCES' open r secret r , '!EACCES' open r usecret r , '!EACCES' open r private/f r , '!EACCES' ls private , '!EACCES' ls blind , open r blind/f r , '!EACCES' open w blind/new w+creat , '!EACCES' mkdir x \
		, '!EACCES' symlink a b , '!EACCES' unlink blind/f , '!EACCES' setx blind/f user.a b , '!EPERM' chmod blind/f 0777 , '!EACCES' access secret r , '!EACCES' access . w
	absent "$U/blind" "$U/secret"
}

@test "an unprivileged write-open of a lower file he may write works through directories he may not" {
	mkdir -p "$L/a/b"; open_to_all "$L/a/b/f" 666
	union_mount
	f user 1000 1000 , open w a/b/f w , write w user , '!EACCES' open n a/b/new w+creat
	says "$M/a/b/f" 'user data'
	f stat a/b/f uid "$(field u "$M/a")" mode 666
}

@test "supplementary groups count" {
	need_root
	put "$L/f" x; chown 0:3000 "$L/f"; chmod 660 "$L/f"; mkdir "$L/d"; chown 0:3000 "$L/d"; chmod 770 "$L/d"
	union_mount
	setpriv --reuid 1000 --regid 1000 --groups 3000,3001 "$FSOP" -C "$M" open w f rw , write w X , open n d/n w+creat
	setpriv --reuid 1000 --regid 1000 --groups 3001 "$FSOP" -C "$M" '!EACCES' open w f rw , '!EACCES' open n d/n w+creat
	[ "$(field u:%g "$M/d/n")" = 1000:1000 ]
}

@test "root's write, append and truncate keep suid and sgid, in upper too" {
	need_root
	put "$L/s" data; chmod 6755 "$L/s"; put "$U/u" data; chmod 4755 "$U/u"; put "$U/g" data; chmod 755 "$U/g"
	union_mount
	f open a s w+append , write a more , stat s mode 6755 , open b u rw , write b X , stat u mode 4755 , truncate u 1 , stat u mode 4755
	# A file that was in passthrough before it got the bit, and one that is made with it.
	f open c g rw , write c X , close c , chmod g 04755 , open d g rw , write d Y , stat g mode 4755 , umask 0 , open n new w+creat 04755 , write n Z , stat new mode 4755
	union_remount
	f open a s rw , write a Y , stat s mode 6755 , user 1000 1000 , stat u mode 4755
}

@test "no thread of the daemon keeps a privilege that it does not need" {
	plyfs_only "a daemon"
	need_root
	put "$L/f" x
	union_mount
	f open w f w+append , write w y
	pid=$(cat "$D/pid")
	n=0
	for t in /proc/"$pid"/task/*/status; do
		caps=$(sed -n 's/^CapPrm:[[:space:]]*//p' "$t")
		[ -n "$caps" ] || continue
		n=$((n + 1))
		# kill, setgid, setuid, net_admin, sys_module, sys_ptrace, sys_resource
		for bit in 5 6 7 12 16 19 24; do
			[ $((0x$caps >> bit & 1)) = 0 ] || fail "$t has the capability $bit: $caps"
		done
	done
	[ "$n" -ge 2 ]
}
