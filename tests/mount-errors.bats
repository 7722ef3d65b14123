#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns plainuser asan tsan
# timeout: 900
#
# A mount that cannot be: exit status non-zero, one line on stderr that names what was asked and why, nothing mounted,
# nothing left in upper or work.

load lib/common

# refused PATTERN ARG...: plyfs ARG... fails and says PATTERN (an extended regular expression, any case) in one line
refused()
{
	local pattern=$1 status=0 lines
	shift
	timeout 60 "$PLYFS" "$@" >"$T/out" 2>"$T/err" </dev/null 3>&- || status=$?
	cat "$T/err"
	[ "$status" != 0 ] || { is_mounted "$M" && umount "$M"; fail "it was mounted"; }
	[ "$status" != 124 ] || fail "it hangs"
	[ "$status" -lt 128 ] || fail "it died by a signal"
	lines=$(grep -vc '^$' "$T/err") || true
	[ "$lines" = 1 ] || fail "$lines lines on stderr"
	grep -Eqi -- "$pattern" "$T/err" || fail "not said: $pattern"
	if grep -E -n 'Sanitizer|runtime error:' "$T/err"; then fail "a sanitizer spoke"; fi
	is_mounted "$M" && fail "something is mounted"
	return 0
}

untouched() # upper and work are as they were: empty
{
	[ -z "$(ls -A "$U")" ] || { ls -lA "$U"; fail "left in upper"; }
	[ -z "$(find "$W" -mindepth 1 -type f)" ] || { find "$W"; fail "left in work"; }
}

@test "no arguments, no mount point, no lowerdir, too many arguments" {
	refused 'usage|help|mount ?point|lowerdir'
	refused 'mount ?point' -o "lowerdir=$L"
	refused lowerdir "$M"
	refused lowerdir -o "upperdir=$U,workdir=$W" "$M"
	refused 'argument' -o "lowerdir=$L" a b "$M"
	refused 'lowerdir' -o lowerdir= "$M"
	untouched
}

@test "a missing lower layer is named, first, middle or last" {
	refused "$T/missing.*|No such" -o "lowerdir=$T/missing:$L" "$M"
	refused "$T/missing" -o "lowerdir=$L:$T/missing:$L2" "$M"
	refused "$T/missing" -o "lowerdir=$L:$T/missing,upperdir=$U,workdir=$W" "$M"
	untouched
}

@test "a layer that is a file, a layer below a file, a dangling symlink" {
	put "$T/file" x; ln -s nowhere "$T/dangling"
	refused "$T/file" -o "lowerdir=$T/file" "$M"
	refused "$T/file/x" -o "lowerdir=$T/file/x" "$M"
	refused "$T/dangling" -o "lowerdir=$T/dangling" "$M"
	refused "$T/file" -o "lowerdir=$L,upperdir=$T/file,workdir=$W" "$M"
	refused "$T/file" -o "lowerdir=$L,upperdir=$U,workdir=$T/file" "$M"
}

@test "a missing upper, a missing work directory, one without the other" {
	refused "$T/missing" -o "lowerdir=$L,upperdir=$T/missing,workdir=$W" "$M"
	refused "$T/missing" -o "lowerdir=$L,upperdir=$U,workdir=$T/missing" "$M"
	refused workdir -o "lowerdir=$L,upperdir=$U" "$M"
	untouched
}

@test "upper is a lower, or nested in one, or the other way round" {
	mkdir "$L/in" "$U/in"
	refused "$L" -o "lowerdir=$L,upperdir=$L,workdir=$W" "$M"
	refused "$L/in" -o "lowerdir=$L,upperdir=$L/in,workdir=$W" "$M"
	refused "$U/in" -o "lowerdir=$U/in,upperdir=$U,workdir=$W" "$M"
	rmdir "$U/in"
	untouched
}

@test "work in upper, upper in work, work is upper, work in a lower" {
	mkdir "$U/w" "$W/u" "$L/w"
	refused "$U" -o "lowerdir=$L,upperdir=$U,workdir=$U/w" "$M"
	refused "$W" -o "lowerdir=$L,upperdir=$W/u,workdir=$W" "$M"
	refused "$U" -o "lowerdir=$L,upperdir=$U,workdir=$U" "$M"
	refused "$L/w" -o "lowerdir=$L,upperdir=$U,workdir=$L/w" "$M"
}

