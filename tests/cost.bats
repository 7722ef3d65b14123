#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
# timeout: 900
#
# What things cost, in system calls, requests, bytes and descriptors, never in time: it must not grow with directories
# and layers.

load lib/common

prepare()
{
	plyfs_only "its costs"
	command -v strace >/dev/null || skip "no strace"
	RECHECK=no
}

# syscalls CMD...: how many system calls the daemon makes while CMD runs, without those that read and answer requests,
# those of the watch over the threads that do, and reading the clock, a call only where there is no vDSO (User Mode Linux);
# the calls themselves are in $T/calls
syscalls()
{
	local tracer before
	rm -f "$T/trace"
	strace -f -y -qq -e signal=none -e 'trace=!read,readv,writev,write,splice,vmsplice,futex,io_uring_enter,clone3,clone,mmap,munmap,mprotect,madvise,set_robust_list,rseq,rt_sigprocmask,poll,ppoll,epoll_wait,restart_syscall,brk,sched_yield,exit,gettid,clock_gettime' \
		-o "$T/trace" -p "$(daemon_pid)" 3>&- 2>"$T/strace.err" &
	tracer=$!
	wait_for "strace" traced_call
	before=$(wc -l <"$T/trace")
	"$@"
	kill -INT "$tracer"
	wait "$tracer" || true
	tail -n +$((before + 1)) "$T/trace" | grep -v 'resumed>\|+++\|---\|/task/[0-9]*/stat>\|/proc/[0-9]*/stat>\|sched_[gs]etaffinity' >"$T/calls" || true
	sort "$T/calls" | sed 's/^[0-9]* *//; s/(.*//' | sort | uniq -c
	COUNT=$(wc -l <"$T/calls")
}

calls_of() { grep -cE "$1" "$T/calls" || true; }	# calls_of REGEX: how many of those that were counted last

traced_call() # the daemon asks a layer each time; new names would make it list the root
{
	"$FSOP" -C "$M" '!ENOENT' stat attach || return 1
	stat -f "$M" >/dev/null
	[ -s "$T/trace" ]
}

@test "a cold stat in a directory of 2,000 entries: at most 8 system calls" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 2000
	put "$L/other/x" x
	union_mount
	syscalls f stat d/n777
	[ "$COUNT" -le 16 ] # two components, the directory and the name
	f stat d type d
	syscalls f stat d/n1234
	[ "$COUNT" -le 8 ]
}

@test "listing a file's attributes: one system call; who asks matters only where there is trusted.*" {
	put "$L/f" x
	union_mount
	f listx f
	syscalls f listx f
	[ "$COUNT" -le 1 ]
}

@test "an open of a lower file whose pages the kernel has: no system call" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 100
	union_mount
	again() { for i in {0..99}; do cat "$M/d/n$i"; done >"$T/read"; }
	# each READ makes the kernel ask for the times once
	again; again
	syscalls again
	# With the writeback cache, where there is no passthrough, each close makes it ask for the blocks
	[ $((COUNT - $(calls_of 'stat'))) -le 10 ]
	[ "$(calls_of 'stat')" -le 10 ] || "$PLYCTL" status "$M" | grep -q 'writeback cache'
	[ "$(wc -c <"$T/read")" -gt 0 ]
	# pages that are gone are read again
	echo 1 >/proc/sys/vm/drop_caches
	again
	for i in {0..99}; do cat "$L/d/n$i"; done | cmp - "$T/read"
	# and what is in upper now is read from there
	exec 5<"$M/d/n7"
	echo new >"$M/d/n7"
	[ "$(cat <&5)" = new ]
	exec 5<&-
}

@test "the same in a merged directory of three layers" {
	LAYERS=("$L" "$L2" "$L3")
	for l in "$L" "$L2" "$L3"; do mkdir "$l/d"; "$FSOP" mkmany "$l/d" "${l##*/}-" 700; done
	union_mount
	f stat d type d
	syscalls f stat d/lower-333
	[ "$COUNT" -le 8 ]
}

