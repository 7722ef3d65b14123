#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
#
# Uppers that fuse-overlayfs has made, as root, in a user namespace, and with owners in attributes: plyfs shows the tree that
# fuse-overlayfs showed, goes on with it, and fuse-overlayfs can be used again where nothing but the formats that it knows
# was written.

load ../lib/common

prepare()
{
	RECHECK=no
	command -v fuse-overlayfs >/dev/null || skip "there is no fuse-overlayfs"
	put "$L/keep/f" keep
	put "$L/gone/f" gone; put "$L/gone/sub/g" gone
	put "$L/again/old" old
	put "$L/file" lower; put "$L/deleted" deleted; put "$L/log" log
	put "$L/typed/f" x
	put "$L/private" p; chmod 640 "$L/private"; chown 12:13 "$L/private"
	ln -s file "$L/link"
	put "$L2/second" second; put "$L2/keep/g" second
	LAYERS=("$L" "$L2")
}

work() # DIR: what a container does
{
	cd "$1"
	rm -r gone deleted link typed
	rm -r again; mkdir again; echo new >again/new
	echo more >>log
	mkdir -p made/dir; echo 1 >made/dir/f; ln made/dir/f made/hard
	echo t >typed; ln -s target made/soft; mkfifo made/fifo
	chmod 600 file; touch -d @1234567890 keep/f
	rm second; mkdir second; echo in >second/in
	mkdir emptied; echo x >emptied/x; rm emptied/x
	mv keep/g keep/h
	cd /
}

theirs() # OPTS
{
	fuse-overlayfs -o "lowerdir=$(join : "${LAYERS[@]}"),upperdir=$U,workdir=$W${1:+,$1}" "$M" 3>&- </dev/null
}

# Link counts of what was copied up are each program's own; and fuse-overlayfs shows mtimes late.
seen()
{
	"$TREESUM" -u "$1" | sed -E 's/ n[0-9]+ / /; s/ m[0-9.-]+//'
}

theirs_then_ours() # OPTS
{
	theirs "$1"
	work "$M"
	seen "$M" >"$T/theirs"
	umount "$M"
	union_mount "$2"
	seen "$M" >"$T/ours"
	diff "$T/theirs" "$T/ours"
	# and we go on
	echo ours >>"$M/log"; rm -r "$M/again"; mkdir "$M/gone"; mv "$M/made" "$M/moved"
	absent "$M/gone/f"
	seen "$M" >"$T/live"
	union_remount
	seen "$M" | diff "$T/live" -
	says "$M/log" "logmore
ours
"
}

@test "root: whiteouts, opaque directories, replaced types, hard links" {
	theirs_then_ours "" ""
}

@test ".wh. files, where it was told to make no devices" {
	export FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT=1
	theirs_then_ours "" ""
	[ -n "$(find "$U" -name '.wh.*')" ]
}

@test "owners in attributes: xattr_permissions=2" {
	theirs xattr_permissions=2
	work "$M"
	chown 21:22 "$M/log"; chmod 4750 "$M/log"; mkdir -m 1777 "$M/d"; chown 23:24 "$M/d"
	seen "$M" >"$T/theirs"
	umount "$M"
	union_mount xattr_permissions=2
	seen "$M" >"$T/ours"
	diff "$T/theirs" "$T/ours"
	chown 31:32 "$M/log"; mv "$M/log" "$M/d/log2"
	[ "$(field u:%g:%a "$M/d/log2")" = 31:32:4750 ] || [ "$(field u:%g:%a "$M/d/log2")" = 31:32:750 ]
}

@test "in a user namespace" {
	chown -R 61234:61234 "$T"
	cat >"$T/inside" <<-END
		set -eu
		$(declare -f work seen join fail absent says)
		TREESUM=$TREESUM
		fuse-overlayfs -o "lowerdir=$L:$L2,upperdir=$U,workdir=$W" "$M"
		work "$M"
		seen "$M" >"$T/theirs"
		umount "$M"
		"$T/plyfs" -o "lowerdir=$L:$L2,upperdir=$U,workdir=$W" "$M"
		seen "$M" >"$T/ours"
		diff "$T/theirs" "$T/ours"
		echo ours >>"$M/log"; rm -r "$M/again"; mkdir "$M/gone"; mv "$M/keep" "$M/kept"
		absent "$M/gone/f"
		seen "$M" >"$T/live"
		umount "$M"
		for i in 1 2 3 4 5 6 7 8 9 10; do
			"$T/plyfs" -o "lowerdir=$L:$L2,upperdir=$U,workdir=$W" "$M" && break
			sleep 0.5
		done
		seen "$M" | diff "$T/live" -
		umount "$M"
	END
	install -m 755 "$PLYFS" "$T/plyfs"
	chmod 666 /dev/fuse
	run setpriv --reuid 61234 --regid 61234 --clear-groups unshare -rm --propagation private bash "$T/inside" 3>&-
	[ "$status" = 0 ] || fail "$output"
}
