#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
# timeout: 400
#
# podman as root, with plyfs as its mount program.

load clients

prepare()
{
	clients_prepare
}

@test "run, write, diff, commit, run the result" {
	import base
	round_trip pod pod_run --cap-add mknod
}

@test "a container that writes an image's file does not change the image" {
	import base
	layers_sum >"$T/before"
	# as a log daemon: reads on while somebody appends
	ok pod_run --name c1 base sh -c '
		exec 3</data/log 4</usr/bin/suid; cat <&3; echo line >>/data/log; echo line >>/data/linked1; echo x >/usr/bin/suid
		cat <&3; cat /data/log; cat <&4 >/dev/null; dd if=/data/log of=/data/sparse conv=notrunc bs=1 seek=100 2>/dev/null; sync'
	[ "$output" = "log
line
log
line" ]
	ok pod_run --rm --name c2 base sh -c 'cat /data/log /data/linked1 /data/linked2 /usr/bin/suid; wc -c </data/sparse'
	[ "$output" = "log
first
first
suid
3145728" ]
	ok pod start -a c1
	pod rm c1 >/dev/null
	layers_sum | diff "$T/before" -
}

@test "a program that runs while its file is written over" {
	import base
	ok pod_run --rm base sh -c '
		cp /bin/busybox /bin/tool; /bin/busybox sleep 1 & cp /bin/busybox /tmp/new; cat /tmp/new >/bin/busybox2
		mv /tmp/new /bin/busybox; wait; /bin/busybox echo replaced; cmp /bin/busybox /bin/tool && echo same'
	[ "$output" = "replaced
same" ]
}

@test "user namespaces: --uidmap, --userns=auto's idmapped layers, a user of its own" {
	import base
	ok pod_run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 base sh -c '
		stat -c "%u:%g %a %n" /data/private /data/sgid /usr/bin/suid /data/fifo; echo x >/data/new; stat -c %u:%g /data/new
		chown 1000:1000 /data/new; stat -c %u:%g /data/new; cat /data/private'
	[ "$output" = "1000:1001 600 /data/private
0:1000 2775 /data/sgid
0:0 4755 /usr/bin/suid
0:0 640 /data/fifo
0:0
1000:1000
private" ]
	ok pod_run --rm --user 1000:1000 base sh -c 'id -u; { echo no >/data/new; } 2>/dev/null || echo refused; echo yes >/tmp/new && cat /tmp/new'
	[ "$output" = "1000
refused
yes" ]
}

@test "read-only images: image mount, --read-only, a volume from an image" {
	import base
	m=$(pod image mount base)
	[ "$(stat -f -c %T "$m")" = fuseblk ] || [ "$(stat -f -c %T "$m")" = fuse ]
	! echo x >"$m/new" 2>/dev/null
	# what an image mount shows is what was imported
	listing "$T/rootfs" >"$T/want"
	listing "$m" | diff "$T/want" -
	pod image unmount base >/dev/null
	ok pod_run --rm --read-only base sh -c '{ echo x >/data/log; } 2>/dev/null || cat /data/log'
	[ "$output" = log ]
	ok pod_run --rm --mount type=image,source=base,destination=/img base sh -c 'cat /img/data/log; stat -c %h /img/data/linked1'
	[ "$output" = "log
3" ]
}

@test "ten containers of one image at once" {
	import base
	for i in {1..10}; do
		pod create -q "${bare[@]}" --name "n$i" base sh -c "echo $i >>/data/log; cat /data/log; sleep 1; cat /data/log; find / -xdev | wc -l >/dev/null" >/dev/null
	done
	pod start n1 n2 n3 n4 n5 n6 n7 n8 n9 n10 >/dev/null
	pod wait n1 n2 n3 n4 n5 n6 n7 n8 n9 n10 >/dev/null
	for i in {1..10}; do
		[ "$(pod logs "n$i" 2>&1)" = "log
$i
log
$i" ] || fail "n$i: $(pod logs "n$i" 2>&1)"
	done
}

@test "plyfs in place of fuse-overlayfs, a store made by another program" {
	ln -s plyfs "$T/bin/fuse-overlayfs"
	cp --remove-destination "$T/bin/plyfs" "$T/bin/fuse-overlayfs"
	PROGRAM=$T/bin/fuse-overlayfs
	import base
	ok pod_run --name c1 base sh -c 'grep -c " / fuse.fuse-overlayfs " /proc/mounts; echo one >>/data/log; rm -rf /data/dir; mkdir /data/dir'
	[ "$output" = 1 ]
	# the same container, as plyfs
	PROGRAM=$T/bin/plyfs
	m=$(pod mount c1)
	says "$m/data/log" "log
one
"
	[ -z "$(ls "$m/data/dir")" ]
	pod unmount c1 >/dev/null
	if command -v fuse-overlayfs >/dev/null; then
		# and as the real one, which has made layers that plyfs reads
		PROGRAM=$(command -v fuse-overlayfs)
		ok pod_run --name c2 base sh -c 'echo two >>/data/log; rm -rf /data/dir /data/private; mkdir /data/dir; echo n >/data/dir/n; mv /data/linked1 /data/l1'
		PROGRAM=$T/bin/plyfs
		m=$(pod mount c2)
		says "$m/data/log" "log
two
"
		[ "$(ls "$m/data/dir")" = n ]
		absent "$m/data/private" "$m/data/linked1"
		says "$m/data/l1" "first
"
		echo three >>"$m/data/log"
		pod unmount c2 >/dev/null
	fi
	rm "$T/bin/fuse-overlayfs"
}

@test "volatile upper: run --rm leaves nothing, mount options reach the program" {
	import base
	STORE_OPT=overlay.mountopt=nodev,fsync=0,passthrough=full
	ok pod_run --rm base sh -c 'echo x >>/data/log; cat /data/log'
	[ "$output" = "log
x" ]
	STORE_OPT=overlay.mountopt=nonsense=1
	run pod_run --rm base true
	[ "$status" != 0 ]
	[[ "$output" == *nonsense* ]]
}
