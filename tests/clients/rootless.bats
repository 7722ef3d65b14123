#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
# timeout: 400
#
# podman as an ordinary user, with plyfs as its mount program in the user's namespace.

load clients

prepare()
{
	clients_prepare rootless
}

@test "run, write, diff, commit, run the result" {
	import base
	round_trip pod pod_run
}

@test "owners, modes, links and capabilities of an image are those of its files" {
	import base
	ok pod_run --rm base sh -c '
		stat -c "%u:%g %a %h %F %n" /data/private /data/sgid /usr/bin/suid /data/fifo /data/linked1 /data/link /data/sparse'
	[ "$output" = "1000:1001 600 1 regular file /data/private
0:1000 2775 2 directory /data/sgid
0:0 4755 1 regular file /usr/bin/suid
0:0 640 1 fifo /data/fifo
0:0 644 3 regular file /data/linked1
1000:1000 777 1 symbolic link /data/link
0:0 644 1 regular file /data/sparse" ] || [ "$output" = "1000:1001 600 1 regular file /data/private
0:1000 2775 1 directory /data/sgid
0:0 4755 1 regular file /usr/bin/suid
0:0 640 1 fifo /data/fifo
0:0 644 3 regular file /data/linked1
1000:1000 777 1 symbolic link /data/link
0:0 644 1 regular file /data/sparse" ] || fail "$output"
	listing "$T/rootfs" | grep -v '/device' >"$T/want"
	image_listing base >"$T/have"
	# the root id of the capabilities is the namespace's
	diff <(sed 's/security.capability=[0-9a-f]*//' "$T/want") <(sed 's/security.capability=[0-9a-f]*//' "$T/have")
}

@test "a container that writes an image's file does not change the image" {
	import base
	layers_sum >"$T/before"
	ok pod_run --name c1 base sh -c '
		exec 3</data/log; cat <&3; echo line >>/data/log; echo line >>/data/linked1; cat <&3
		dd if=/data/log of=/data/sparse conv=notrunc bs=1 seek=100 2>/dev/null; sync'
	[ "$output" = "log
line" ]
	ok pod_run --rm --name c2 base sh -c 'cat /data/log /data/linked1 /data/linked2'
	[ "$output" = "log
first
first" ]
	ok pod start -a c1
	pod rm c1 >/dev/null
	layers_sum | diff "$T/before" -
}

@test "--userns=keep-id, --userns=auto, a user of the image" {
	import base
	ok pod_run --rm --userns=keep-id base sh -c 'id -u; stat -c %u:%g /data/log /data/private; echo x >/tmp/mine; stat -c %u /tmp/mine'
	[ "$output" = "$client_uid
0:0
1000:1001
$client_uid" ]
	ok pod_run --rm --user 1000:1000 base sh -c 'id -u; { echo no >/data/new; } 2>/dev/null || echo refused; echo yes >/tmp/new && cat /tmp/new; cat /data/private 2>&1'
	[ "$output" = "1000
refused
yes
private" ]
	ok pod_run --rm --userns=auto:size=2000 base sh -c 'id -u; stat -c %u:%g /data/log /data/private; echo x >>/data/log; cat /data/log; chown 5:6 /data/log; stat -c %u:%g /data/log'
	[ "$output" = "0
0:0
1000:1001
log
x
5:6" ]
}

@test "renames, whiteouts and hard links hold over stop and start" {
	import base
	ok pod_run --name c1 base sh -c '
		test -e /data/again && { cat /data/a/linked3 /data/linked2 /data/again; test ! -e /data/dir/sub/file1; stat -c %h /data/linked1; exit; }
		mv /data/dir /data/a; mkdir /data/dir; mkdir /data/dir/sub; echo 4 >>/data/linked1; rm /data/link; echo once >/data/again'
	ok pod start -a c1
	[ "$output" = "first
4
first
4
once
3" ]
}

@test "force_mask: owners and modes in an attribute" {
	STORE_OPT=overlay.force_mask=700
	# podman 4.3 wants to give its attribute to a fifo too, and fails; a link cannot have it; and it writes no suid and sgid there
	rootfs "$T/rootfs"
	rm "$T/rootfs/data/fifo"
	import base
	# on disk everything is the user's and private
	d=$(ls -d "$T"/mine/plyfs/root/overlay/*/diff/data)
	[ "$(stat -c %a:%u "$d/private")" = "700:$client_uid" ]
	ok pod_run --name c1 base sh -c '
		stat -c "%u:%g %a %F" /data/private /data/sgid /data/log /usr/bin/suid /data/link
		echo more >>/data/private; chown 12:13 /data/log; chmod 4711 /data/log; mkfifo -m 604 /data/p; ln -s x /data/l; chown -h 3:4 /data/l
		mkdir -m 1777 /data/d; echo n >/data/d/n; chown 8:9 /data/d/n; mv /data/dir /data/d/e
		stat -c "%u:%g %a %F" /data/private /data/log /data/p /data/d /data/d/n /data/d/e; cat /data/private; rm /data/p'
	want_after="1000:1001 600 regular file
12:13 4711 regular file
0:0 1777 directory
8:9 644 regular file
0:0 755 directory"
	[ "$output" = "1000:1001 600 regular file
0:1000 775 directory
0:0 644 regular file
0:0 755 regular file
0:0 777 symbolic link
${want_after/0:0 1777/0:0 604 fifo
0:0 1777}
private
more" ] || fail "$output"
	pod commit -q c1 second >/dev/null
	ok pod_run --rm second sh -c 'stat -c "%u:%g %a %F" /data/private /data/log /data/d /data/d/n /data/d/e'
	want_after=${want_after/4711/711} want_after=${want_after/1777/777}
	[ "$output" = "$want_after" ] || fail "$output"
}

@test "read-only images: a volume from an image, --read-only, mounts in podman unshare" {
	import base
	ok pod_run --rm --mount type=image,source=base,destination=/img base sh -c 'cat /img/data/log; stat -c %h /img/data/linked1'
	[ "$output" = "log
3" ]
	ok pod_run --rm --read-only base sh -c '{ echo x >/data/log; } 2>/dev/null || cat /data/log'
	[ "$output" = log ]
}
