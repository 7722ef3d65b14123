#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
#
# The fuzz targets of the pure modules, each over its corpus and a few thousand inputs made from it.

fuzz() {
	local rc=0
	"$PLY_SRCDIR/tests/fuzz/run" -n 5000 "$1" >out 2>&1 || rc=$?
	[ "$rc" -ne 77 ] || skip "clang cannot build with -fsanitize=fuzzer"
	[ "$rc" -eq 0 ] || { cat out; return 1; }
}

@test "records from disk: whatever the bytes, no crash, and what is read can be written" {
	fuzz format
}

@test "options: whatever the text, no crash, and an error has a message" {
	fuzz options
}
