#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
#
# The benchmark runs: every workload on plyfs and on overlayfs, in sizes that mean nothing. No speed is asserted.

bats_require_minimum_version 1.5.0

setup() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	run=$PLY_SRCDIR/tests/bench/run
	T=$(mktemp -d "$PLY_TMP/bench.XXXXXX")
	cd "$T"
}

teardown() {
	cd /
	rm -rf --one-file-system "$T"
}

# What a run leaves: nothing in its directory, nothing mounted, no daemon.
nothing_left() {
	[ -z "$(ls "$T/scratch")" ]
	if grep -F "$T/" /proc/self/mountinfo || pgrep -af "$T/scratch"; then
		return 1
	fi
}

# refused TEXT CMD...: fails, and says TEXT
refused() {
	local text=$1
	shift
	if "$@" 2>err; then
		return 1
	fi
	cat err
	grep -q -- "$text" err
}

@test "every workload, the curves, JSON and charts" {
	grep -qw overlay /proc/filesystems || modprobe overlay || skip "no overlayfs in this kernel"
	local charts='--svg r.svg --svg-curves c.svg'
	command -v gnuplot || charts=
	mkdir scratch
	# shellcheck disable=SC2086
	"$run" --smoke --curves --dir "$T/scratch" --build "$PLY_BUILDDIR" --peers overlay,plyfs,floor --json r.json --markdown r.md \
		$charts >out 2>err || { cat out err; return 1; }
	cat out err
	nothing_left
	# each row of --list is there, and has a number of each peer: what a peer cannot do is told, never left out
	diff <("$run" --list | sed -n '/^rows:/,/^groups:/s/^  \([^ ]*\).*/\1/p') <(jq -r '.rows | keys_unsorted[]' r.json)
	jq -e >/dev/null '[.rows[].results.plyfs | has("error") or (.median >= 0 and (.values | length) == 1)] | all' r.json
	jq -e >/dev/null '[.rows | del(.memory)[] | .results.overlay | has("error") or .median >= 0] | all' r.json
	# the floor has no number where it does not serve, and one in every row where plyfs has one and the protocol is asked
	jq -e >/dev/null '.rows | [."dpkg", ."npm-rm", ."sqlite-read", .memory | .results | has("floor")] | any | not' r.json
	jq -e >/dev/null '[.rows[].results | select(has("floor")) | (.floor | has("error") | not) or .plyfs.missing] | length > 30 and all' r.json
	grep -q 'n/a$' out
	jq -r '.rows[].results[] | select(.error) | .error' r.json >errors
	[ "$(grep -cvE 'is not installed|no filesystem with reflinks|no package|no cachestat' errors)" = 0 ]
	jq -e >/dev/null '.machine.cpu != "" and .machine.kernel != "" and .machine.memory_mib > 0 and .date != "" and .peers.plyfs != ""' r.json
	# on one processor nothing can be said
	jq -e >/dev/null ".wake_us == null or .wake_us > 0" r.json
	jq -e >/dev/null '.rows."find-cold".results.plyfs.requests | length > 0' r.json
	jq -e >/dev/null '[.curves[].series[] | select(.error) ] | length == 0' r.json
	jq -e >/dev/null '.curves | length == 3 and ([.[].series[] | select(.peer == "plyfs") | .y | all(. > 0)] | all)' r.json
	if [ -n "$charts" ]; then
		grep -q '</svg>' r.svg
		grep -q '</svg>' c.svg
	fi
	grep -q '^| find, ' r.md
	# results are read again, several as one, and put into a text
	printf 'a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n' >text.md
	"$run" --merge r.json r.json --json m.json ${charts:+--svg m.svg} --readme text.md >out
	grep -q 'find, 200 files, cold' out
	jq -e >/dev/null '[.rows[].results.plyfs | has("error") or (.values | length == 2)] | all' m.json
	cat text.md
	[ "$(head -n 1 text.md)$(tail -n 1 text.md)" = ab ]
	grep -q '^Measured 20' text.md
	[ -z "$charts" ] || grep -qxF '![Time as a ratio to kernel overlayfs](m.svg)' text.md
	if grep old text.md; then
		return 1
	fi
}

@test "a peer of one's own, and one that fails" {
	mkdir scratch
	"$run" --smoke --dir "$T/scratch" --build "$PLY_BUILDDIR" --only find-cold --peers plyfs,mine,broken \
		--peer "mine=$PLY_BUILDDIR/plyfs -f -o lowerdir={lower},upperdir={upper},workdir={work} {target}" \
		--peer 'broken=sh -c "echo cannot >&2; exit 3"' --json r.json >out 2>err || { cat out err; return 1; }
	cat out err
	nothing_left
	# nobody asked for the floor
	jq -e >/dev/null '.rows."find-cold".results | has("floor") | not' r.json
	jq -e >/dev/null '.rows."find-cold".results.mine.median > 0' r.json
	jq -e >/dev/null '.rows."find-cold".results.broken | has("median") | not' r.json
	grep -q 'failed: find-cold, broken: does not mount: cannot' out
}

@test "what the machine lacks is not measured, and no failure" {
	mkdir scratch bin
	ln -s /usr/sbin/* /usr/bin/* bin/ 2>/dev/null || true
	rm -f bin/fio
	PATH=$T/bin "$run" --smoke --dir "$T/scratch" --build "$PLY_BUILDDIR" --only read-cold --peers plyfs --json r.json >out 2>err ||
		{ cat out err; return 1; }
	cat out err
	grep -qxF 'not measured: read-cold, plyfs: fio is not installed' out
	if grep failed out; then
		return 1
	fi
	jq -e >/dev/null '.rows."read-cold".results.plyfs.missing' r.json
}

@test "an interrupt leaves nothing behind" {
	local pid i
	mkdir scratch
	"$run" --smoke --rounds 1000 --dir "$T/scratch" --build "$PLY_BUILDDIR" --only tree --peers plyfs >out 2>err &
	pid=$!
	for ((i = 0; i < 2000; i++)); do
		if pgrep -f "plyfs -f .*$T/scratch" >/dev/null; then
			break
		fi
		sleep 0.05
	done
	pgrep -f "plyfs -f .*$T/scratch"
	kill -TERM "$pid"
	if wait "$pid"; then
		return 1
	fi
	cat err
	grep -q interrupted err
	nothing_left
}

@test "errors say what is wrong" {
	refused "no workload 'nosuch'" "$run" --only nosuch
	refused "no peer 'nosuch'" "$run" --smoke --peers nosuch --build "$PLY_BUILDDIR"
	refused 'braces other than' "$run" --smoke --only find-cold --peers plyfs --peer 'x={upperdir}' --build "$PLY_BUILDDIR"
	refused 'no results of this program' "$run" --merge "$run"
	refused 'is no directory' "$run" --smoke --dir "$T/nosuch" --build "$PLY_BUILDDIR"
	# It keeps what it needs to read a tree, or a python, below /root.
	refused 'must be root' setpriv --reuid 65534 --clear-groups --inh-caps +dac_read_search \
		--ambient-caps +dac_read_search python3 "$run" --smoke
}
