#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan tsan
#
# Requests over io_uring: where the kernel allows it they are served so, a request that is held up holds up no other, and where it
# does not a warning says why. The kernel's switch is set for the time of these tests; mounts of others do not ask for it.

load lib/common

SWITCH=/sys/module/fuse/parameters/enable_uring

setup_file()
{
	export WAS
	WAS=$(cat $SWITCH 2>/dev/null) || WAS=
}

teardown_file()
{
	[ "$WAS" != N ] || echo N > $SWITCH
}

ask() # PYTHON EXPRESSION over the JSON of $M, as m
{
	"$PLYCTL" status --json "$M" | python3 -c '
import json, sys
m = json.load(sys.stdin)[0]
print(eval(sys.argv[1]))' "$1"
}

# The mount can be there before its socket.
ask_soon()
{
	wait_for "an answer of plyctl" ask "$1" >/dev/null 2>&1
	ask "$1"
}

slow_is_asked_for()
{
	[ "$(ask 'm["requests"].get("lookup", 0) > 0')" = True ]
}

# mount_ring [OPTS]: and it is in use; where this libfuse or this kernel has none of it, there is nothing to test
mount_ring()
{
	plyfs_only plyctl
	[ -n "$WAS" ] || skip "this kernel has no FUSE over io_uring"
	[ "$WAS" = Y ] || echo Y > $SWITCH || skip "the switch cannot be set"
	union_mount "io_uring${1:+,$1}"
	if [ "$(ask_soon 'm["io_uring"]["active"]')" != True ]; then
		case $(ask 'm["io_uring"]["why"]') in
		*'custom I/O'*|*'cannot be had here'*) union_umount; skip "$(ask 'm["io_uring"]["why"]')" ;;
		esac
		fail "not in use: $(ask 'm["io_uring"]["why"]')"
	fi
}

# Must come first: it is about the switch as it is at boot.
@test "not allowed: one warning names the switch, and the mount works" {
	plyfs_only plyctl
	[ "$WAS" = N ] || skip "the switch is not N"
	put "$L/f" data
	union_mount io_uring
	says "$M/f" data
	f open w g w+creat , write w new
	[ "$(ask_soon 'm["io_uring"]["active"]')" = False ]
	why=$(ask 'm["io_uring"]["why"]')
	[[ "$why" == *$SWITCH* || "$why" == *'custom I/O'* ]]
	"$PLYCTL" status "$M" | grep -F 'io_uring' | grep -F 'not used'
	union_umount
	[ "$(grep -c 'io_uring' "$D/log")" = 1 ]
	grep -F "io_uring is not used: $why" "$D/log"
}

@test "it is used; names, data and listings are right" {
	put "$L/d/f" data; put "$L/gone" x
	head -c 3000000 /dev/urandom > "$L/big"
	mount_ring
	[ "$(ask 'm["io_uring"]["threads"] >= 1')" = True ]
	"$PLYCTL" status "$M" | grep -E 'io_uring +[0-9]+ threads'
	cmp "$M/big" "$L/big"
	cp "$M/big" "$M/copy"; cmp "$M/copy" "$L/big"
	says "$M/d/f" data
	f '!ENOENT' stat absent
	mv "$M/d" "$M/e"; rm "$M/gone"; ln -s e "$M/link"; ln "$M/copy" "$M/e/hard"
	setfattr -n user.x -v "$(printf 'v%.0s' {1..900})" "$M/copy"
	[ "$(getfattr --only-values -n user.x "$M/copy" 2>/dev/null | wc -c)" = 900 ]
	[ "$(ls "$M")" = "$(printf 'big\ncopy\ne\nlink')" ]
	[ "$(readlink "$M/link")" = e ]
	union_remount
	cmp "$M/e/hard" "$L/big"; absent "$M/gone"
}

@test "without passthrough: large reads and writes come whole" {
	head -c 5000001 /dev/urandom > "$L/big"
	for wb in 0 1; do
		mount_ring "passthrough=off,writeback=$wb"
		cmp "$M/big" "$L/big"
		dd if="$M/big" of="$M/copy" bs=1M status=none; dd if="$M/big" of="$M/odd" bs=4999 status=none
		cmp "$M/copy" "$L/big"; cmp "$M/odd" "$L/big"
		union_remount
		cmp "$M/copy" "$L/big"; cmp "$M/odd" "$L/big"
		union_umount
		rm -rf "${U:?}"/* "${W:?}"/*
	done
}

@test "one thread serves all processors' requests, and many clients" {
	for n in 1 3; do
		mount_ring "threads=$n"
		[ "$(ask 'm["io_uring"]["threads"]')" -le "$n" ]
		mkdir -p "$M/t"
		pids=()
		for i in 1 2 3 4 5 6 7 8; do
			( for k in $(seq 100); do echo "$i $k" > "$M/t/$i.$k"; cat "$M/t/$i.$k"; mv "$M/t/$i.$k" "$M/t/$i-$k"; done ) > "$T/out.$i" 3>&- &
			pids+=("$!")
		done
		wait "${pids[@]}"
		[ "$(cat "$T"/out.* | wc -l)" = 800 ]; [ "$(ls "$M/t" | wc -l)" = 800 ]
		rm -r "$M/t"
		union_umount
	done
}

@test "a request that is held up holds up no other of the same processor" {
	local inner=$T/inner cpu pid slow late=
	need_root
	cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
	mkdir "$inner" "$T/il"; put "$T/il/d/slow" x; for i in {1..6}; do put "$L/quick$i" x; done
	mount_ring
	union_umount
	daemon_start "$inner" -o "lowerdir=$T/il" "$inner"
	daemon_is_up
	pid=$(daemon_pid)
	daemon_start "$M" -o "io_uring,lowerdir=$L:$inner" "$M"
	daemon_is_up
	stat "$M" > "$T/o"
	kill -STOP "$pid"
	taskset -c "$cpu" stat "$M/d/slow" > "$T/slow" 3>&- &
	slow=$!
	wait_for "the request that hangs" slow_is_asked_for || late=yes
	( for i in {1..6}; do taskset -c "$cpu" stat "$M/quick$i" || exit; done > "$T/o"; : > "$T/served" ) 3>&- &
	wait_for "the other requests" test -e "$T/served" || late=yes
	kill -CONT "$pid"
	wait "$slow" "$!"
	[ -z "$late" ]
	umount_at "$M"; umount_at "$inner"
}

@test "killed in the middle: the mount goes, and the next one works" {
	local pid
	mount_ring
	pid=$(daemon_pid)
	( while :; do : > "$M/x$RANDOM" || break; done ) 2> "$T/o" 3>&- &
	sleep 0.3
	echo 137 > "$D/want"
	kill -KILL "$pid"
	wait "$!"
	umount -l "$M"
	daemon_ended "$D"
	mount_ring
	f open w after w+creat , write w x
}
