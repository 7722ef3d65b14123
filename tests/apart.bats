#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
#
# A new directory of the union's root comes by way of the work directory, where ext4 has room for it (workdir.c), and is what one made
# below is.

load lib/common

# same A B: but for names and times
same()
{
	diff <(cd "$M" && stat -c '%a %u %g %h %F' "$1") <(cd "$M" && stat -c '%a %u %g %h %F' "$2")
	diff <(cd "$M/$1" && getfacl -n . 2>/dev/null) <(cd "$M/$2" && getfacl -n . 2>/dev/null)
}

@test "umask, mode, owner and set-group-ID" {
	mkdir "$L/low" "$U/d"
	chown 0:1234 "$U" "$U/d" 2>/dev/null || chmod g+x "$U"
	chmod 2777 "$U" "$U/d"
	union_mount
	f umask 027 , mkdir a 0777 , mkdir d/a 0777 , umask 0 , mkdir b 0700 , mkdir d/b 0700 , mkdir c 01777 , mkdir d/c 01777
	for n in a b c; do same $n d/$n; done
	[ "$(stat -c %a "$M/a")" = 2750 ]
	f '!EEXIST' mkdir a , '!EEXIST' mkdir low , rmdir a , mkdir a 0755 , open x a/x w+creat
	union_remount
	[ "$(cd "$M" && echo *)" = "a b c d low" ]
	[ -z "$(ls -A "$W/work" | grep -v '^#whiteout$')" ]
}

@test "a default ACL" {
	mkdir "$U/d"
	for d in "$U" "$U/d"; do
		"$FSOP" setacl "$d" default u::rwx,u:1000:rwx,g::r-x,m::rwx,o::--- 2>/dev/null || skip "no ACLs on this filesystem"
	done
	union_mount
	f umask 077 , mkdir a 0777 , mkdir d/a 0777 , mkdir b 0700 , mkdir d/b 0700
	for n in a b; do same $n d/$n; done
	getfacl -n "$M/a" 2>/dev/null | grep -q '^default:user:1000:rwx'
}

@test "flags that are inherited" {
	mkdir "$U/d"
	chattr +dA "$U" "$U/d" 2>/dev/null || skip "no flags on this filesystem"
	union_mount
	mkdir "$M/a" "$M/d/a"
	[ "$(lsattr -d "$U/a" | cut -d ' ' -f 1)" = "$(lsattr -d "$U/d/a" | cut -d ' ' -f 1)" ]
	lsattr -d "$U/a" | cut -d ' ' -f 1 | grep -q 'd.*A'
}

@test "over a whiteout, and in a union without lowers of that name" {
	mkdir -p "$L/gone/x" "$L/gone/y"
	union_mount
	rm -r "$M/gone"
	mkdir "$M/gone" "$M/fresh"
	[ -z "$(ls -A "$M/gone")" ]
	union_remount
	[ -z "$(ls -A "$M/gone")" ]
	[ -d "$M/fresh" ]
}