@test "200 layers: a name in a warm directory costs as with one, an absent one too" {
	LAYERS=()
	for i in {1..200}; do put "$T/l/$i/d/n$i" "$i"; LAYERS+=("$T/l/$i"); done
	"$FSOP" mkmany "$T/l/200/d" m 100
	union_mount
	ls "$M/d" >/dev/null
	syscalls f stat d/m5 , stat d/m50 , stat d/m70 , stat d/m99 , stat d/m1 , stat d/m2 , stat d/m3 , stat d/m4
	many=$COUNT
	syscalls f '!ENOENT' stat d/x1 , '!ENOENT' stat d/x2 , '!ENOENT' stat d/x3 , '!ENOENT' stat d/x4 , '!ENOENT' stat d/x5 , '!ENOENT' stat d/x6 , '!ENOENT' stat d/x7 , '!ENOENT' stat d/x8
	absent=$COUNT
	union_umount
	LAYERS=("$T/l/200")
	union_mount
	ls "$M/d" >/dev/null
	syscalls f stat d/m5 , stat d/m50 , stat d/m70 , stat d/m99 , stat d/m1 , stat d/m2 , stat d/m3 , stat d/m4
	[ "$many" -le $((COUNT + COUNT / 2 + 4)) ]
	syscalls f '!ENOENT' stat d/x1 , '!ENOENT' stat d/x2 , '!ENOENT' stat d/x3 , '!ENOENT' stat d/x4 , '!ENOENT' stat d/x5 , '!ENOENT' stat d/x6 , '!ENOENT' stat d/x7 , '!ENOENT' stat d/x8
	[ "$absent" -le $((COUNT + COUNT / 2 + 4)) ]
}

@test "60 layers: a directory of one of them is looked for there alone, the rest are not asked for each name" {
	LAYERS=()
	for i in {1..60}; do LAYERS+=("$T/l/$i"); done
	mkdir -p "$T"/l/{1..60}/d
	for i in {1..60}; do : >"$T/l/$i/d/n$i"; done
	mkdir "$T/l/5/d/only5" "$T/l/30/d/only30" "$T/l/59/d/only59"
	union_mount
	f stat d type d
	# one pass over the layers reads them all
	syscalls f stat d/n50
	[ "$COUNT" -le $((60 * 6 + 40)) ]
	syscalls f stat d/only5 type d , stat d/only30 type d , stat d/only59 type d , stat d/n7 , '!ENOENT' stat d/absent
	[ "$COUNT" -le 40 ]
}

@test "the table of descriptors has room from the start: no request waits while it grows" {
	local limit room
	union_mount
	limit=$(awk '/^Max open files/ { print $4 }' "/proc/$(daemon_pid)/limits")
	room=$(awk '/^FDSize/ { print $2 }' "/proc/$(daemon_pid)/status")
	echo "limit $limit, room $room"
	[ "$room" -ge $((limit < 4096 ? limit : 4096)) ]
}

@test "a create, a rename and an unlink in a big directory do not read it" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 2000
	union_mount
	f stat d type d , chmod d 0700
	syscalls f open w d/new w+creat , close w , rename d/new d/newer , unlink d/newer
	[ "$(grep -c getdents "$T/calls")" = 0 ]
	[ "$COUNT" -lt 120 ]
}

@test "a copy-up is synced before it is published; volatile never syncs" {
	put "$L/f" x; put "$L/g" y; put "$L/h" z
	union_mount fsync=auto
	syscalls f open w f w
	grep -Eq 'fsync|fdatasync|syncfs|sync_file_range' "$T/calls"
	union_umount
	union_mount volatile
	syscalls f open w g w , fsync w , syncfs w , fdatasync w
	if grep -E 'fsync|fdatasync|syncfs|sync_file_range' "$T/calls"; then fail "it syncs"; fi
	union_umount
	rm -rf "$W/work/incompat"
	union_mount fsync=0
	syscalls f open w h w , close w
	if grep -E 'fsync|fdatasync|syncfs' "$T/calls"; then fail "it syncs"; fi
}

@test "memory: 200 bytes an inode while the kernel holds them, given back when it forgets" {
	for i in {1..100}; do mkdir -p "$L/t/$i"; "$FSOP" mkmany "$L/t/$i" some-file-name- 200; done
	rss() { awk '/^Rss|^Anonymous/ { s[$1] += $2 } END { print s["Anonymous:"] }' "/proc/$(daemon_pid)/smaps_rollup"; }
	union_mount
	find "$M" -maxdepth 1 >/dev/null
	start=$(rss)
	[ "$(find "$M" -type f -size +0 | wc -l)" = 20000 ]
	full=$(rss)
	echo "start $start KiB, with 20,000 files $full KiB"
	# 20,000 is few: allow a fixed part for thread stacks and arenas
	[ $((full - start)) -lt $((20000 * 200 / 1024 + 2048)) ]
}

