# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What every bats file shares. A test fills $L (and $L2, $L3...), perhaps $U, calls union_mount, works in $M.
#
#   LAYERS      the lower layers, top first; default ($L)
#   DATA        data-only layers below them; default none
#   UPPER WORK  default $U $W; UPPER= mounts without an upper
#   f CMD...    fsop with the union as its working directory
#
# Teardown demands, in every test: the live tree is the tree after a remount (RECHECK=no: not in this one), every daemon
# exits with 0 and says nothing that a sanitizer says, nothing stays mounted, work/ holds no leftover, and no byte,
# attribute or link count of any lower layer is other than when it was first mounted.
# What a test does to a lower layer between two mounts it tells by: lower_changed.

bats_require_minimum_version 1.5.0

: "${PLY_SRCDIR:?run by tests/run-bats}" "${PLY_BUILDDIR:?run by tests/run-bats}"
: "${PLY_SUITE:=normal}" "${PLY_TARGET:=plyfs}" "${PLY_TMP:=${TMPDIR:-/tmp}}"

PLYFS=$PLY_BUILDDIR/plyfs
PLYCTL=$PLY_BUILDDIR/plyctl
FSOP=$PLY_BUILDDIR/tests/tools/fsop
TREESUM=$PLY_BUILDDIR/tests/tools/treesum

# Long, since machines are loaded; only what hangs gets there.
case $PLY_SUITE in
asan) PLY_LIMIT=${PLY_LIMIT:-240} ;;
tsan) PLY_LIMIT=${PLY_LIMIT:-400} ;;
*) PLY_LIMIT=${PLY_LIMIT:-100} ;;
esac

export TSAN_OPTIONS="${TSAN_OPTIONS:-exitcode=99}:suppressions=$PLY_SRCDIR/tests/lib/tsan.supp"

# The overlay attributes' prefix that this privilege can use.
case $PLY_SUITE in
userns|plainuser) OVL=user.overlay ;;
*) OVL=trusted.overlay ;;
esac

# --- setup and teardown ---

setup()
{
	T=$(mktemp -d "$PLY_TMP/t.XXXXXX")
	chmod 755 "$T"
	L=$T/lower L2=$T/lower2 L3=$T/lower3 U=$T/upper W=$T/work M=$T/union R=$T/run
	mkdir "$L" "$L2" "$L3" "$U" "$W" "$M" "$R" "$R/sums" "$R/daemons"
	LAYERS=("$L") DATA=() UPPER=$U WORK=$W MOUNT_OPTS='' RECHECK=yes
	watchdog_start
	if declare -F prepare >/dev/null; then
		prepare
	fi
}

teardown()
{
	local bad=0
	cd /
	if [ "${BATS_TEST_COMPLETED:-}" = 1 ] && [ "$RECHECK" = yes ] && is_mounted "$M"; then
		recheck || bad=1
	fi
	daemons_stop || bad=1
	work_is_clean || bad=1
	lowers_unchanged || bad=1
	extra_unmount || bad=1
	if [ -e "$R/timeout" ]; then
		echo "TIME LIMIT: not done after $PLY_LIMIT s"
		cat "$R/timeout"
		bad=1
	fi
	watchdog_stop
	if [ "$bad" = 1 ] || [ "${BATS_TEST_COMPLETED:-}" != 1 ]; then
		logs_show
	fi
	chattr -R -ai "$T" 2>/dev/null || true
	rm -rf --one-file-system "$T" || true
	return "$bad"
}

logs_show()
{
	local d
	for d in "$R"/daemons/*; do
		[ -s "$d/log" ] || continue
		echo "--- $(cat "$d/what")"
		tail -c 6000 "$d/log"
	done
}

# --- the time limit ---

watchdog_start()
{
	local shell=$BASHPID
	mkfifo "$R/alarm"
	# Open before the fork: what watchdog_stop writes at once is not lost.
	exec 4<>"$R/alarm"
	(
		exec >/dev/null 2>&1 3>&-
		trap - EXIT ERR DEBUG
		set +eET
		if ! read -r -t "$PLY_LIMIT" -u 4 _; then
			stacks_show >"$R/timeout.new" 2>&1
			mv "$R/timeout.new" "$R/timeout"
			connections_abort
			descendants_kill "$shell" "$BASHPID"
		fi
	) &
	WATCHDOG=$!
	exec 4>&-
}

watchdog_stop()
{
	# read-write, so that the open does not wait for a watchdog that has ended
	echo over 1<>"$R/alarm"
	wait "$WATCHDOG" 2>/dev/null || true
	rm -f "$R/alarm"
}

stacks_show()
{
	local p t
	for p in /proc/[0-9]*; do
		[ -r "$p/cmdline" ] || continue
		echo "$p: $(tr '\0' ' ' <"$p/cmdline" | cut -c 1-300)"
		for t in "$p"/task/*; do
			sed 's/^/    /' "$t/stack" 2>/dev/null | head -n 8
		done
	done
	for p in $(cat "$R"/daemons/*/pid 2>/dev/null); do
		if [ -d "/proc/$p" ] && command -v gdb >/dev/null; then
			timeout 60 gdb -q -nx -batch -p "$p" -ex 'thread apply all bt' </dev/null
		fi
	done
}

