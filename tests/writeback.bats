#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns nopassthrough threads1 asan tsan
# timeout: 600
#
# With the writeback cache the kernel keeps a file's times, and tells them when they changed: what the daemon does to the
# file on the layer must not make others of them, for after a remount those count.

load lib/common

# The times of the files as they are seen, and as they are in upper
same_times()
{
	(cd "$M" && find . -type f -printf '%f %T@\n' | LC_ALL=C sort) >"$T/times.live"
	(cd "$U" && find . -type f -printf '%f %T@\n' | LC_ALL=C sort) >"$T/times.upper"
	diff "$T/times.live" "$T/times.upper"
}

# The kernel's clock has ticks: only where one comes between two steps can it go wrong, so it is done often.
@test "write, fsync, then fallocate in the same tick of the clock" {
	union_mount passthrough=off
	for ((i = 0; i < 200; i++)); do
		"$FSOP" -C "$M" open w "g$i" rw+creat , fill w 0 64k x , fsync w , fallocate w punch 0 4096
	done
	same_times
}

@test "write, fsync, then copy_file_range in the same tick of the clock" {
	union_mount passthrough=off
	for ((i = 0; i < 200; i++)); do
		"$FSOP" -C "$M" open w "g$i" rw+creat , fill w 0 64k x , fsync w , copy w 0 w 32k 4096
	done
	same_times
}

copyups()
{
	"$PLYCTL" status --json "$M" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["counters"]["copyups"])'
}

# The kernel tells of the new ctime of what was removed.
@test "a lower file that is removed or replaced is not copied up for its times; when a user sets them it is" {
	plyfs_only plyctl
	mkdir -m 700 "$T/runtime"
	export XDG_RUNTIME_DIR=$T/runtime
	"$FSOP" mkmany "$L" n 5
	union_mount passthrough=off
	f open w new w+creat , close w
	stat "$M"/* >"$T/stat"
	[ "$(copyups)" = 0 ]
	f unlink n0 , rename new n1
	f open r n2 r , unlink n2 , stat @r nlink 0
	[ "$(copyups)" = 0 ]
	f open r n3 r , unlink n3 , utime @r omit 1000000001.500000000 , stat @r mtime 1000000001.500000000 nlink 0
	[ "$(copyups)" = 1 ]
	f utime n4 omit 1000000001.500000000
	[ "$(copyups)" = 2 ]
	same_times
}