@test "the same nesting through symlinks and bind mounts is seen" {
	mkdir "$L/in"; ln -s "$L" "$T/alias"
	refused "alias|$L" -o "lowerdir=$L,upperdir=$T/alias,workdir=$W" "$M"
	refused "alias|$L" -o "lowerdir=$L,upperdir=$T/alias/in,workdir=$W" "$M"
	[ "$PLY_SUITE" != plainuser ] || return 0
	mkdir "$T/bind"
	mount --bind "$L/in" "$T/bind"; echo "$T/bind" >>"$R/extra"
	refused "bind|$L" -o "lowerdir=$L,upperdir=$T/bind,workdir=$W" "$M"
}

@test "work and upper on different filesystems" {
	fs_tmpfs "$T/other"
	mkdir "$T/other/w"
	refused "filesystem" -o "lowerdir=$L,upperdir=$U,workdir=$T/other/w" "$M"
	untouched
}

@test "the mount point inside a layer" {
	mkdir "$L/m" "$U/m"
	M=$L/m refused "$L" -o "lowerdir=$L" "$L/m"
	M=$U/m refused "$U" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$U/m"
	rmdir "$U/m"
	untouched
}

@test "a layer inside the mount point: refused, or pinned and working" {
	mkdir -p "$M/layer" "$M/up" "$M/wk"; put "$M/layer/f" x
	if timeout 60 "$PLYFS" -o "lowerdir=$M/layer" "$M" 2>"$T/err" 3>&-; then
		is_mounted "$M"
		says "$M/f" x
		umount "$M"
	else
		cat "$T/err"
		[ "$(grep -c . "$T/err")" = 1 ]
		grep -q "$M" "$T/err"
	fi
	refused "$M" -o "lowerdir=$L,upperdir=$M/up,workdir=$M/wk" "$M"
}

@test "a mount point that is missing, a file, a dangling symlink" {
	put "$T/file" x
	refused "$T/nowhere" -o "lowerdir=$L" "$T/nowhere"
	refused "$T/file" -o "lowerdir=$L" "$T/file"
}

@test "upper or work in use by another mount" {
	put "$L/f" x
	union_mount
	mkdir "$T/u2" "$T/w2" "$T/m2"
	M=$T/m2
	refused "use|busy" -o "lowerdir=$L,upperdir=$U,workdir=$T/w2" "$T/m2"
	refused "use|busy" -o "lowerdir=$L,upperdir=$T/u2,workdir=$W" "$T/m2"
	refused "use|busy" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$T/m2"
	M=$T/union
	says "$M/f" x
	[ -z "$(ls -A "$T/u2")" ]
	union_umount
	# and free again afterwards
	union_mount
}

@test "upper or work in use by the kernel's overlayfs" {
	mkdir "$T/u2" "$T/w2" "$T/m2" "$T/o"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$U,workdir=$W" "$T/o" || skip "no overlayfs"
	M=$T/m2
	refused "overlay mount of the kernel" -o "lowerdir=$L,upperdir=$U,workdir=$T/w2" "$T/m2"
	refused "overlay mount of the kernel" -o "lowerdir=$L,upperdir=$T/u2,workdir=$W" "$T/m2"
	umount "$T/o"
	M=$T/union
	union_mount
}

@test "501 layers" {
	list=
	for i in {1..501}; do mkdir -p "$T/l/$i"; list+=:$T/l/$i; done
	refused 500 -o "lowerdir=${list#:}" "$M"
}

@test "unknown options and words are named" {
	refused nosuchoption -o "lowerdir=$L,nosuchoption" "$M"
	refused nosuchoption -o "lowerdir=$L,nosuchoption=5" "$M"
	refused nosuchoption --nosuchoption -o "lowerdir=$L" "$M"
	refused 'redirect_dir.*maybe' -o "lowerdir=$L,redirect_dir=maybe" "$M"
	refused 'passthrough.*always' -o "lowerdir=$L,passthrough=always" "$M"
	refused 'fsync.*never' -o "lowerdir=$L,fsync=never" "$M"
}

