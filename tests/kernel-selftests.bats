#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
# timeout: 600
#
# kernel/selftests on the kernel that runs here: what the daemon counts on in the kernel's passthrough.

bats_require_minimum_version 1.5.0

@test "the kernel's passthrough is as kernel/selftests has it" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -c /dev/fuse ] || skip "there is no /dev/fuse"
	command -v make >/dev/null || skip "needs make"
	command -v "${CC:-cc}" >/dev/null || skip "needs a compiler"
	local out=$PLY_TMP/kernel-selftests rc=0

	make -s -C "$PLY_SRCDIR/kernel/selftests" O="$out" CC="${CC:-cc}" CFLAGS=-O1
	# Other tests run on this machine too: the kernel's log is not looked into.
	FUSE_PT_NO_LOG=1 "$PLY_SRCDIR/kernel/selftests/run" "$out" > "$out/tap" || rc=$?
	grep -A 6 '^not ok' "$out/tap" || true
	[ "$rc" != 4 ] || skip "$(sed -n 's/.*# SKIP //p' "$out/tap" | head -n 1)"
	[ "$rc" = 0 ]
}
