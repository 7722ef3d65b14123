#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
# timeout: 600
#
# containerd, with the mounts of its fuse-overlayfs snapshotter (type fuse3.fuse-overlayfs, so by way of mount.fuse3), and
# plyfs under the name fuse-overlayfs.

load clients

prepare()
{
	engine_prepare containerd ctr containerd-shim-runc-v2 mount.fuse3
	/usr/bin/python3 -c 'import grpc' 2>/dev/null || skip "there is no python3-grpcio"
	cat >"$T/config.toml" <<-END
		version = 2
		root = "$T/mine/root"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
		[grpc]
		address = "/run/containerd.sock"
		[proxy_plugins.plyfs]
		type = "snapshot"
		address = "/run/snapshotter.sock"
	END
	mkdir "$T/mine/snapshots"
	engine_start /run/snapshotter.sock /usr/bin/python3 "$PLY_SRCDIR/tests/clients/snapshotter.py" /run/snapshotter.sock "$T/mine/snapshots"
	engine_start /run/containerd.sock containerd -c "$T/config.toml"
	wait_for "an answer of containerd" c version
	image
	c images import --snapshotter plyfs "$T/tmp/image.tar" >/dev/null
}

c()
{
	timeout -k 10 "$PLY_LIMIT" ctr -a /run/containerd.sock "$@" 3>&-
}

# c_run ARG... NAME CMD...: a container of the image
c_run()
{
	c run --snapshotter plyfs "$@"
}

# An archive of two layers: rootfs, and one that deletes, replaces and adds.
image()
{
	local d=$T/archive up=$T/second
	mkdir "$d"
	rootfs_tar "$d/1.tar"
	mkdir -p "$up/data/dir/sub" "$up/data/sgid"
	: >"$up/data/.wh.private"; : >"$up/data/dir/sub/.wh..wh..opq"; echo 41 >"$up/data/dir/sub/file41"
	echo log2 >"$up/data/log"; chmod 2775 "$up/data/sgid"; chown 0:1000 "$up/data/sgid"; echo s >"$up/data/sgid/s"; chown 3:4 "$up/data/sgid/s"
	tar -C "$up" --sort=name --numeric-owner -cf "$d/2.tar" data
	printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]}}' \
		"$(sha256sum <"$d/1.tar" | cut -d ' ' -f 1)" "$(sha256sum <"$d/2.tar" | cut -d ' ' -f 1)" >"$d/config.json"
	printf '[{"Config":"config.json","RepoTags":["test/base:latest"],"Layers":["1.tar","2.tar"]}]' >"$d/manifest.json"
	tar -C "$d" -cf "$T/tmp/image.tar" manifest.json config.json 1.tar 2.tar
}
readonly base=docker.io/test/base:latest

@test "unpack, run, write, run again: the image is as it was" {
	layers=("$T"/mine/snapshots/*/fs)
	for d in "${layers[@]}"; do "$TREESUM" -c "$d"; done >"$T/before"
	ok c_run --rm $base c1 sh -c '
		set -e
		grep " / fuse.fuse-overlayfs " /proc/mounts
		cat /data/log; ls /data/dir/sub; test ! -e /data/private; stat -c "%u:%g %a" /data/sgid/s /data/sgid
		exec 3</data/log; echo more >>/data/log; cat <&3; rm -r /data/dir; mkdir /data/dir; echo 4 >>/data/linked1; cat /data/linked2; stat -c %h /data/linked1'
	[[ "$output" == *"
log2
file41
3:4 644
0:1000 2775
log2
more
first
4
3" ]] || [[ "$output" == *"
log2
file41
3:4 644
0:1000 2775
log2
more
first
4
2" ]] || fail "$output"
	ok c_run --rm $base c2 sh -c 'cat /data/log /data/linked2; ls /data/dir/sub'
	[ "$output" = "log2
first
file41" ] || fail "$output"
	for d in "${layers[@]}"; do "$TREESUM" -c "$d"; done | diff "$T/before" -
}

@test "snapshots: prepare, mount, commit, view, diff" {
	ok c snapshots --snapshotter plyfs ls
	top=$(awk '$3 == "Committed" && $2 != "" { print $1, $2 }' <<<"$output" | awk '{ parent[$2] = 1; name[NR] = $1 } END { for (i in name) if (!(name[i] in parent)) print name[i] }')
	[ -n "$top" ] || fail "$output"
	mkdir "$T/at"
	c snapshots --snapshotter plyfs prepare mine "$top" >/dev/null
	# ctr prints the command; containerd's clients do the same by the library
	cmd=$(c snapshots --snapshotter plyfs mounts "$T/at" mine)
	[[ "$cmd" == "mount -t fuse3.fuse-overlayfs overlay $T/at -o workdir="* ]] || fail "$cmd"
	mount.fuse3 overlay "$T/at" -o "${cmd##* -o },dev,suid" -t fuse-overlayfs
	[ "$(stat -f -c %T "$T/at")" = fuseblk ] || [ "$(stat -f -c %T "$T/at")" = fuse ]
	says "$T/at/data/log" "log2
"
	rm "$T/at/data/log"; mkdir "$T/at/fresh"; echo x >"$T/at/fresh/f"
	umount "$T/at"
	c snapshots --snapshotter plyfs commit done mine
	c snapshots --snapshotter plyfs view look done >/dev/null
	cmd=$(c snapshots --snapshotter plyfs mounts "$T/at" look)
	mount.fuse3 overlay "$T/at" -o "${cmd##* -o }" -t fuse-overlayfs
	absent "$T/at/data/log" "$T/at/data/private"
	says "$T/at/fresh/f" "x
"
	! touch "$T/at/new" 2>/dev/null || fail "a view was written"
	umount "$T/at"
	# the difference of two mounts, as a layer of an image
	c snapshots --snapshotter plyfs diff "$top" done >"$T/diff"
	ok tar -tzf "$T/diff"
	[ "$(grep -v '/$' <<<"$output" | sort)" = "data/.wh.log
fresh/f" ] || fail "$output"
}
