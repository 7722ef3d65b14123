#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 900
#
# One seeded stream of operations on a union and on a plain directory: the same results, the same trees, also after
# remounts. PLY_LONG=1 runs longer, PLY_SEED=N with another seed; `tests/model/reduce` shortens a failing log.

load lib/common

MODEL=$PLY_BUILDDIR/tests/model/model

prepare()
{
	OPS=8000
	case $PLY_SUITE in asan) OPS=4000 ;; tsan) OPS=2500 ;; esac
	PLY_LIMIT=$((PLY_LIMIT * 4))
	if [ -n "${PLY_LONG:-}" ]; then
		OPS=$((OPS * 25)) PLY_LIMIT=7200
	fi
	# with the longer limit
	watchdog_stop
	watchdog_start
	LAYERS=("$L" "$L2" "$L3") BOTTOM_UP=("$L3" "$L2" "$L")
	GENERATE=() RUN=(--ops="$OPS" --remount-every=$((OPS / 4)))
	if [ "$OVL" = user.overlay ]; then GENERATE+=(--userxattr); fi
	case $PLY_SUITE in
	overlayfs) like_the_kernel ;;
	nopassthrough) cached ;;
	# Symlinks, fifos and the like cannot carry user.* attributes, so that no origin is found after a remount.
	userns) RUN+=(--sgid-lax --cached --forget-ino --without=setcap) ;;
	*)
		if has_passthrough; then RUN+=(--sgid-lax --root-strips); else cached; fi ;;
	esac
	mkdir "$T/plain"
}

# Without passthrough, and so with the writeback cache
cached()
{
	# A file with capabilities and sgid loses both by root's write there.
	RUN+=(--sgid-lax --cached --without=setcap)
	# FUSE sets the mtime for a hole behind the end too, ext4 of older kernels does not.
	! "$FSOP" -C "$T" open w hole rw+creat , utime @w omit 1000.000000000 , fallocate w punch 64k 4k , \
		stat @w mtime 1000.000000000 2>/dev/null || RUN+=(--without=fallocate)
}

# What the kernel's overlayfs does not do, or not always: shared mappings of a reader see a later copy-up, holes stay,
# d_ino is st_ino, the link count of an unlinked open file is 0, and its attributes can be changed.
like_the_kernel()
{
	RUN+=(--no-mapped --no-holes --no-dino --no-nlink --without=fchown,fchmod,futimens,fsetxattr,fremovexattr)
}

# model_run SEED: model asks for a remount through a pipe, since only this shell can make one; $1 answers it
model_run()
{
	local seed=${PLY_SEED:-$1} remount=$2 pid word part='' rc=''
	"$MODEL" --generate --seed="$seed" "${GENERATE[@]}" "$T/plain" "${BOTTOM_UP[@]}"
	union_mount "${3:-}"
	mkfifo "$R/ask" "$R/answer"
	exec 8<>"$R/ask" 9<>"$R/answer"
	(
		rc=0
		"$MODEL" --seed="$seed" --log="$R/model.log" "${RUN[@]}" \
			--remount="echo remount >'$R/ask'; read -r word <'$R/answer'; [ \"\$word\" = done ]" \
			"$M" "$T/plain" 2>&1 || rc=$?
		echo "end $rc" >"$R/ask"
	) 3>&- 8>&- 9>&- &
	pid=$!
	while [ -z "$rc" ]; do
		# A time-out in the middle of a word keeps what came so far.
		if ! read -r -t 1 word <&8; then
			part+=$word
			kill -0 "$pid" 2>/dev/null || rc=killed
			[ ! -e "$R/timeout" ] || rc=late
			continue
		fi
		word=$part$word part=''
		case $word in
		remount) if "$remount"; then echo done >&9; else echo failed >&9; fi ;;
		end*) rc=${word#end } ;;
		esac
	done
	exec 8>&- 9>&-
	if [ "$rc" != 0 ] && [ -n "${PLY_KEEP:-}" ]; then cp "$R/model.log" "$PLY_KEEP"; fi
	[ "$rc" = 0 ] || fail "the model run ended with $rc"
}

@test "the union behaves like a plain directory" {
	model_run 1 union_remount
}

@test "another seed, with ordinary files only changed in their metadata not copied (metacopy)" {
	plyfs_only "with metacopy the kernel changes times that it should not"
	model_run 2 union_remount metacopy=on
}

@test "the same over 24 layers, where names are read sooner" {
	local i
	LAYERS=() BOTTOM_UP=()
	for i in {1..24}; do LAYERS+=("$T/many/$i"); BOTTOM_UP=("$T/many/$i" "${BOTTOM_UP[@]}"); done
	mkdir -p "${LAYERS[@]}"
	# all in all there is as much to compare
	GENERATE+=(--scale=15)
	RUN+=(--ops=$((OPS / 4)) --remount-every=$((OPS / 12)))
	model_run 5 union_remount
}

# The upper of one mount is the top lower layer of the next, as an image is built. Hard links are left out: what
# keeps their names one file is in the index, and that stays behind.
rotate()
{
	local n=${#LAYERS[@]}
	union_umount
	LAYERS=("$U" "${LAYERS[@]}")
	U=$T/upper$n W=$T/work$n
	mkdir "$U" "$W"
	chmod --reference="${LAYERS[0]}" "$U"
	touch -r "${LAYERS[0]}" "$U"
	UPPER=$U WORK=$W
	union_mount "$MOUNT_OPTS"
}

@test "each upper becomes a lower layer" {
	plyfs_only "the kernel says EXDEV to some exchanges then"
	GENERATE+=(--no-links)
	RUN+=(--no-ino --no-nlink --without=link,linkfd,tmpfile --remount-every=$((OPS / 6)))
	model_run 3 rotate
}

# The upper moves between plyfs and the kernel's overlayfs: both must read all that the other wrote.
take_turns()
{
	union_umount
	TURN=$((TURN + 1))
	if [ $((TURN % 2)) = 1 ]; then
		PLY_TARGET=overlayfs union_mount "$MOUNT_OPTS"
	else
		union_mount "$MOUNT_OPTS"
	fi
}

@test "plyfs and the kernel's overlayfs take turns on one upper" {
	plyfs_only "the kernel alone is the first test"
	need_kernel_overlay
	TURN=0
	like_the_kernel
	# The overlayfs of older kernels has no O_TMPFILE
	mkdir "$T/tmpfile" "$T/tmpfile"/{l,u,w,m}
	mount -i -t overlay overlay -o "lowerdir=$T/tmpfile/l,upperdir=$T/tmpfile/u,workdir=$T/tmpfile/w" "$T/tmpfile/m"
	"$FSOP" -C "$T/tmpfile/m" open t . rw+tmpfile 2>/dev/null || RUN+=(--without=tmpfile)
	umount "$T/tmpfile/m"
	RUN+=(--forget-ino --remount-every=$((OPS / 8)))
	model_run 4 take_turns
	union_umount
	union_mount
}
