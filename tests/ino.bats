#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# st_ino: one for every object, never changed by copy-up, rename or remount, never shared; d_ino says the same.

load lib/common

inos() # FILE...: their numbers in one line
{
	(cd "$M" && stat -c %i "$@" | tr '\n' ' ')
}

no_doubles()
{
	local twice
	twice=$(find "$M" ! -type d -links 1 -printf '%i\n' -o -type d -printf '%i\n' | sort | uniq -d)
	[ -z "$twice" ] || { find "$M" -printf '%i %p\n' | sort; fail "twice: $twice"; }
}

@test "copy-up keeps the number: data, metadata, every type" {
	put "$L/d/f" x; put "$L/g" y; mkdir "$L/e"; ln -s f "$L/s"; mkfifo "$L/p"
	union_mount
	before=$(inos d d/f g e) special=$(inos s p)
	f open w d/f w+append , write w + , chmod g 0600 , chmod e 0700 , utime s 5 6 , chmod p 0600
	[ "$(inos d d/f g e) $(inos s p)" = "$before $special" ]
	union_remount
	[ "$(inos d d/f g e)" = "$before" ]
	[ "$OVL" = user.overlay ] || [ "$(inos s p)" = "$special" ] # user.* cannot be set on those
	f lscheck . , lscheck d
}

@test "rename keeps the number, of files and directories, also after a remount" {
	put "$L/d/f" x; put "$L/g" y; put "$U/u" z; mkdir "$L/e"
	union_mount
	before=$(inos d d/f g u)
	f rename d d2 , rename g e/g2 , rename u e/u2
	[ "$(inos d2 d2/f e/g2 e/u2)" = "$before" ]
	f lscheck . , lscheck d2 , lscheck e
	union_remount
	[ "$(inos d2 d2/f e/g2 e/u2)" = "$before" ]
	f lscheck . , lscheck d2 , lscheck e
}

@test "untouched objects keep their number over remounts, merged directories too" {
	LAYERS=("$L" "$L2")
	put "$L/d/a" 1; put "$L2/d/b" 2; put "$L2/e/f" 3; put "$U/u/v" 4
	union_mount
	before=$(inos . d d/a d/b e e/f u u/v)
	union_remount
	[ "$(inos . d d/a d/b e e/f u u/v)" = "$before" ]
	f chmod d 0700 , open w d/c w+creat
	[ "$(inos . d d/a d/b e e/f u u/v)" = "$before" ]
	union_remount
	[ "$(inos . d d/a d/b e e/f u u/v)" = "$before" ]
}

@test "layers on different filesystems: one st_dev, no number twice, stable" {
	fs_tmpfs "$T/fs1"; fs_tmpfs "$T/fs2"
	LAYERS=("$T/fs1" "$T/fs2" "$L")
	# the same small numbers on both
	for i in {1..20}; do put "$T/fs1/a$i" "$i"; put "$T/fs2/b$i" "b$i"; done
	put "$T/fs1/d/x" 1; put "$T/fs2/d/y" 2; put "$L/d/z" 3
	for i in {1..5}; do put "$L/c$i" "$i"; done
	union_mount
	no_doubles
	for i in {1..20}; do says "$M/a$i" "$i"; says "$M/b$i" "b$i"; done # no shared page cache
	[ "$(find "$M" -printf '%D\n' | sort -u | wc -l)" = 1 ]
	before=$(inos a1 b1 b20 c1 d d/x d/y d/z)
	f open w a1 w+append , write w + , chmod b1 0600 , chmod c1 0600 , chmod d/y 0600 , lscheck . , lscheck d
	[ "$(inos a1 b1 b20 c1 d d/x d/y d/z)" = "$before" ]
	no_doubles
	union_remount
	[ "$(inos a1 b1 b20 c1 d d/x d/y d/z)" = "$before" ]
	f lscheck . , lscheck d
	no_doubles
}

@test "upper on another filesystem than the lower" {
	fs_tmpfs "$T/upfs"
	mkdir "$T/upfs/u" "$T/upfs/w"; UPPER=$T/upfs/u WORK=$T/upfs/w
	"$FSOP" setx "$UPPER" "$OVL.probe" 1 || skip "no such xattrs on tmpfs"
	"$FSOP" rmx "$UPPER" "$OVL.probe"
	for i in {1..20}; do put "$L/f$i" "$i"; done
	union_mount
	for i in {1..20}; do f open w "new$i" w+creat; done
	no_doubles
	before=$(inos f1 f2 f3 new1)
	f open w f1 w , rename f2 f2b , chmod f3 0600
	[ "$(inos f1 f2b f3 new1)" = "$before" ]
	no_doubles
	union_remount
	[ "$(inos f1 f2b f3 new1)" = "$before" ]
	no_doubles
}

@test "a file that takes the place of another has another number" {
	put "$L/f" x
	union_mount
	before=$(inos f)
	f unlink f , open w f w+creat
	[ "$(inos f)" != "$before" ]
	mkdir "$M/d"; d=$(inos d); f rmdir d , mkdir other , mkdir d , lscheck .
	no_doubles
}

@test "numbers that are used again on disk confuse nobody" {
	# ext4 gives the number of the unlinked file to the next one
	mkdir "$L/d"
	union_mount
	for i in {1..60}; do
		f open w "d/a$i" w+creat+excl , write w "a$i" , unlink "d/a$i" , mkdir "d/b$i" , open n "d/b$i/in" w+creat+excl , write n "in$i" , '!ENOENT' stat "d/a$i" , ls "d/b$i" in
	done
	for i in {1..60}; do says "$M/d/b$i/in" "in$i"; f unlink "d/b$i/in" , rmdir "d/b$i"; done
	f ls d ''
}

@test "open handles keep the number of the file they hold" {
	put "$L/f" x
	union_mount
	f open r f r , stat @r same f , open w f rw , pwrite w 0 y , stat @r same f , stat @w same f , rename f g , stat @r same g , stat @w same g
}

@test "bind mounts in a layer: the same inode at two places is seen at both" {
	[ "$PLY_SUITE" != plainuser ] || skip "needs mounts"
	put "$L/real/f" x; mkdir "$L/again"
	mount --bind "$L/real" "$L/again"; echo "$L/again" >>"$R/extra"
	RECHECK=no
	union_mount
	# overlayfs looks beneath mounts; who shows them must show both
	says "$M/real/f" x
	f ls real f , ls . 'again real'
	[ -z "$(ls "$M/again")" ] || says "$M/again/f" x
	union_umount
}

@test "xino off: still one number for a file, listed as statted" {
	fs_tmpfs "$T/fs1"
	LAYERS=("$L" "$T/fs1"); RECHECK=no
	put "$L/a" 1; put "$T/fs1/b" 2
	union_mount xino=off
	one=$(inos a b)
	f open w a w+append , write w +
	[ "$PLY_TARGET" = overlayfs ] || [ "$(inos a b)" = "$one" ]
	says "$M/b" 2
}
