#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan tsan
#
# The daemon is killed while the kernel holds it up: whoever waits for it gets an error, and a new daemon can have the upper.

load lib/common

# One of the daemon's threads waits for what no signal ends.
in_the_kernel() # PID
{
	grep -q '^State:.*disk sleep' /proc/"$1"/task/*/status 2>/dev/null
}

asked() # PROCESS: it waits for an answer
{
	grep -q fuse "/proc/$1/wchan" "/proc/$1/stack" 2>/dev/null
}

stopped() # PROCESS
{
	! cat /proc/"$1"/task/*/status | grep '^State:' | grep -qv stopped
}

over() # PROCESS
{
	! kill -0 "$1" 2>/dev/null
}

# A layer $T/inner of a daemon of its own, in which a lookup of d/slow waits while that is stopped
hold()
{
	mkdir "$T/inner" "$T/inner.lower"
	put "$T/inner.lower/d/slow" x
	daemon_start "$T/inner" -o "lowerdir=$T/inner.lower,timeout=0" "$T/inner"
	daemon_is_up
	HOLDER=$(daemon_pid)
}

# union_over LAYER: it is none to be compared after the test
union_over()
{
	RECHECK=no
	daemon_start "$M" -o "lowerdir=$L:$1,upperdir=$U,workdir=$W" "$M"
	daemon_is_up
}

# The kernel has the directory's lock while a name in it is looked up, and wants it for a notice about one.
@test "killed while a notice waits for a lock: requests that it had read fail, the upper is free" {
	[ -n "$(cat /proc/self/stack 2>/dev/null)" ] || skip "this kernel does not tell what a process waits in"
	local pid slow
	plyfs_only
	need_root
	hold
	put "$L/x" x
	union_over "$T/inner"
	pid=$(daemon_pid)
	f mkdir e , open w e/gone w+creat , link e/gone d/other , stat d/other , stat e/gone
	kill -STOP "$HOLDER"
	wait_for "the layer to stop" stopped "$HOLDER"
	stat "$M/d/slow" > "$T/o" 2>&1 3>&- &
	slow=$!
	wait_for "the lookup that hangs" asked "$slow"
	f unlink e/gone
	wait_for "the notice that waits" in_the_kernel "$pid"
	echo 137 > "$D/want"
	kill -KILL "$pid"
	kill -CONT "$HOLDER"
	wait_for "the end of whoever waited" over "$slow"
	! wait "$slow"
	daemon_ended "$D"
	! stat "$M/x" > "$T/o" 2>&1
	umount -l "$M"
	union_over "$T/inner"
	[ "$(stat -c %h "$M/d/other")" = 1 ]
	says "$M/x" x
}

# Links made and removed, by several at once in the same directories, until there is no daemon any more.
churn() # NUMBER
{
	local i=0
	while "$FSOP" -C "$M" open w "d/f$1" w+creat; do
		i=$(((i + 1) % 20))
		"$FSOP" -C "$M" link "d/f$1" "e/f$1.$i" , link "e/f$1.$i" "d/g$1" , unlink "d/f$1" , stat "d/g$1" , \
			unlink "e/f$1.$i" , unlink "d/g$1" || true
	done 2>/dev/null
}

@test "killed while many links come and go: nobody waits for ever" {
	local n pids pid
	plyfs_only
	RECHECK=no
	put "$L/d/base" x; put "$L/e/base" x
	for round in {1..4}; do
		union_mount
		pid=$(daemon_pid)
		pids=()
		for n in 1 2 3 4 5 6; do
			churn "$n" > "$T/o.$n" 3>&- &
			pids+=("$!")
		done
		sleep "0.$((RANDOM % 5 + 3))"
		echo 137 > "$D/want"
		kill -KILL "$pid"
		for n in "${pids[@]}"; do wait_for "the end of whoever waited" over "$n"; done
		wait "${pids[@]}" || true
		daemon_ended "$D"
		umount -l "$M"
		rm -rf "${U:?}"/* "${W:?}"/*
	done
}

anonymous() # PROCESS: KiB
{
	awk '/^RssAnon:/ { print $2 }' "/proc/$1/status"
}

# What the daemon had then would be copied as it changes it: twice the memory in the end.
@test "the guard has none of the daemon's memory" {
	local pid guard
	plyfs_only
	need_root
	[ "$PLY_SUITE" = normal ] || skip "a sanitizer has memory of its own"
	"$FSOP" -C "$L" mkdir many , mkmany many f 20000
	put "$L/d/base" x; put "$L/e/base" x
	union_mount
	pid=$(daemon_pid)
	find "$M/many" -size +1 -print
	f open w e/gone w+creat , link e/gone d/other , stat d/other , stat e/gone , unlink e/gone
	wait_for "the guard" pgrep -P "$pid" plyfs-guard
	guard=$(pgrep -P "$pid" plyfs-guard)
	wait_for "a guard that is small" eval '[ "$(anonymous '"$guard"')" -lt "$(($(anonymous '"$pid"') / 3))" ]'
}
