#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
#
# Asynchronous I/O, direct and through the page cache, on files of upper and on files that are copied up for it: what is read
# is what was written last, by every way of reading.

load lib/common

AIO=$PLY_BUILDDIR/tests/tools/aio

aio()
{
	local rc=0
	"$AIO" "$@" || rc=$?
	[ "$rc" != 77 ] || skip "no such I/O here"
	return "$rc"
}

both() # FILE: on a file that is there or not, then the upper's is the union's
{
	aio -d "$M/$1" 300 3000 32
	aio "$M/$1" 300 3000 32
	aio -d "$M/$1" 400 2000 7
	cmp "$M/$1" "$U/$1"
	# direct writes leave the mtime to the layer where the kernel has writeback caching: given here, it is the same
	f utime "$1" 5 6
}

@test "a new file" {
	union_mount
	both new
}

@test "a lower file, read by others meanwhile" {
	dd if=/dev/zero of="$L/f" bs=4096 count=300 status=none
	union_mount
	exec 5<"$M/f"
	head -c 8192 <&5 >/dev/null
	both f
	exec 5<&-
}

@test "a file below static=, whose readers may keep the lower one" {
	mkdir -p "$L/usr/lib"
	dd if=/dev/zero of="$L/usr/lib/f" bs=4096 count=300 status=none
	union_mount
	"$FSOP" -C "$M" open r usr/lib/f r , check r 0 4096 '\0'
	# the tool's own reader is open before it writes; by the rule of plyfs(8) that one would see what was: so copied up before
	f open w usr/lib/f w
	both usr/lib/f
}

@test "four at once, of different files" {
	for i in 1 2; do dd if=/dev/zero of="$L/f$i" bs=4096 count=200 status=none; done
	union_mount
	for i in 1 2 3 4; do
		"$AIO" -d "$M/f$i" 200 1500 16 2>"$T/said.$i" &
		pids[i]=$!
	done
	for i in 1 2 3 4; do
		rc=0; wait "${pids[i]}" || rc=$?
		[ "$rc" != 77 ] || skip "no such I/O here"
		[ "$rc" = 0 ] || fail "$i: $(cat "$T/said.$i")"
	done
	f utime f1 5 6 , utime f2 5 6 , utime f3 5 6 , utime f4 5 6
}