copy_has_begun() # KIB used before
{
	[ ! -d "/proc/$copier" ] || [ "$(df --output=used -k "$U" | tail -n 1)" -gt $(($1 + 8192)) ]
}

@test "other threads go on while one large copy-up runs" {
	# 400 MiB without holes; where the disk is too fast to tell, nothing is said
	head -c 400M /dev/urandom >"$L/big"; mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 50
	union_mount
	f open w big w 3>&- &
	copier=$!
	# an O_TMPFILE has no name to wait for: the space it takes tells
	wait_for "the copy to begin" copy_has_begun "$(df --output=used -k "$U" | tail -n 1)"
	for i in {0..40}; do
		f stat "d/n$i" type f , open r "d/n$i" r , read r 9 "n$i" , open w "d/new$i" w+creat , write w x
		[ -d "/proc/$copier" ] || break
	done
	echo "$i rounds while it ran"
	wait "$copier"
	cmp "$L/big" "$M/big"
}

# What delays it is put under the daemon by strace: no disk is slow in a way that can be relied upon.
held() { grep -q 'sync(' "$T/held"; }

@test "a request that sleeps holds up nobody" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 50
	union_mount
	strace -f -qq -e signal=none -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=60s -o "$T/held" \
		-p "$(daemon_pid)" 3>&- 2>"$T/strace.err" &
	local tracer=$! syncer i
	wait_for "strace" grep -q "TracerPid:.*[1-9]" "/proc/$(daemon_pid)/status"
	f open w new w+creat , write w x , fsync w 3>&- &
	syncer=$!
	wait_for "the delay" held
	for i in {0..40}; do
		f stat "d/n$i" type f , open r "d/n$i" r , read r 9 "n$i"
	done
	[ -d "/proc/$syncer" ]
	kill -KILL "$tracer"
	wait "$syncer"
}

@test "descriptors: they do not grow with files looked at or opened and closed" {
	for i in {1..50}; do mkdir -p "$L/t/$i"; "$FSOP" mkmany "$L/t/$i" f 20; done
	union_mount
	find "$M" -type f | xargs cat >/dev/null
	[ "$(ls "/proc/$(daemon_pid)/fd" | wc -l)" -lt 600 ]
}

@test "to remove a lower file is one hard link; a rename is one rename, which looks itself" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 50
	union_mount
	f mkdir new , open a new/a w+creat , close a , open b new/b w+creat , close b
	ls -l "$M/d" >/dev/null
	f unlink d/n0 # the directory, and the whiteout that the others are links to
	syscalls f unlink d/n1 , unlink d/n2 , unlink d/n3 , unlink d/n4
	[ "$(calls_of 'link(at)?\(')" = 4 ]
	[ "$(calls_of 'rename')" = 0 ]
	[ "$(calls_of 'stat')" -le 12 ] # the directory's attributes, whenever it has changed
	syscalls f rename new/a new/c , rename new/b new/d , rename new/c new/e , rename new/d new/f
	[ "$(calls_of 'rename')" = 4 ]
	# The kernel asks for each target, and for the directory, which has changed. With the writeback cache it tells the times.
	[ "$(calls_of 'stat')" -le $((10 + $(calls_of 'utimens'))) ]
}

@test "signals to who waits for an answer: the kernel tells of one, not of all" {
	command -v perl >/dev/null || skip "no perl"
	for i in {1..24}; do "$FSOP" -C "$L" open w "f$i" w+creat , fill w 0 8m "$i" , close w; done
	union_mount
	# a copy-up takes longer than the time between two signals; perl takes its handler away before it has ended
	perl -MTime::HiRes=setitimer,ITIMER_REAL -e '$SIG{ALRM} = sub { $n++ }; setitimer(ITIMER_REAL, 0.0005, 0.0005);
		for (1 .. 24) { open(F, "+<", "$ARGV[0]/f$_") or die "f$_: $!"; print F "new"; close(F) or die; } setitimer(ITIMER_REAL, 0); die if !$n;' "$M"
	[ "$("$PLYCTL" status --json "$M" | jq '.[0].requests.interrupt // 0')" -le 1 ]
	for i in {1..24}; do [ "$(head -c 3 "$M/f$i")" = new ]; f open r "f$i" r , check r 4096 1m "$i" , close r; done
}

