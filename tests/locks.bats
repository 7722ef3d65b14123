#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# flock, fcntl and open-file-description locks, over copy-up too.

load lib/common

@test "flock: exclusive, shared, upgraded, released at close" {
	put "$L/f" x; put "$U/g" y
	union_mount
	for n in f g; do
		f open a $n rw , open b $n rw , flock a ex , '!EAGAIN' flock b sh+nb , flock a sh , flock b sh+nb , '!EAGAIN' flock a ex+nb , close b , flock a ex+nb , close a , open c $n r , flock c ex+nb
	done
}

@test "flock between processes" {
	put "$L/f" x
	union_mount
	f open a f rw , flock a ex , sh "'$FSOP' open b '$M/f' rw , '!EAGAIN' flock b ex+nb" , flock a un , sh "'$FSOP' open b '$M/f' rw , flock b ex+nb"
}

@test "fcntl locks: ranges, GETLK, conflict with another process" {
	put "$L/f" 0123456789; put "$U/g" 0123456789
	union_mount
	for n in f g; do
		f open a $n rw , lock a w 0 5 , lock a r 5 5 , '!EAGAIN' child lock a w 0 1 , child lock a r 6 2 , '!EAGAIN' child lock a w 6 2 , child getlk a w 0 1 w , child getlk a w 5 1 r , child getlk a w 100 1 u \
			, lock a u 0 5 , child lock a w 0 5
	done
}

@test "a close of any handle drops the process's fcntl locks" {
	put "$L/f" 0123456789
	union_mount
	f open a f rw , open b f rw , lock a w 0 0 , '!EAGAIN' child lock b w 0 1 , close b , child lock a w 0 1
}

@test "open-file-description locks" {
	put "$L/f" 0123456789
	union_mount
	f open a f rw , open b f rw , lock a w 0 5 ofd , '!EAGAIN' lock b w 0 5 ofd , lock b w 5 5 ofd , close a , lock b w 0 5 ofd
}

@test "a lock taken by a reader before the copy-up holds after it" {
	plyfs_only "overlayfs' reader and writer are two files"
	put "$L/f" 0123456789
	union_mount passthrough=auto
	f open r f r , flock r sh , lock r r 0 5 , open w f rw , pwrite w 0 X , open o f rw , '!EAGAIN' flock o ex+nb , '!EAGAIN' child lock o w 0 1
}

@test "a lock of a writer is seen by a later reader" {
	put "$L/f" 0123456789
	union_mount
	f open w f rw , lock w w 0 0 , flock w ex , open r f r , '!EAGAIN' child lock r r 0 1 , '!EAGAIN' flock r sh+nb
}

@test "a waiting lock gets its turn" {
	put "$L/f" x
	union_mount
	mkfifo "$T/go"
	f open a f rw , flock a ex , sh "echo held >'$T/go'; sleep 0.3" , flock a un &
	read -r _ <"$T/go"
	f open b f rw , flock b ex , lock b w 0 0 wait
	wait $!
}

@test "flock(1) and locks through hard links" {
	put "$L/a" x; ln "$L/a" "$L/b"
	[ "$PLY_SUITE" != plainuser ] || skip "no index there"
	union_mount
	f open w a rw , flock w ex , open o b rw , '!EAGAIN' flock o ex+nb
	flock -n "$M/b" true
}

@test "leases and directories' locks" {
	mkdir "$L/d"
	union_mount
	f open d d r+dir , open e d r+dir , flock d ex , '!EAGAIN' flock e ex+nb , flock d un , flock e ex+nb
}
