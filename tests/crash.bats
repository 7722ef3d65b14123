#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
# timeout: 1800
#
# Power cuts: a disk as it was at many moments of a workload, with the writes that were not flushed kept or lost, is mounted again;
# the union on it shows each file old or new, what was synced is there, and nothing is left over. PLY_CRASH_POINTS and
# PLY_CRASH_SEED make it longer or other.

load lib/common
PLY_LIMIT=$((PLY_LIMIT * 6))

power() # ARG...
{
	[ "$(id -u)" = 0 ] || skip "needs loop devices"
	losetup -f >/dev/null 2>&1 || skip "no loop devices here"
	mkdir "$T/disk"
	# the disk's image: not on the disk of the machine
	fs_tmpfs "$T/disk" size=2g
	timeout "$((PLY_LIMIT - 5))" python3 "$PLY_SRCDIR/tests/crash/power.py" --plyfs "$PLYFS" --dir "$T/disk" --keep-going \
		--seed "${PLY_CRASH_SEED:-$SEED}" --points "${PLY_CRASH_POINTS:-16}" "$@"
}

prepare()
{
	RECHECK=no
	SEED=$BATS_TEST_NUMBER
	command -v python3 >/dev/null || skip "no python3"
}

@test "ext4: a cut at any moment; overlayfs sees the same" {
	power --fs ext4 --kernel
}

@test "ext4 with metacopy" {
	power --fs ext4 --options metacopy=on --kernel
}

@test "ext4, everything synced, nothing in passthrough" {
	power --fs ext4 --options fsync=strict,passthrough=off
}

@test "xfs, which copies up by reflink" {
	command -v mkfs.xfs >/dev/null || skip "no mkfs.xfs"
	grep -qw xfs /proc/filesystems || skip "no xfs in this kernel"
	power --fs xfs --kernel
}

# killed ARG...: the daemon, in front of each of its system calls that change something; or those fail
killed()
{
	[ "$(id -u)" = 0 ] || skip "the layers need trusted attributes"
	mkdir "$T/disk"
	fs_tmpfs "$T/disk" size=1g
	timeout "$((PLY_LIMIT - 5))" python3 "$PLY_SRCDIR/tests/crash/kill.py" --plyfs "$PLYFS" --killat "$PLY_BUILDDIR/tests/tools/killat" \
		--dir "$T/disk" --seed "${PLY_CRASH_SEED:-$SEED}" --ops "${PLY_CRASH_OPS:-8}" "$@"
}

@test "the daemon is killed in the middle of each operation; overlayfs sees the same" {
	killed --kernel
}

@test "the daemon is killed in the middle, with metacopy" {
	killed --kernel --options metacopy=on
}

@test "each system call fails for want of room: the operation changes nothing, or is done" {
	# The writeback cache, where there is no passthrough, tells it by a later fsync or close, and shows what it could not write
	killed --errno ENOSPC --options writeback=0
}

@test "killed while the last name of a written hard link goes: gone or new, never old" {
	put "$L/a" old; ln "$L/a" "$L/b"
	printf '#!/bin/sh\nexec "%s" "%s" "%s" "$@"\n' "$PLY_BUILDDIR/tests/tools/killat" "$T/count" "$PLYFS" >"$T/plyfs"
	chmod +x "$T/plyfs"
	real=$PLYFS
	for how in unlink rename; do
		for n in {1..12}; do
			rm -rf "$U" "$W"; mkdir "$U" "$W"
			head -c 16 /dev/zero >"$T/count"
			PLYFS=$T/plyfs
			union_mount
			f open w a w+trunc , write w new , unlink a , open w other w+creat , write w other
			printf "\\$(printf %o "$n")" | dd of="$T/count" conv=notrunc bs=1 status=none
			case $how in
			unlink) f unlink b || true ;;
			rename) f rename other b || true ;;
			esac
			head -c 4 /dev/zero | dd of="$T/count" conv=notrunc bs=4 status=none
			PLYFS=$real
			if [ "$(od -An -tu4 -j 8 -N 4 "$T/count" | tr -d ' ')" = 0 ]; then
				union_umount
				break
			fi
			echo 137 >"$D/want"
			daemon_ended "$D"
			umount -l "$M"
			union_mount
			got=$(cat "$M/b" 2>/dev/null || echo gone)
			case $how:$got in
			unlink:new|unlink:gone|rename:new|rename:other) ;;
			*) fail "$how, killed in front of call $n: b is '$got'" ;;
			esac
			[ "$got" = gone ] || [ "$(field h "$M/b")" = 1 ]
			union_umount
		done
		[ "$n" -gt 2 ]
	done
}