# Wakes everybody who waits for an answer of a daemon that gives none.
connections_abort()
{
	local dev
	[ -w /sys/fs/fuse/connections ] && [ -n "$(ls /sys/fs/fuse/connections)" ] ||
		mount -t fusectl fusectl /sys/fs/fuse/connections
	awk -v t="$T/" 'index($5 "/", t) == 1 && / - fuse/ { print $3, $5 }' /proc/self/mountinfo | while read -r dev at; do
		echo 1 >"/sys/fs/fuse/connections/${dev#*:}/abort"
		umount -l "$at"
	done
}

descendants_kill()
{
	local p
	for p in $(awk -v top="$1" -v not="$2" '
		{ sub(/^.*\) /, "", $0); split(FILENAME, f, "/"); parent[f[3]] = $2 }
		END { for (p in parent) { for (q = p; q in parent && q != top; q = parent[q]) if (q == not) break
			if (q == top && p != top) print p } }' /proc/[0-9]*/stat 2>/dev/null); do
		kill -KILL "$p"
	done
}

# --- mounting ---

is_mounted()
{
	[ "$(mount_count "$1")" != 0 ]
}

mount_count() # mounts may lie one over the other
{
	awk -v m="${1// /\\\\040}" '$5 == m { n++ } END { print n + 0 }' /proc/self/mountinfo
}

# wait_for WHAT CMD...: polls, as long as the test's own limit allows
wait_for()
{
	local what=$1 i
	shift
	for ((i = 0; i < PLY_LIMIT * 20; i++)); do
		"$@" && return 0
		[ ! -e "$R/timeout" ] || break
		sleep 0.05
	done
	echo "waited in vain: $what"
	return 1
}

join() # SEP WORD...
{
	local sep=$1 out=$2
	shift 2
	printf '%s' "$out" "${@/#/$sep}"
}

layer_options()
{
	local o
	o=lowerdir=$(join : "${LAYERS[@]}")
	if [ ${#DATA[@]} != 0 ]; then
		o+=::$(join :: "${DATA[@]}")
	fi
	if [ -n "$UPPER" ]; then
		o+=,upperdir=$UPPER,workdir=$WORK
	fi
	printf '%s' "$o"
}

# Options of the suite, and for the kernel's overlayfs those that are plyfs's defaults.
suite_options()
{
	local given=,$1,
	if [ "$PLY_TARGET" = overlayfs ]; then
		case $given in *,userxattr,*) return ;; esac
		if [ "$OVL" = user.overlay ]; then
			printf ',userxattr'
			return
		fi
		case $given in *,xino=*) ;; *) printf ',xino=on' ;; esac
		case $given in *,redirect_dir=*) ;; *) printf ',redirect_dir=%s' "$([ -n "$UPPER" ] && echo on || echo follow)" ;; esac
		case $given in *,index=*) ;; *) [ -z "$UPPER" ] || printf ',index=on' ;; esac
		case $given in *,metacopy=*) ;; *) printf ',metacopy=off' ;; esac
		return
	fi
	case $PLY_SUITE in
	nopassthrough) case $given in *,passthrough=*) ;; *) printf ',passthrough=off' ;; esac ;;
	threads1) case $given in *,threads=*|*,threaded=*) ;; *) printf ',threads=1' ;; esac ;;
	io_uring) case $given in *,io_uring*) ;; *) printf ',io_uring' ;; esac ;;
	esac
	if [ -n "${PLY_OPTS:-}" ]; then
		printf ',%s' "$PLY_OPTS"
	fi
}

# union_mount [OPTS]
union_mount()
{
	local dir
	MOUNT_OPTS=${1:-}
	for dir in "${LAYERS[@]}" "${DATA[@]}"; do
		lower_seal "$dir"
	done
	mount_opts "$M" "$(layer_options)${MOUNT_OPTS:+,$MOUNT_OPTS}$(suite_options "$MOUNT_OPTS")"
}

# mount_opts TARGET OPTS: exactly these options
mount_opts()
{
	if [ "$PLY_TARGET" = overlayfs ]; then
		mount -i -t overlay overlay -o "$2" "$1" || return
		mkdir "$R/daemons/$(ls "$R/daemons" | wc -l)"
		return
	fi
	daemon_start "$1" -o "$2" "$1" && daemon_is_up
}

