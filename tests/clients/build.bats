#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: clients
# timeout: 600
#
# Images built in several steps: a package installed by dpkg inside, COPY of several layers, what one layer deletes of
# another. The same steps on another driver give the same image.

load clients

prepare()
{
	if [[ "$BATS_TEST_DESCRIPTION" == rootless* ]]; then
		clients_prepare rootless
	else
		clients_prepare
	fi
	command -v buildah >/dev/null || skip "there is no buildah"
	command -v dpkg-deb >/dev/null || skip "there is no dpkg"
}

# A program and its libraries, into a root directory.
graft() # ROOT PROGRAM...
{
	local root=$1 p lib
	shift
	for p; do
		p=$(command -v "$p")
		install -D -m 755 "$(readlink -f "$p")" "$root/usr/bin/${p##*/}"
		for lib in $(ldd "$p" | sed -nE 's,.*(=> |^[[:space:]]*)(/[^ ]+) \(0x.*,\2,p'); do
			install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
		done
	done
}

# two versions of one package: a program, a configuration file, links, owners, a directory that becomes a file
deb() # VERSION
{
	local d=$T/deb$1
	mkdir -p "$d/DEBIAN" "$d/etc" "$d/opt/tool/bin" "$d/opt/tool/share" "$d/var/lib/tool"
	printf 'Package: tool\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: for a test\n' "$1" >"$d/DEBIAN/control"
	echo /etc/tool.conf >"$d/DEBIAN/conffiles"
	printf '#!/bin/sh\necho configured %s >>/var/lib/tool/log\nchown 1000:1000 /var/lib/tool\n' "$1" >"$d/DEBIAN/postinst"
	chmod 755 "$d/DEBIAN/postinst"
	echo "version $1" >"$d/etc/tool.conf"
	printf '#!/bin/sh\necho tool %s\n' "$1" >"$d/opt/tool/bin/tool"
	chmod 755 "$d/opt/tool/bin/tool"
	ln -s tool "$d/opt/tool/bin/alias"
	for i in {1..30}; do echo "$1 $i" >"$d/opt/tool/share/f$i"; done
	if [ "$1" = 1 ]; then
		mkdir "$d/opt/tool/both"; echo in >"$d/opt/tool/both/in"
	else
		rm "$d/opt/tool/share/f30"; echo file >"$d/opt/tool/both"
	fi
	dpkg-deb --root-owner-group -b "$d" "$T/mine/context/tool$1.deb" >/dev/null
}

context()
{
	local c=$T/mine/context
	mkdir -p "$c/tree/a/b"
	rootfs "$T/rootfs"
	graft "$T/rootfs" dpkg dpkg-deb dpkg-split tar rm
	mkdir -p "$T/rootfs"/{usr/sbin,var/lib/dpkg/{info,updates},var/log}
	: >"$T/rootfs/var/lib/dpkg/status"
	rm -f "$T/rootfs/bin/tar" "$T/rootfs/bin/rm"
	for i in ldconfig start-stop-daemon; do printf '#!/bin/sh\n' >"$T/rootfs/usr/sbin/$i"; chmod 755 "$T/rootfs/usr/sbin/$i"; done
	deb 1; deb 2
	echo a >"$c/tree/a/f"; echo b >"$c/tree/a/b/g"; ln "$c/tree/a/f" "$c/tree/a/b/hard"; ln -s ../f "$c/tree/a/b/soft"
	chmod 640 "$c/tree/a/f"
	echo c >"$c/c"
	cat >"$c/Containerfile" <<-'END'
		FROM localhost/base
		ENV PATH=/bin:/usr/bin:/usr/sbin:/sbin
		COPY tool1.deb tool2.deb /tmp/
		RUN dpkg -i /tmp/tool1.deb && /opt/tool/bin/alias
		COPY tree /copied
		COPY --chown=1000:1001 c /copied/a/c
		RUN echo changed >>/copied/a/f && rm -rf /copied/a/b && mkdir /copied/a/b && echo new >/copied/a/b/n && mv /data/dir/sub /data/moved && chmod 4711 /usr/bin/suid
		RUN dpkg -i /tmp/tool2.deb && rm /tmp/tool1.deb /tmp/tool2.deb
		RUN test ! -e /copied/a/b/g && echo n >/data/new1 && ln /data/new1 /data/new2 && ln /data/new1 /opt/new3 && touch -d @1000000 /data/log
		RUN test "$(/opt/tool/bin/tool)" = "tool 2" && test "$(cat /var/lib/tool/log | wc -l)" = 2 && test -f /opt/tool/both
	END
	chmod -R a+rX "$c"
}

# What differs by nature: dpkg's log and database hold times, /tmp the engines' leftovers.
built() # IMAGE
{
	image_listing "$1" | sed -E '/^\/var\/log\/|^\/var\/lib\/dpkg\/(lock|triggers|status-old|available)|^\/run|^\/tmp\t|^\/(etc|var\/lib|var\/log|proc|sys|dev)\t/d'
}

build() # NAME ARG...
{
	import base
	(cd "$T/mine/context" && bld bud -q --isolation chroot "${@:2}" -t "$1" "$T/mine/context" >"$T/mine/log" 2>&1) || { cat "$T/mine/log"; return 1; }
}

@test "root: several layers, on plyfs, on vfs and on the kernel's overlay: one content" {
	context
	build built --layers=false
	built built >"$T/on-plyfs"
	grep -qP '^/opt/tool/share/f29\t' "$T/on-plyfs"
	! grep -P '^/opt/tool/share/f30\t|^/copied/a/b/g\t|^/data/dir/sub' "$T/on-plyfs"
	for STORE in vfs kernel; do
		[ "$STORE" != kernel ] || grep -qw overlay /proc/filesystems || continue
		build built --layers=false
		built built >"$T/on-$STORE"
		diff "$T/on-$STORE" "$T/on-plyfs"
	done
	STORE=plyfs
	ok pod_run --rm built sh -c '/opt/tool/bin/alias; cat /copied/a/f /copied/a/b/n; stat -c %u:%g /var/lib/tool; stat -c %h /data/linked1 /opt/new3'
	[ "$output" = "tool 2
a
changed
new
1000:1000
3
3" ]
}

@test "root: a layer for each step" {
	context
	layers_before=$(ls -d "$T"/mine/plyfs/root/overlay/*/diff 2>/dev/null | wc -l)
	build layered --layers
	[ "$(ls -d "$T"/mine/plyfs/root/overlay/*/diff | wc -l)" -ge $((layers_before + 8)) ]
	built layered >"$T/layered"
	build flat --layers=false
	built flat | diff - "$T/layered"
	# a second build finds all in the cache, and a commit on top of many layers works
	build layered --layers
	ok pod_run --name c1 layered sh -c 'rm -rf /opt; echo 5 >>/data/linked2; cat /data/linked1'
	[ "$output" = "first
5" ]
	pod commit -q c1 top >/dev/null
	ok pod_run --rm top sh -c 'test ! -e /opt; cat /data/linked1; stat -c %h /data/linked2'
	[ "$output" = "first
5
3" ]
}

@test "rootless: the same steps" {
	context
	build built --layers
	built built >"$T/on-plyfs"
	STORE=vfs
	build built --layers=false
	built built >"$T/on-vfs"
	diff "$T/on-vfs" "$T/on-plyfs"
}
