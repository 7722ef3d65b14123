#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Bytes: what a program wrote is what every later reader gets, by every way there is to write and read.

load lib/common

# a file of 1 MiB: 256 pages, each of one letter in turn
letters()
{
	mkdir -p "$(dirname "$1")"
	python3 -c 'import sys; open(sys.argv[1], "wb").write(b"".join(bytes([97 + i % 26]) * 4096 for i in range(256)))' "$1"
}

@test "the first write copies up; the rest of the file is the lower's" {
	letters "$L/d/f"
	union_mount
	f open w d/f rw , pwrite w 5000 X , check w 0 4096 a , pread w 4999 3 bXb , check w 1044480 4096 v , stat d/f size 1m
	cmp <(head -c 4096 "$M/d/f") <(head -c 4096 "$L/d/f")
	cmp <(tail -c 1000000 "$M/d/f") <(tail -c 1000000 "$L/d/f")
}

@test "opening for reading copies nothing up, opening for writing does" {
	put "$L/f" x; put "$L/g" y
	union_mount
	f open r f r , read r 9 x , open w g w
	absent "$U/f"
	says "$U/g" y
}

@test "a reader that was there before the writer sees what it wrote" {
	plyfs_only "overlayfs' old handles stay on the lower file"
	letters "$L/f"
	union_mount passthrough=auto
	f open r f r , check r 0 4096 a , open w f rw , fill w 0 4096 Z , check r 0 4096 Z , check r 4096 4096 b , open n f r , check n 0 4096 Z
}

@test "a reader opened after the writer, and a writer after it" {
	letters "$L/f"
	union_mount
	f open w f rw , fill w 0 4096 Z , open r f r , check r 0 4096 Z , open v f w , fill v 4096 4096 Y , check r 4096 4096 Y , check w 4096 4096 Y
}

@test "mmap shared: stores are seen by read, by another mapping and after the unmap" {
	letters "$L/f"; letters "$U/g"
	union_mount
	for n in f g; do
		f open w $n rw , mmap m w 0 8192 rw shared , mmap o w 0 8192 r shared , mwrite m 10 stored , pread w 10 6 stored \
			, mread o 10 6 stored , pwrite w 20 written , mread m 20 7 written , msync m , munmap m , pread w 9 8 astoreda
		f open r $n r , pread r 10 6 stored
	done
	union_remount
	f open r f r , pread r 10 6 stored , open r g r , pread r 20 7 written
}

@test "mmap shared stays writable after the handle is closed" {
	letters "$L/f"
	union_mount
	f open w f rw , mmap m w 4096 4096 rw shared , close w , mwrite m 0 late , open r f r , pread r 4096 4 late , munmap m , pread r 4096 5 lateb
	union_remount
	f open r f r , pread r 4096 4 late
}

@test "mmap private: stores stay private, of lower and upper files" {
	letters "$L/f"; letters "$U/g"
	union_mount
	f open r f r , mmap m r 0 4096 rw private , mwrite m 0 mine , mread m 0 5 minea , pread r 0 5 aaaaa \
		, open r g r , mmap n r 0 4096 rw private , mwrite n 0 mine , pread r 0 5 aaaaa
	absent "$U/f"
}

@test "mmap shared read-only of a lower file sees a later writer" {
	plyfs_only "overlayfs' mapping stays on the lower file"
	letters "$L/f"
	union_mount passthrough=auto
	f open r f r , mmap m r 0 8192 r shared , mread m 0 2 aa , open w f rw , pwrite w 0 NEW , mread m 0 4 NEWa , close r , pwrite w 0 MORE , mread m 0 4 MORE
}

@test "truncate by name and by handle: shrink, grow, to nothing" {
	letters "$L/a"; letters "$L/b"; letters "$L/c"; letters "$U/d"
	union_mount
	f truncate a 10 , stat a size 10 , open r a r , pread r 0 99 aaaaaaaaaa , truncate b 2m , stat b size 2m , open r b r , check r 1m 1m '\0' , check r 1044480 4096 v \
		, truncate c 0 , stat c size 0 , truncate d 5000 , truncate d 9000 , open r d r , check r 4096 904 b , check r 5000 4000 '\0' \
		, open w a w , truncate @w 4 , stat @w size 4 , '!EINVAL' truncate @w -1 , '!EISDIR' truncate . 0 , '!ENOENT' truncate absent 0 , '!EINVAL' truncate @r 5
	says "$M/a" aaaa
}

@test "truncate copies up only what is kept, and moves mtime" {
	letters "$L/f"
	"$FSOP" utime "$L/f" 5 5
	union_mount
	f truncate f 100 , now f mtime , stat f size 100
	says "$M/f" "$(printf 'a%.0s' {1..100})"
}

