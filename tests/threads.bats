#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
# timeout: 300
#
# Where the threads are that serve: with one client that waits for each answer, on its processor.

load lib/common

prepare()
{
	plyfs_only "its threads"
}

# allowed TASK: the processors on which it may run
allowed() { awk '/^Cpus_allowed_list:/ { print $2 }' "/proc/$(daemon_pid)/task/$1/status"; }

all_allowed() { for t in $(ls "/proc/$(daemon_pid)/task"); do [ "$(allowed "$t")" = "$1" ] || return 1; done; }
one_allowed() { for t in $(ls "/proc/$(daemon_pid)/task"); do [ "$(allowed "$t")" != "$1" ] || return 0; done; return 1; }

@test "one client is followed to its processor, and no longer than it asks" {
	local all last loop
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 50
	union_mount
	all=$(awk '/^Cpus_allowed_list:/ { print $2 }' /proc/self/status)
	last=${all##*[-,]}
	[ "$all" != "$last" ] || skip "one processor"
	all_allowed "$all"
	# each open is a request
	taskset -c "$last" bash -c 'while :; do for f in "$1"/d/*; do : <"$f"; done; done' bash "$M" 3>&- &
	loop=$!
	wait_for "a thread on processor $last" one_allowed "$last"
	kill "$loop"
	wait "$loop" || true
	wait_for "threads on all" all_allowed "$all"
}

@test "what is started meanwhile is not bound there" {
	local all last pid
	"$FSOP" -C "$L" mkdir many , mkmany many f 20000
	put "$L/d/base" x; put "$L/e/base" x
	union_mount
	all=$(awk '/^Cpus_allowed_list:/ { print $2 }' /proc/self/status)
	last=${all##*[-,]}
	[ "$all" != "$last" ] || skip "one processor"
	pid=$(daemon_pid)
	f open w e/gone w+creat , link e/gone d/other , stat d/other , stat e/gone
	# the last one gives a notice, by a thread of its own and with a guard
	taskset -c "$last" "$FSOP" -C "$M" statmany many f 20000 , unlink e/gone
	wait_for "the guard" pgrep -P "$pid" plyfs-guard
	wait_for "threads on all" all_allowed "$all"
	[ "$(awk '/^Cpus_allowed_list:/ { print $2 }' "/proc/$(pgrep -P "$pid" plyfs-guard)/status")" = "$all" ]
}
