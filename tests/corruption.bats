#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 300
#
# A lower file that somebody has open is changed by somebody else, in every way that there is. That no byte of a lower
# layer changes is checked by every teardown.

load lib/common

CORRUPT=$PLY_BUILDDIR/tests/race/corrupt

matrix() # EXPECTATION [MOUNT OPTIONS]
{
	"$CORRUPT" --setup "$L"
	union_mount "${2:-}"
	"$CORRUPT" --expect "$1" --upper "$U" "$M"
}

@test "reader x writer, as plyfs is by default: the old reader sees what is written" {
	plyfs_only "the kernel's mappings stay behind"
	matrix coherent
}

@test "reader x writer, without passthrough" {
	plyfs_only "passthrough"
	matrix coherent passthrough=off
}

@test "reader x writer, passthrough of everything: old or new, never a mixture" {
	plyfs_only "passthrough"
	matrix snapshot passthrough=full
}

@test "reader x writer, metacopy" {
	plyfs_only "the kernel's mappings stay behind"
	matrix coherent metacopy=on
}

@test "reader x writer on the kernel's overlayfs" {
	[ "$PLY_TARGET" = overlayfs ] || skip "the oracle"
	matrix snapshot
}
