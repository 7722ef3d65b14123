#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal threads1 asan
# timeout: 900
#
# Passthrough: I/O on files in upper, and on every file of a mount without upper, sends no request to the daemon;
# whatever is done, no byte of a lower file is ever written.

load lib/common

prepare()
{
	plyfs_only "passthrough"
	[ -r /proc/config.gz ] && ! zcat /proc/config.gz | grep -q '^CONFIG_FUSE_PASSTHROUGH=y' && skip "a kernel without passthrough"
	head -c 1048576 /dev/zero | tr '\0' l >"$L/low"; head -c 1048576 /dev/zero | tr '\0' u >"$U/up"
	cp "$(type -P true)" "$L/prog"
}

probe_passthrough() # skips where the system has none at all
{
	has_passthrough || skip "no passthrough on this system"
}

# requests CMD...: what the daemon read from /dev/fuse while CMD ran, as opcodes by number, one a line, in $T/ops
requests()
{
	local tracer
	command -v strace >/dev/null || skip "no strace"
	[ "$PLY_SUITE" != io_uring ] || skip "no read(2) tells of a request"
	rm -f "$T/trace"
	strace -f -qq -xx -s 8 -e trace=read,readv,splice,io_uring_enter -e signal=none -o "$T/trace" -p "$(daemon_pid)" 3>&- 2>"$T/strace.err" &
	tracer=$!
	# attached when a request shows up in the trace
	wait_for "strace" traced_request
	: >"$T/mark"
	local before
	before=$(wc -l <"$T/trace")
	"$@"
	# one more known request pushes out what is buffered
	f '!ENOENT' stat "end-$RANDOM-$RANDOM"
	sleep 0.2
	kill -INT "$tracer"
	wait "$tracer" || true
	tail -n +$((before + 1)) "$T/trace" | sed -n 's/.*"\(\\x[0-9a-f][0-9a-f]\)\{4\}\\x\([0-9a-f][0-9a-f]\)\\x\([0-9a-f][0-9a-f]\)\\x00\\x00".*/0x\3\2/p' | while read -r op; do echo $((op)); done >"$T/ops"
	echo "requests: $(tr '\n' ' ' <"$T/ops")"
	grep -qx 1 "$T/ops" # LOOKUP: the one that was sent on purpose; else nothing was seen at all
}

traced_request()
{
	"$FSOP" -C "$M" '!ENOENT' stat "attach-$RANDOM-$RANDOM" || return 1
	grep -q '\\x01\\x00\\x00\\x00"' "$T/trace" 2>/dev/null
}

count() # OPCODE
{
	grep -cx "$1" "$T/ops" || true
}

READ=15 WRITE=16 GETXATTR=22

@test "reads and writes of an upper file send no request" {
	probe_passthrough
	union_mount
	requests f open w up rw , fill w 0 1m x , check w 0 1m x , pwrite w 100 y , pread w 99 3 xyx , mmap m w 0 4096 rw shared , mwrite m 0 z , mread m 0 2 zx
	[ "$(count $READ)" = 0 ]
	[ "$(count $WRITE)" = 0 ]
	[ "$(count $GETXATTR)" -le 1 ]
	[ "$(head -c 2 "$U/up")" = zx ]
}

@test "reads and writes of a new file send no request" {
	probe_passthrough
	union_mount
	requests f open w new rw+creat , fill w 0 1m x , check w 0 1m x
	[ "$(count $READ) $(count $WRITE)" = '0 0' ]
}

@test "a copied-up file: from the first write-open on" {
	probe_passthrough
	union_mount
	requests f open w low rw , fill w 0 1m x , check w 0 1m x , open r low r , check r 0 1m x
	[ "$(count $READ) $(count $WRITE)" = '0 0' ]
	[ "$(head -c 1 "$U/low")" = x ]
}

@test "every file of a mount without upper" {
	probe_passthrough
	UPPER=
	union_mount
	requests f open r low r , check r 0 1m l , mmap m r 0 8192 r shared , mread m 4095 2 ll
	[ "$(count $READ)" = 0 ]
}

@test "passthrough=off: the same, by requests" {
	union_mount passthrough=off
	requests f open w up rw+direct , fill w 0 64k x , check w 0 64k x
	[ "$(count $WRITE)" != 0 ]
	f open r up r , check r 0 64k x , check r 64k 64k u
}

@test "warm stat, negative stat, access, ls -l send no request" {
	union_mount
	mkdir "$M/d"; "$FSOP" mkmany "$M/d" n 20
	f stat low , '!ENOENT' stat absent , ls d "$(ls "$M/d" | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
	ls -l "$M" "$M/d" >/dev/null; ls -l "$M" "$M/d" >/dev/null
	# ls does not ask for st_blocks, which a write through the page cache makes unknown
	f statmany d n 20
	requests f stat low type f , '!ENOENT' stat absent , access low r , statmany d n 20 , lscheck d
	[ "$(wc -l <"$T/ops")" -le 2 ]
}

