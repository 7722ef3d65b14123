#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan
#
# SELinux labels of the whole mount (context= and its like), as podman passes them: quoted, with commas inside.

load lib/common

LABEL=system_u:object_r:container_file_t:s0:c1,c2

prepare()
{
	plyfs_only "mount(8) does it for the kernel's overlayfs"
	need_root
	put "$L/f" x
}

selinux_is_on()
{
	[ -e /sys/fs/selinux/enforce ]
}

@test "the label reaches the kernel's mount call whole, and no other option is lost" {
	command -v strace >/dev/null || skip "there is no strace"
	RECHECK=no
	strace -f -qq -s 500 -e trace=mount -o "$T/trace" "$PLYFS" \
		-o "lowerdir=$L,upperdir=$U,workdir=$W,volatile,,context=\"$LABEL\",uidmapping=:0:0:1000:,gidmapping=0:0:1000" "$M" 2>"$T/said" || true
	! is_mounted "$M" || umount "$M"
	grep -F 'context=\"'"$LABEL"'\"' "$T/trace" | grep -F 'allow_other' || fail "$(cat "$T/trace" "$T/said")"
	for o in fscontext defcontext rootcontext; do
		strace -f -qq -s 500 -e trace=mount -o "$T/trace" "$PLYFS" -o "lowerdir=$L,$o=system_u:object_r:tmp_t:s0" "$M" 2>"$T/said" || true
		! is_mounted "$M" || umount "$M"
		grep -F "$o="'\"system_u:object_r:tmp_t:s0\"' "$T/trace" || fail "$o: $(cat "$T/trace" "$T/said")"
	done
}

@test "without SELinux it is refused, the message says why, and nothing is mounted or left" {
	! selinux_is_on || skip "SELinux is enabled here"
	run "$PLYFS" -o "lowerdir=$L,upperdir=$U,workdir=$W,context=\"$LABEL\",fsync=0" "$M"
	[ "$status" = 1 ]
	[[ "$output" == *SELinux* && "$output" == *context=* ]] || fail "$output"
	[ "$(wc -l <<<"$output")" = 1 ] || fail "$output"
	! is_mounted "$M"
	union_mount
	says "$M/f" x
}

@test "with SELinux all of the mount has the label" {
	selinux_is_on || skip "SELinux is not enabled here"
	union_mount "context=\"system_u:object_r:tmp_t:s0\""
	echo new >"$M/new"
	for p in . f new; do
		[ "$(stat -c %C "$M/$p")" = system_u:object_r:tmp_t:s0 ] || fail "$p: $(stat -c %C "$M/$p")"
	done
}