@test "fallocate: allocate, keep size, punch, zero, collapse, insert" {
	letters "$L/f"; letters "$U/g"; letters "$L/h"
	union_mount
	for n in f g; do
		f open w $n rw , fallocate w alloc 1m 1m , stat $n size 2m , fallocate w keep 2m 1m , stat $n size 2m \
			, fallocate w punch 4096 8192 , check w 4096 8192 '\0' , check w 0 4096 a , check w 12288 4096 d
	done
	"$FSOP" open w "$T/probe" rw+creat , fill w 0 64k x , fallocate w zero 0 4096 , fallocate w collapse 0 8192 , fallocate w insert 0 8192 || skip "not all modes here"
	# a FUSE client refuses what would move data under its page cache
	f open w f rw , fallocate w zero 0 4096 , check w 0 4096 '\0' , check w 12288 4096 d
	[ "$PLY_TARGET" = overlayfs ] || return 0
	f open w h rw , fallocate w collapse 0 8192 , check w 0 4096 c , fallocate w insert 0 8192 , check w 0 8192 '\0' , check w 8192 4096 c
}

@test "fallocate on a handle that cannot write is EBADF; nothing is copied up" {
	letters "$L/f"
	union_mount
	f open r f r , '!EBADF' fallocate r alloc 0 4096 , '!EBADF' pwrite r 0 x
	absent "$U/f"
}

@test "SEEK_DATA and SEEK_HOLE, in lower and after copy-up" {
	truncate -s 1M "$L/f"
	"$FSOP" open w "$L/f" w , fill w 256k 64k x , fsync w , lseek w 0 data 256k || skip "no holes here"
	union_mount
	f open r f r , lseek r 0 data 256k , lseek r 256k hole 320k , '!ENXIO' lseek r 320k data , lseek r 0 hole 0 , '!ENXIO' lseek r 2m data , lseek r 0 end 1m
	[ "$PLY_TARGET" = plyfs ] || return 0 # the kernel copies up in chunks of 1 MiB
	# under writeback caching, what somebody may be writing has no holes
	f open w f rw
	union_remount
	f open r f r , lseek r 0 data 256k , lseek r 256k hole 320k , '!ENXIO' lseek r 320k data , lseek r 0 hole 0
}

@test "sparse files stay sparse over copy-up" {
	truncate -s 64M "$L/f"
	"$FSOP" open w "$L/f" w , fill w 10m 64k x , fill w 40m 64k y , fsync w
	[ "$(field b "$L/f")" -lt 2000 ] || skip "no sparse files here"
	union_mount
	few=2000
	[ "$PLY_TARGET" = plyfs ] || few=5000 # the kernel copies up in chunks of 1 MiB
	f open w f w , pwrite w 63m z , fsync w , stat f size 64m maxblocks $few , open r f r , check r 10m 64k x , check r 40m 64k y , check r 0 1m '\0' , check r 50m 1m '\0'
	f stat f maxblocks $few
}

@test "copy_file_range and sendfile inside the union, lower to upper, same file, over a hole" {
	letters "$L/src"; mkdir "$L/d"
	union_mount
	f open r src r , open w d/dst rw+creat , copy r 0 w 0 1m , check w 0 4096 a , check w 4096 4096 b , copy r 4096 w 0 4096 , check w 0 4096 b \
		, copy w 4096 w 512k 4096 , check w 512k 4096 b , sendfile r 8192 w 4096 , splice r 8192 w 12288 4096 , check w 12288 4096 c , stat d/dst size 1m
	absent "$U/src"
	f open w src rw , open r d/dst r , copy r 0 w 4096 4096 , check w 4096 4096 c , check w 0 4096 a
}

@test "copy_file_range from another filesystem: works or EXDEV, never wrong" {
	fs_tmpfs "$T/other"
	letters "$T/other/f"
	union_mount
	cp "$T/other/f" "$M/g"
	cmp "$T/other/f" "$M/g"
	cp "$M/g" "$T/other/h"
	cmp "$T/other/f" "$T/other/h"
}

@test "copy_file_range into a file whose mode forbids writing" {
	letters "$L/src"; mkdir -m 1777 "$L/tmp"
	union_mount
	f user 1000 1000 , open r src r , open w tmp/f rw+creat+excl 0400 , copy r 0 w 0 1m , check w 4096 4096 b || { need_root; false; }
}

@test "fsync, fdatasync, syncfs on files and directories" {
	letters "$L/d/f"; letters "$U/g"
	union_mount
	f open r d/f r , fsync r , open w d/f rw , fill w 0 100k x , fdatasync w , fsync w , open d d r+dir , fsync d , fdatasync d , syncfs d \
		, open g g rw , pwrite g 0 y , fsync g , check w 0 100k x
}