# daemon_start TARGET ARGS...: runs plyfs -f under a shell that keeps its status and stderr; its directory is $D
daemon_start()
{
	local target=$1
	shift
	D=$R/daemons/$(ls "$R/daemons" | wc -l)
	mkdir "$D"
	printf '%s' "$target" >"$D/target"
	mount_count "$target" >"$D/before"
	printf 'plyfs %s' "$*" >"$D/what"
	(
		exec >/dev/null 2>&1 3>&- </dev/null
		trap - EXIT ERR DEBUG
		set +eET
		cd "$D" # where a core would go
		"$PLYFS" -f "$@" >"$D/log" 2>&1 &
		echo $! >"$D/pid.new"
		mv "$D/pid.new" "$D/pid"
		wait $!
		echo $? >"$D/status.new"
		mv "$D/status.new" "$D/status"
	) &
}

daemon_settled()
{
	[ -e "$D/status" ] || { [ -e "$D/pid" ] && [ "$(mount_count "$(cat "$D/target")")" -gt "$(cat "$D/before")" ]; }
}

daemon_is_up()
{
	wait_for "the mount or the daemon's end" daemon_settled
	if [ -e "$D/status" ]; then
		echo "plyfs ended with status $(cat "$D/status"): $(cat "$D/what")"
		cat "$D/log"
		return 1
	fi
}

daemon_pid()
{
	cat "$D/pid"
}

# daemon_ended DIR: waits for the exit, which must be clean
daemon_ended()
{
	local d=$1 status
	[ -e "$d/target" ] || return 0
	if [ -e "$d/checked" ]; then
		return 0
	fi
	: >"$d/checked"
	wait_for "exit of: $(cat "$d/what")" test -e "$d/status" || return 1
	status=$(cat "$d/status")
	if grep -E -n 'Sanitizer|runtime error:|SUMMARY: |data race' "$d/log"; then
		echo "a sanitizer spoke: $(cat "$d/what")"
		return 1
	fi
	if [ "$status" != "$(cat "$d/want" 2>/dev/null || echo 0)" ]; then
		echo "status $status: $(cat "$d/what")"
		return 1
	fi
}

