#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# A full upper: the caller gets ENOSPC, no half file is left under any name, and what was there stays.

load lib/common

small() # SIZE
{
	fs_tmpfs "$T/small" "size=$1"
	mkdir "$T/small/u" "$T/small/w"
	UPPER=$T/small/u WORK=$T/small/w
	"$FSOP" setx "$UPPER" "$OVL.probe" 1 || skip "no such xattrs on tmpfs"
	"$FSOP" rmx "$UPPER" "$OVL.probe"
}

small_work_is_clean()
{
	[ -z "$(find "$WORK/work" -mindepth 1 -type f)" ] || { find "$WORK/work" -ls; fail "leftovers in work"; }
}

@test "a copy-up that does not fit: ENOSPC, the lower still reads, nothing in upper and work" {
	head -c 3M /dev/urandom >"$L/big"; put "$L/little" x
	small 1m
	union_mount
	f '!ENOSPC' open w big w , '!ENOSPC' chmod big 0600 , '!ENOSPC' truncate big 2m || {
		# chmod may have been done without the data
		f stat big size 3m
	}
	absent "$UPPER/big"
	small_work_is_clean
	cmp "$L/big" "$M/big"
	f open w little w+append , write w y
	says "$M/little" xy
	[ "$(du -sk "$UPPER" | cut -f 1)" -lt 200 ]
}

@test "after room is made the copy-up works" {
	head -c 700k /dev/urandom >"$L/f"; head -c 600k /dev/urandom >"$T/filler"
	small 1m
	union_mount
	cp "$T/filler" "$M/filler"
	f '!ENOSPC' open w f w , unlink filler
	# the kernel closes files and forgets them when it likes
	wait_for "the room of the unlinked file" "$FSOP" -C "$M" open w f w
	f open w f w+append , write w tail
	cmp -n $((700 * 1024)) "$L/f" "$M/f"
	small_work_is_clean
}

@test "writes into a full upper: ENOSPC, a failed new file does not hurt others" {
	put "$L/f" x
	small 512k
	union_mount
	f open w a w+creat , write w kept
	# with writeback caching it is fsync that tells
	! dd if=/dev/zero of="$M/full" bs=4096 count=1000 conv=fsync 2>/dev/null || fail "it never filled"
	says "$M/a" kept
	"$FSOP" -C "$M" open w full w+append , '!ENOSPC' fallocate w alloc 0 2m
	f unlink full
	wait_for "the room of the unlinked file" "$FSOP" -C "$M" open w f w
	f open w f w+append , write w y , fsync w
	says "$M/f" xy
}

@test "no inodes left: create, mkdir, copy-up and whiteout fail cleanly" {
	for i in {1..30}; do put "$L/d/f$i" "$i"; done
	fs_tmpfs "$T/small" size=4m,nr_inodes=24
	mkdir "$T/small/u" "$T/small/w"; UPPER=$T/small/u WORK=$T/small/w
	"$FSOP" setx "$UPPER" "$OVL.probe" 1 || skip "no such xattrs on tmpfs"
	"$FSOP" rmx "$UPPER" "$OVL.probe"
	union_mount
	made=0
	for i in {1..30}; do "$FSOP" -C "$M" open w "n$i" w+creat 2>/dev/null || break; made=$i; done
	[ "$made" -lt 30 ]
	f '!ENOSPC' mkdir dir , '!ENOSPC' open w d/f1 w , '!ENOSPC' symlink a s
	"$FSOP" -C "$M" unlink d/f2 2>/dev/null || f stat d/f2 type f
	for i in $(seq 3 30); do says "$M/d/f$i" "$i"; done
	for i in $(seq 1 "$made"); do f unlink "n$i"; done
	f open w d/f1 w+append , write w + , mkdir dir
	says "$M/d/f1" 1+
}

@test "a rename that cannot write its whiteout leaves both names as they were" {
	put "$L/a" A; put "$L/b" B
	small 256k
	union_mount
	dd if=/dev/zero of="$M/full" bs=4096 count=1000 conv=fsync 2>/dev/null || true
	if "$FSOP" -C "$M" rename a c 2>/dev/null; then
		says "$M/c" A
	else
		says "$M/a" A
		absent "$M/c"
	fi
	says "$M/b" B
	f unlink full
}

@test "a small ext4: metadata and data of many copy-ups, until it is full" {
	fs_loop "$T/small" ext4 8M -q -O ^has_journal
	mkdir "$T/small/u" "$T/small/w"; UPPER=$T/small/u WORK=$T/small/w
	for i in {1..30}; do head -c 600k /dev/urandom >"$L/f$i"; done
	union_mount
	for i in {1..30}; do
		"$FSOP" -C "$M" open w "f$i" w 2>/dev/null || f '!ENOSPC' open w "f$i" w
		cmp "$L/f$i" "$M/f$i"
	done
	[ ! -e "$UPPER/f30" ]
	small_work_is_clean
}

@test "a quota of one: EDQUOT or ENOSPC reach a user's write" {
	need_root
	mkdir -m 1777 "$L/tmp"
	small 256k
	union_mount
	f user 1000 1000 , open w tmp/f w+creat , '!ENOSPC' fallocate w alloc 0 1m
	# with writeback caching it is fsync that tells
	"$FSOP" -C "$M" user 1000 1000 , open w tmp/g w+creat , '!ENOSPC' fill w 0 1m x || {
		f unlink tmp/g
		f user 1000 1000 , open w tmp/g w+creat , fill w 0 1m x , '!ENOSPC' fsync w
	}
	f unlink tmp/g
}

@test "RLIMIT_FSIZE of the caller is EFBIG, not ENOSPC" {
	put "$L/f" x
	union_mount
	(ulimit -f 64; trap '' XFSZ; "$FSOP" -C "$M" open w f w , '!EFBIG' pwrite w 1m x , '!EFBIG' truncate f 1m)
	says "$M/f" x
}
