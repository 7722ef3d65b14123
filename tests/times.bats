#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns nopassthrough threads1 asan tsan
# timeout: 600
#
# Copy-up changes times and puts them back: of the directory that gets the new name, of a metacopy whose data are filled
# in. Nobody may see that, and no utimes may be lost by it. (The kernel's overlayfs does both.)

load lib/common

prepare()
{
	FILES=400
	mkdir "$L/d"
	for ((i = 0; i < FILES; i++)); do echo "content $i" >"$L/d/f$i"; done
	head -c 3000000 /dev/urandom >"$L/big"
	for ((i = 0; i < 20; i++)); do cp "$L/big" "$L/d/g$i"; done
}

@test "times of a directory and its files while the files are copied up" {
	union_mount
	"$PLY_BUILDDIR/tests/race/times" "$M/d"
}

@test "the same with metacopy: data are filled in later" {
	union_mount metacopy=on,redirect_dir=on
	"$PLY_BUILDDIR/tests/race/times" "$M/d"
	for ((i = 0; i < 20; i++)); do cmp "$L/big" "$M/d/g$i"; done
}
