#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
# timeout: 600
#
# dockerd with its driver fuse-overlayfs, and plyfs under that name.

load clients

prepare()
{
	engine_prepare dockerd docker containerd containerd-shim-runc-v2
	export DOCKER_HOST=unix:///run/docker.sock
	engine_start /run/docker.sock dockerd --storage-driver fuse-overlayfs --data-root "$T/mine/docker" --exec-root /run/docker \
		-H "$DOCKER_HOST" --pidfile /run/docker.pid --iptables=false --ip6tables=false --ip-masq=false --bridge=none
	wait_for "an answer of dockerd" docker version
	[ "$(docker info --format '{{.Driver}}')" = fuse-overlayfs ]
	rootfs_tar "$T/tmp/base.tar"
	docker import "$T/tmp/base.tar" base >/dev/null
}

# run of docker: RUN ARG...
run_in()
{
	docker run --network none --ulimit nofile=1024:1024 "$@"
}

moby_layers()
{
	local d
	for d in "$T"/mine/docker/fuse-overlayfs/*/diff; do
		printf '== %s\n' "$d"
		"$TREESUM" -c "$d"
	done
}

@test "run, write, diff, commit, run the result" {
	round_trip docker run_in --cap-add mknod
}

@test "containers that write the image's files do not change it; stop, start, restart of the daemon" {
	moby_layers >"$T/before"
	ok run_in --name c1 base sh -c '
		test -e /data/again && { cat /data/log /data/a/linked3 /data/linked2; test ! -e /data/dir/sub/file1; exit; }
		exec 3</data/log; cat <&3; echo line >>/data/log; echo line >>/data/linked1; cat <&3
		mv /data/dir /data/a; mkdir -p /data/dir/sub; : >/data/again; sync'
	[ "$output" = "log
line" ] || fail "$output"
	ok run_in --rm base sh -c 'cat /data/log /data/linked1 /data/linked2; ls /data/dir/sub | wc -l'
	[ "$output" = "log
first
first
40" ] || fail "$output"
	ok docker start -a c1
	[ "$output" = "log
line
first
line
first
line" ] || fail "$output"
	docker rm c1 >/dev/null
	moby_layers | diff "$T/before" -
}

@test "a build of several steps" {
	mkdir "$T/context"
	echo copied >"$T/context/file"; ln "$T/context/file" "$T/context/second"
	cat >"$T/context/Dockerfile" <<-'END'
		FROM base
		RUN rm /data/log && mv /data/dir /data/other && echo one >/data/one && chmod 4755 /data/one
		COPY file second /copied/
		RUN ["/bin/sh", "-c", "cat /copied/file >>/data/one; rm -r /data/other/sub; mkdir /data/other/sub; ln /data/one /data/two"]
		RUN ["/bin/sh", "-c", "chown 5:6 /data/private; touch /data/other/sub/new; ln -s one /data/three"]
		CMD ["/bin/sh", "-c", "cat /data/three; stat -c '%a %h' /data/two; stat -c '%u:%g %a' /data/private; ls /data/other/sub /copied; test ! -e /data/log"]
	END
	DOCKER_BUILDKIT=0 ok docker build -q --network none -t built "$T/context"
	ok run_in --rm built
	[ "$output" = "one
copied
4755 2
5:6 600
/copied:
file
second

/data/other/sub:
new" ] || fail "$output"
	# and out of the engine again: what docker export shows is what the container sees
	id=$(docker create built)
	docker export "$id" | tar -tvf - --numeric-owner >"$T/export"
	docker rm "$id" >/dev/null
	grep -E -q '^-rwsr-xr-x 0/0 +11 .* data/one$' "$T/export" || grep -E -q '^-rwsr-xr-x 0/0 +11 .* data/two$' "$T/export" || fail "$(grep data "$T/export")"
	grep -q ' data/three -> one$' "$T/export"
	! grep -q 'data/log\|data/dir/' "$T/export"
}
