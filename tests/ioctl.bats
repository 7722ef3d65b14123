#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs nopassthrough threads1 asan tsan
# timeout: 900
#
# FS_IOC_GETFLAGS, SETFLAGS and the FSXATTR pair: read from the layer, set in upper, obeyed.

load lib/common

prepare()
{
	: >"$T/probe"
	"$FSOP" open r "$T/probe" r , flags r , setflags r d+A || skip "no inode flags on this filesystem"
}

@test "flags are the layer's" {
	put "$L/f" x; put "$U/g" y; mkdir "$L/d"
	chattr +d "$L/f" "$U/g" "$L/d"
	union_mount
	f open r f r , flags r d , open g g r , flags g d , open d d r+dir , flags d d
}

@test "setflags on upper, on lower (copied up), on a directory" {
	put "$L/f" x; put "$U/g" y; mkdir "$L/d"
	union_mount
	f open r f r , setflags r d+A , flags r d+A , open g g r , setflags g A , flags g A , setflags g none , flags g none , open d d r+dir , setflags d d , flags d d
	says "$M/f" x
	[ -e "$U/f" ] # the lower layer keeps its own: the teardown checks that
}

@test "FSGETXATTR and FSSETXATTR" {
	put "$L/f" x; put "$U/g" y
	union_mount
	f open r f r , fsgetxattr r , open g g rw , fsgetxattr g , fssetxattr g d , flags g d
}

@test "append-only and immutable: set through the union, obeyed, survive a remount" {
	put "$L/f" x; put "$L/g" y
	union_mount
	f open r f r , setflags r a , open w f w+append , write w + , '!EPERM' open v f w , '!EPERM' unlink f , '!EPERM' rename f h
	f open r g r , setflags r i , '!EPERM' open w g w , '!EPERM' unlink g , '!EPERM' chmod g 0600
	says "$M/f" x+
	union_remount
	f open r f r , flags r a , '!EPERM' unlink f , setflags r none , unlink f , open r g r , flags r i , '!EPERM' unlink g , setflags r none , unlink g
}

@test "an immutable file of a lower layer is copied up as a writable one" {
	put "$L/f" x
	chattr +i "$L/f"
	union_mount
	# as overlayfs: copying it up carries i and a along (protattr), so the change is refused
	f '!EPERM' open w f w , '!EPERM' unlink f || f stat f type f
	says "$M/f" x
	union_umount
	lowers_unchanged
	chattr -i "$L/f"
	lower_changed
	union_mount
}

@test "an unknown ioctl is ENOTTY, a terminal's too" {
	put "$L/f" x
	union_mount
	[ "$(python3 - "$M/f" <<'END'
import fcntl, sys, errno
try:
    fcntl.ioctl(open(sys.argv[1]), 0x5401, bytes(64))
except OSError as e:
    print(errno.errorcode[e.errno])
END
)" = ENOTTY ]
}

@test "a stranger may not set flags" {
	need_root
	put "$L/f" x
	union_mount
	f user 1000 1000 , open r f r , '!EACCES' setflags r d || f user 1000 1000 , open r f r , '!EPERM' setflags r d
	absent "$U/f"
}