@test "malformed numbers" {
	for o in threads=x threads=-1 threads= threads=99999999999999999999 timeout=soon timeout=-5 timeout=nan max_stack_depth=3 max_stack_depth=x uidmapping=0:0 uidmapping=a:b:c squash_to_uid=root xattr_permissions=7; do
		refused "${o%%=*}" -o "lowerdir=$L,$o" "$M"
	done
}

@test "options that contradict each other" {
	put "$L/f" x
	refused 'required' -o "lowerdir=$L,passthrough=required,max_stack_depth=0" "$M"
	mkdir "$L3/data"
	refused 'data' -o "lowerdir=::$L3" "$M"
}

@test "passthrough=required where it cannot be had" {
	case $PLY_SUITE in
	userns|plainuser) refused 'passthrough' -o "lowerdir=$L,upperdir=$U,workdir=$W,passthrough=required" "$M" ;;
	*) skip "root has it" ;;
	esac
	untouched
}

@test "an upper that cannot be written" {
	need_root
	fs_tmpfs "$T/ro"
	mkdir "$T/ro/u" "$T/ro/w"
	mount -o remount,ro "$T/ro"
	refused "$T/ro" -o "lowerdir=$L,upperdir=$T/ro/u,workdir=$T/ro/w" "$M"
}

@test "an upper on a filesystem that has neither xattrs nor whiteouts" {
	need_root
	command -v mkfs.vfat >/dev/null && grep -qw vfat /proc/filesystems || skip "no vfat"
	fs_loop "$T/fat" vfat 4M
	mkdir "$T/fat/u" "$T/fat/w"
	if timeout 60 "$PLYFS" -o "lowerdir=$L,upperdir=$T/fat/u,workdir=$T/fat/w" "$M" 2>"$T/err" 3>&-; then
		umount "$M"
	else
		[ "$(grep -c . "$T/err")" = 1 ]
		grep -q "$T/fat" "$T/err"
	fi
}

@test "an unreadable layer, as an ordinary user" {
	[ "$PLY_SUITE" = plainuser ] || skip "for root all is readable"
	mkdir "$T/closed"; chmod 0 "$T/closed"
	refused "$T/closed" -o "lowerdir=$T/closed" "$M"
	chmod 700 "$T/closed"
}

@test "no /dev/fuse" {
	need_root
	mkdir "$T/dev"
	run unshare -m --propagation private sh -c '
		mount -t tmpfs none /mnt && : >/mnt/null && mount --bind /dev/null /mnt/null && mount --move /mnt /dev || exit 99
		"$1" -o "lowerdir=$2" "$3"' sh "$PLYFS" "$L" "$M"
	[ "$status" != 99 ] || skip "cannot hide it"
	echo "$output"
	[ "$status" != 0 ]
	[[ "$output" == */dev/fuse* ]]
	[ "${#lines[@]}" = 1 ]
}

@test "no privilege, no fusermount3" {
	need_root
	run setpriv --reuid 1000 --regid 1000 --clear-groups env PATH=/nonexistent "$PLYFS" -o "lowerdir=$L" "$M"
	echo "$output"
	[ "$status" != 0 ] && [ "$status" -lt 126 ]
	# libfuse knows a fusermount3 at a place of its own, which says its line first
	[ "$(grep -vc '^fusermount3: ' <<<"$output")" = 1 ]
	is_mounted "$M" && fail mounted
	true
}

@test "stderr is one line even with -f and -d" {
	refused "$T/missing" -f -o "lowerdir=$T/missing" "$M"
}

@test "the mark of a volatile mount that did not end well" {
	mkdir -p "$W/work/incompat/volatile"
	refused "volatile" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M"
	[ -d "$W/work/incompat/volatile" ]
}

@test "an unknown incompat mark in work is refused" {
	mkdir -p "$W/work/incompat/feature-of-2040"
	refused "feature-of-2040|incompat" -o "lowerdir=$L,upperdir=$U,workdir=$W" "$M"
}