@test "the ways to write that must never reach the lower file" {
	for n in a b c d e g h i j k; do cp "$L/low" "$L/$n"; done
	ln "$L/a" "$L/alink"
	union_mount
	# each with a reader that is live by read, mmap and exec rules
	f open r a r , open w a rw , pwrite w 0 X
	f open r b r , open w b w+append , write w X
	f open r c r , open w c w+trunc , write w X
	f open r d r , mmap p r 0 4096 r private , open w d rw , mmap m w 0 4096 rw shared , mwrite m 0 X
	f open r e r , truncate e 100
	f open r g r , open w g rw , fallocate w punch 0 4096
	f open r h r , open s b r , open w h rw , copy s 0 w 0 4096
	f open r alink r , open w alink rw , pwrite w 5 X
	f open r i r , reopen w r rw , pwrite w 0 X || true
	f open dir . r+dir , open r j r , openat w dir j rw , pwrite w 0 X
	f open p k path , reopen w p rw , pwrite w 0 X
	lowers_unchanged
	f open n a r , pread n 0 7 XllllXl , open o d r , pread o 0 2 Xl , stat e size 100 , open k k r , pread k 0 2 Xl
}

@test "a running program is passed through and its file replaced" {
	cp "$(type -P sleep)" "$L/sleeper"
	union_mount
	"$M/sleeper" 1000 3>&- &
	pid=$!
	wait_for exec sh -c '[ "$(basename "$(readlink /proc/'$pid'/exe)")" = sleeper ]'
	f '!ETXTBSY' open w sleeper rw
	cp "$(type -P true)" "$M/new"; f rename new sleeper
	"$M/sleeper" 5
	kill "$pid"; wait "$pid" || true
	"$M/prog"
}

@test "attributes after passthrough writes by another process are true at once" {
	union_mount
	f stat up size 1m , sh "printf more >>'$M/up'" , stat up size 1048580 , now up mtime , sh "truncate -s 10 '$M/up'" , stat up size 10 , open w up rw , fill w 0 1m x , stat up size 1m , sh "[ \$(stat -c %s '$M/up') = 1048576 ]"
}

@test "max_stack_depth=0 means cached, 1 and 2 work" {
	for n in 0 1 2; do
		union_mount max_stack_depth=$n
		f open w up rw , pwrite w 0 "$n" , pread w 0 2 "${n}u" , open r low r , check r 0 1m l
		union_umount
	done
}

@test "layers that are overlayfs themselves" {
	need_kernel_overlay
	mkdir "$T/ov" "$T/ou" "$T/ow"
	mount -t overlay overlay -o "lowerdir=$L,upperdir=$T/ou,workdir=$T/ow" "$T/ov" || skip "no overlay here"
	echo "$T/ov" >>"$R/extra"
	LAYERS=("$T/ov")
	union_mount
	f open r low r , check r 0 1m l , open w low rw , pwrite w 0 X , pread w 0 2 Xl
	absent "$T/ou/low"
}

@test "a union as the lower of the kernel's overlayfs, and of another union" {
	need_kernel_overlay
	UPPER=
	union_mount
	mkdir "$T/ov" "$T/ou" "$T/ow" "$T/m2" "$T/u2" "$T/w2"
	mount -t overlay overlay -o "lowerdir=$M,upperdir=$T/ou,workdir=$T/ow" "$T/ov" || fail "it cannot be stacked on"
	"$FSOP" -C "$T/ov" open r low r , check r 0 1m l , open w low rw , pwrite w 0 X
	umount "$T/ov"
	mount_opts "$T/m2" "lowerdir=$M,upperdir=$T/u2,workdir=$T/w2"
	"$FSOP" -C "$T/m2" open r low r , check r 0 1m l , open w low rw , pwrite w 0 X , pread w 0 2 Xl
	umount_at "$T/m2"
}

@test "suid goes at passthrough writes of an ordinary user, and root's quota is not used" {
	need_root
	chmod 6777 "$U/up" "$L/low"
	union_mount
	f user 1000 1000 , open w up rw , stat up mode 6777 , pwrite w 0 X , stat up mode 777 , open v low rw , pwrite v 0 X , stat low mode 777
}

@test "SIGKILL of the daemon with passthrough handles open, then umount -l: no hang" {
	probe_passthrough
	union_mount
	RECHECK=no
	d=$D
	f open w up rw , mmap m w 0 4096 rw shared , open r low r , sh "kill -KILL $(daemon_pid); umount -l '$M'" , mwrite m 0 X , mread m 0 1 X
	wait_for "its end" test -e "$d/status"
	echo 137 >"$d/want"
}
