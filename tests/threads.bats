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