# umount_at TARGET: a plain umount that must succeed, and the daemon's clean end
umount_at()
{
	local d
	umount -i "$1"
	for d in "$R"/daemons/*; do
		if [ "$(cat "$d/target" 2>/dev/null)" = "$1" ]; then
			daemon_ended "$d"
		fi
	done
}

union_umount()
{
	umount_at "$M"
}

# union_remount [OPTS]: the same options unless others are given
union_remount()
{
	union_umount
	union_mount "${1-$MOUNT_OPTS}"
}

daemons_stop()
{
	local bad=0 at d
	# top first, as they were stacked; what a test mounted for its layers comes later
	for at in $(awk -v t="$T/" 'index($5 "/", t) == 1 && / - (fuse|overlay)/ { print $5 }' /proc/self/mountinfo | tac); do
		at=${at//'\040'/ }
		if grep -qxF "$at" "$R/extra" 2>/dev/null; then
			continue
		fi
		if ! umount -i "$at"; then
			echo "still busy: $at"
			umount -l "$at"
			bad=1
		fi
	done
	for d in "$R"/daemons/*; do
		if [ -d "$d" ] && ! daemon_ended "$d"; then
			bad=1
			if [ -e "$d/pid" ] && [ ! -e "$d/status" ]; then
				kill -KILL "$(cat "$d/pid")" || true
			fi
		fi
	done
	return "$bad"
}

# --- what is demanded of every test ---

# the state of a layer before anything was mounted over it
lower_seal()
{
	local sum
	sum=$R/sums/$(printf '%s' "$1" | tr / %)
	if [ ! -e "$sum" ]; then
		"$TREESUM" -c "$1" >"$sum"
		printf '%s' "$1" >"$sum.dir"
	fi
}

lower_changed()
{
	rm -f "$R"/sums/*
}

lowers_unchanged()
{
	local s bad=0
	for s in "$R"/sums/*.dir; do
		[ -e "$s" ] || continue
		if ! "$TREESUM" -c "$(cat "$s")" | diff "${s%.dir}" -; then
			echo "LOWER LAYER CHANGED: $(cat "$s")"
			bad=1
		fi
	done
	return "$bad"
}

# Nothing but the whiteout kept for linking, the index and the volatile mark may stay in the work directory.
work_is_clean()
{
	local left
	[ -d "$W/work" ] || return 0
	left=$(find "$W/work" -mindepth 1 -not -path "$W/work/incompat*" -not -type c)
	if [ -n "$left" ]; then
		echo "left in work/:"
		echo "$left"
		return 1
	fi
}

tree_of() # what a program sees of a union, inode numbers included
{
	"$TREESUM" -u -i "$1"
}

# What cannot hold everywhere: user.* attributes are for files and directories only, so without privilege the others
# have no origin, and get another number once they are copied up.
tree_normal()
{
	case $PLY_SUITE in
	userns|plainuser) sed -E 's/^([^\t]*\t(01|12|14).*) i[0-9]+/\1/' ;;
	*) cat ;;
	esac
}

recheck()
{
	tree_of "$M" | tree_normal >"$R/live"
	union_remount
	tree_of "$M" | tree_normal >"$R/again"
	if ! diff "$R/live" "$R/again"; then
		echo "THE TREE AFTER A REMOUNT (>) IS NOT THE LIVE TREE (<)"
		return 1
	fi
}

# --- filesystems for layers ---

# fs_tmpfs DIR [OPTS]
fs_tmpfs()
{
	mkdir -p "$1"
	mount -t tmpfs -o "mode=755${2:+,$2}" tmpfs "$1" || skip "no tmpfs can be mounted"
	echo "$1" >>"$R/extra"
}

# fs_loop DIR TYPE SIZE [MKFS ARGS]
fs_loop()
{
	local dir=$1 type=$2 size=$3 img
	shift 3
	[ "$(id -u)" = 0 ] && [ "$PLY_SUITE" != userns ] || skip "no loop devices here"
	command -v "mkfs.$type" >/dev/null || skip "no mkfs.$type"
	grep -q "\b$type\$" /proc/filesystems || skip "no $type in this kernel"
	img=$R/img.$(ls "$R" | wc -l)
	truncate -s "$size" "$img"
	"mkfs.$type" "$@" "$img" >"$R/mkfs" 2>&1 || { cat "$R/mkfs"; return 1; }
	mkdir -p "$dir"
	mount -o loop "$img" "$dir" || skip "no loop mount of $type${LOOP_NEEDS:+ $LOOP_NEEDS}"
	echo "$dir" >>"$R/extra"
	chmod 755 "$dir"
}

extra_unmount()
{
	local dir bad=0
	if [ -e "$R/extra" ]; then
		for dir in $(tac "$R/extra"); do
			umount -i "$dir" || { umount -l "$dir"; bad=1; }
		done
	fi
	if grep -F " $T/" /proc/self/mountinfo; then
		echo "still mounted"
		bad=1
	fi
	return "$bad"
}

# --- gates ---

plyfs_only()
{
	[ "$PLY_TARGET" = plyfs ] || skip "only plyfs: $*"
}

need_root() # of the initial user namespace: devices, trusted xattrs, loop mounts
{
	case $PLY_SUITE in userns|plainuser) skip "needs root: ${*:-}" ;; esac
}

# Can a mount have passthrough here at all?
has_passthrough()
{
	mkdir -p "$T/pl" "$T/pm"; : >"$T/pl/f"
	"$PLYFS" -o "lowerdir=$T/pl,passthrough=required" "$T/pm" 2>/dev/null 3>&- || return 1
	umount "$T/pm"
}

need_kernel_overlay()
{
	need_root
	grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip "no overlayfs in this kernel"
}

# --- small words for tests ---

f()
{
	"$FSOP" -C "$M" "$@"
}

fail()
{
	echo "$*"
	return 1
}

# says FILE TEXT: the content of FILE is exactly TEXT
says()
{
	local got
	got=$(cat "$1"; echo x)
	[ "$got" = "$2x" ] || fail "$1: '${got%x}', want '$2'"
}

absent()
{
	local p
	for p; do
		if [ -e "$p" ] || [ -L "$p" ]; then
			fail "$p is there"
			return 1
		fi
	done
}

put() # FILE TEXT, with its directories
{
	mkdir -p "$(dirname "$1")"
	printf '%s' "$2" >"$1"
}

field() # FORMAT FILE
{
	stat -c "%$1" "$2"
}

whiteout()
{
	mkdir -p "$(dirname "$1")"
	mknod "$1" c 0 0
}

is_whiteout()
{
	[ "$(stat -c '%F %t %T' "$1")" = 'character special file 0 0' ] || fail "$1 is no whiteout"
}

xattr() # FILE NAME VALUE
{
	"$FSOP" setx "$@"
}

has_xattr() # FILE NAME [VALUE]
{
	if [ $# = 3 ]; then
		"$FSOP" getx "$@"
	else
		"$FSOP" listx "$1" | tr ' ' '\n' | grep -qxF "$2" || fail "$1 has no $2"
	fi
}

no_xattr()
{
	"$FSOP" '!ENODATA' getx "$1" "$2" ''
}

opaque() # DIR
{
	mkdir -p "$1"
	xattr "$1" "$OVL.opaque" y
}