@test "metacopy: a change of attributes syncs nothing and does not go back to lower" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 20; for i in {0..19}; do echo content >"$L/d/n$i"; done
	union_mount metacopy=on,redirect_dir=on
	ls -l "$M/d" >/dev/null
	f chmod d/n0 0600
	syscalls chmod 0640 "$M"/d/n{1..10}
	[ "$(calls_of 'sync')" = 0 ]
	[ "$(calls_of 'openat2')" = 0 ]
	[ "$COUNT" -le 260 ]
	# and its directory's attributes are the kernel's still
	syscalls f stat d type d
	[ "$(calls_of 'stat')" = 0 ]
}

@test "metacopy on btrfs, whose log does not keep the order: each is synced before it can be seen" {
	fs_loop "$T/fs" btrfs 200M -q
	mkdir "$L/d" "$T/fs/u" "$T/fs/w"; UPPER=$T/fs/u WORK=$T/fs/w
	for i in {0..5}; do echo content >"$L/d/n$i"; done
	union_mount metacopy=on
	f chmod d/n0 0600
	syscalls chmod 0640 "$M"/d/n{1..5}
	[ "$(calls_of 'fsync')" = 5 ]
}

@test "whoever lists names only costs no stat of each file, whoever wants attributes no lookup" {
	for i in {1..60}; do mkdir -p "$L/t/$i"; "$FSOP" mkmany "$L/t/$i" f 20; done
	union_mount
	syscalls find "$M/t" -name nothing
	[ "$(calls_of 'stat')" -lt 600 ]
	union_umount
	union_mount
	f stat t type d
	syscalls find "$M/t" -type f -size +1000k
	[ "$(calls_of 'stat')" -ge 1200 ]
	lookups=$("$PLYCTL" status --json "$M" | jq '.[0].requests.lookup')
	echo "$lookups lookups"
	[ "$lookups" -lt 100 ]
}

@test "what the kernel knows is not looked at again when its directory is listed once more" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 200
	union_mount
	ls -l "$M/d" >/dev/null
	f open w d/new w+creat , close w
	syscalls ls -l "$M/d"
	[ "$(calls_of 'stat')" -lt 50 ]
	[ "$(ls "$M/d" | wc -l)" = 201 ]
}

@test "a big file is copied up past the page cache, byte by byte the same" {
	head -c 40000123 /dev/urandom >"$L/big"; truncate -s 60m "$L/big"; head -c 5001 /dev/urandom >>"$L/big"
	head -c 4096 /dev/zero | dd of="$U/direct" oflag=direct bs=4096 2>/dev/null || skip "no direct I/O here"
	rm "$U/direct"
	union_mount fsync=auto
	syscalls f open w big w , close w
	[ "$(calls_of 'pwrite64')" -ge 2 ]
	[ "$(calls_of 'pwrite64')" -le 8 ]
	[ "$(calls_of 'fsync')" = 1 ]
	cmp "$L/big" "$M/big"
	cmp "$L/big" "$U/big"
	[ "$(stat -c %b "$U/big")" -lt 100000 ] # the hole is one still
}

@test "a mount with a new work directory: six inodes, two threads, at most one reading of mountinfo" {
	local tracer
	mkdir -p "$T/new"/{l,u,w,m}
	strace -f -qq -e signal=none -e 'trace=mkdir,mkdirat,mknod,mknodat,open,openat,clone,clone3' -o "$T/start" \
		"$PLYFS" -o "lowerdir=$T/new/l,upperdir=$T/new/u,workdir=$T/new/w,volatile" "$T/new/m" 3>&- &
	tracer=$!
	wait_for "the mount" mountpoint -q "$T/new/m"
	stat -f "$T/new/m" >/dev/null
	umount "$T/new/m"
	wait "$tracer"
	cat "$T/start"
	# work, incompat, volatile; what is tried out with, and where there are clones one more
	[ "$(grep -cE '(mkdir|mknod|O_CREAT|O_TMPFILE).* = [0-9]|resumed.*(O_CREAT|O_TMPFILE).* = [0-9]' "$T/start")" -le 6 ]
	[ "$(grep -c 'CLONE_THREAD' "$T/start")" -le 2 ]
	[ "$(grep -c '/mountinfo' "$T/start")" -le 1 ]
	[ "$(find "$T/new/w" -mindepth 1 | sed "s,$T/new/w/,," | sort | tr '\n' ' ')" = "work work/incompat work/incompat/volatile work/incompat/volatile/dirty " ]
	[ ! -s "$T/new/w/work/incompat/volatile/dirty" ]
}
