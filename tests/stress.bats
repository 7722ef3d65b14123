#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 600
#
# Eight workers create, rename, link, unlink and truncate in shared directories with lower content. Each knows its own
# names, so every errno that does not follow from its own doings is a failure; afterwards the live tree is the tree
# after a remount.

load lib/common

STRESS=$PLY_BUILDDIR/tests/race/stress

prepare()
{
	SECS=10
	if [ -n "${PLY_LONG:-}" ]; then
		SECS=300 PLY_LIMIT=3600
		watchdog_stop
		watchdog_start
	fi
	LAYERS=("$L" "$L2")
	"$STRESS" --setup "$L" "$L2"
}

stress_run()
{
	"$STRESS" --seconds "$SECS" ${PLY_SEED:+--seed "$PLY_SEED"} --state "$R/state" "$@" "$M"
	union_remount
	"$STRESS" --verify "$R/state" "$M"
}

@test "eight workers in shared directories" {
	union_mount
	stress_run --no-move
}

@test "eight workers in shared directories that are renamed all the time" {
	union_mount
	stress_run
}
