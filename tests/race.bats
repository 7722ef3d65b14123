#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 600
#
# Readers and writers that open the same lower files at the same time; listings of directories that change.

load lib/common

RACE=$PLY_BUILDDIR/tests/race

prepare()
{
	SECS=8 FILES=3000
	case $PLY_SUITE in asan|tsan) FILES=1000 ;; esac
	if [ -n "${PLY_LONG:-}" ]; then
		SECS=200 FILES=20000 PLY_LIMIT=3600
		watchdog_stop
		watchdog_start
	fi
	LAYERS=("$L" "$L2")
}

opens_run()
{
	"$RACE/opens" --seconds "$SECS" ${PLY_SEED:+--seed "$PLY_SEED"} "$@" "$M" "$FILES"
}

@test "racing opens: no error, no lost write, old readers see what is written" {
	"$RACE/opens" --setup "$L" "$FILES"
	union_mount
	opens_run
}

@test "racing opens with passthrough=full: old readers keep one whole version" {
	plyfs_only "passthrough"
	"$RACE/opens" --setup "$L" "$FILES"
	union_mount passthrough=full
	opens_run --snapshot
}

@test "listings show what is there throughout exactly once" {
	"$RACE/listing" --setup "$L" "$L2"
	union_mount
	"$RACE/listing" --seconds "$SECS" ${PLY_SEED:+--seed "$PLY_SEED"} "$M"
}