@test "writes at the far end, beyond 4 GiB" {
	put "$L/f" start
	union_mount
	f open w f rw , pwrite w 5g end , stat f size 5368709123 , pread w 5g 9 end , pread w 0 5 start , pread w 4g 3 '\0\0\0' , truncate f 5
	says "$M/f" start
}

@test "reading past the end, empty files, odd sizes" {
	: >"$L/empty"; head -c 4097 /dev/zero >"$L/odd"; printf x >"$L/one"
	union_mount
	f open e empty r , pread e 0 10 '' , open o odd r , pread o 4096 10 '\0' , pread o 4097 10 '' , pread o 99999 10 '' , open n one rw , pread n 0 10 x , pwrite n 1 y , pread n 0 10 xy
	cmp "$L/odd" "$M/odd"
}

@test "a big file, copied up whole" {
	python3 -c 'import sys, random; r = random.Random(7); open(sys.argv[1], "wb").write(r.randbytes(48 << 20))' "$L/big"
	union_mount
	f open w big w , pwrite w 20m XX
	cmp -n $((20 << 20)) "$L/big" "$M/big"
	cmp -i $(((20 << 20) + 2)) "$L/big" "$M/big"
	[ "$(stat -c %s "$M/big")" = $((48 << 20)) ]
}

@test "copy-up onto another filesystem: data, holes, times, xattrs" {
	fs_tmpfs "$T/upfs"
	mkdir "$T/upfs/u" "$T/upfs/w"; UPPER=$T/upfs/u WORK=$T/upfs/w
	letters "$L/d/f"; xattr "$L/d/f" user.note v; chmod 751 "$L/d/f"
	"$FSOP" setx "$T/upfs/u" user.probe 1 || skip "tmpfs without user xattrs"
	"$FSOP" rmx "$T/upfs/u" user.probe , utime "$L/d/f" 5 1234567890.123456789
	union_mount
	f open w d/f rw , close w , stat d/f mode 751 mtime 1234567890.123456789 , getx d/f user.note v
	cmp "$L/d/f" "$M/d/f"
}

@test "eight copy-ups at once give eight right files" {
	for i in {1..8}; do head -c 3000000 /dev/urandom >"$L/f$i"; done
	union_mount
	for i in {1..8}; do f open w f$i w+append , write w tail & pids[i]=$!; done
	for i in {1..8}; do wait "${pids[i]}"; done
	for i in {1..8}; do cmp -n 3000000 "$L/f$i" "$M/f$i"; [ "$(tail -c 4 "$M/f$i")" = tail ]; done
}

@test "many openers of one lower file share one copy-up" {
	head -c 5000000 /dev/urandom >"$L/f"
	union_mount
	for i in {1..8}; do f open w f rw , pwrite w "$i" "$i" & pids[i]=$!; done
	for i in {1..8}; do wait "${pids[i]}"; done
	[ "$(head -c 9 "$M/f" | tail -c 8)" = 12345678 ]
	cmp -i 9 "$L/f" "$M/f"
}

@test "size, mtime and blocks are true after write, append, truncate, fallocate and stores through a mapping" {
	letters "$L/f"
	union_mount
	f open w f rw , utime f 5 5 , stat f mtime 5.000000000 , pwrite w 0 x , now f mtime , utime f 5 5 , stat f mtime 5.000000000 , fill w 1m 4096 y , stat f size 1052672 , now f mtime \
		, utime @w 5 5 , truncate @w 8192 , stat f size 8192 , now f mtime , mmap m w 0 4096 rw shared , utime f 5 5 , stat f mtime 5.000000000 , mwrite m 0 z , msync m , munmap m , fsync w , now f mtime
}

@test "an open that was to cut a file and failed: its size is that of what is there" {
	local tracer size
	command -v strace >/dev/null || skip "no strace"
	plyfs_only "a fault of its system calls"
	letters "$L/f"
	union_mount writeback=0		# with it the kernel believes itself
	f stat f size 1m
	strace -f -qq -e signal=none -e trace=ftruncate -e inject=ftruncate:error=ENOSPC -o /dev/null \
		-p "$(daemon_pid)" 3>&- 2>"$T/strace.err" &
	tracer=$!
	wait_for "strace" grep -q "TracerPid:.*[1-9]" "/proc/$(daemon_pid)/status"
	f '!ENOSPC' open w f w+trunc
	kill -INT "$tracer"
	wait "$tracer" || true
	size=$(stat -c %s "$M/f")
	[ "$(cat "$M/f" | wc -c)" = "$size" ]
	umount_at "$M"
	union_mount writeback=0
	f stat f size "$size"
}
