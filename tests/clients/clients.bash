# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# The engines on a machine that runs nothing else: no systemd, any cgroups, no network, no image but a busybox made here.
#
#   clients_prepare [rootless]   skips what the machine lacks; then
#   pod ARG...                   podman with plyfs as its mount program (STORE=vfs|kernel|peer: another driver, another store)
#   pod_run ARG...               `pod run` with what a bare machine needs
#   bld ARG...                   buildah likewise
#
# Of engines that are daemons, which run fuse-overlayfs from PATH:
#
#   engine_prepare PROGRAM...    skips what the machine lacks, makes plyfs that program; /run is empty
#   engine_start SOCKET CMD...   in the background, until it listens
#
# Teardown also demands that no plyfs is left.

load ../lib/common

eval "$(declare -f teardown | sed '1s/teardown/common_teardown/')"

teardown()
{
	local bad=0
	clients_end || bad=1
	common_teardown || bad=1
	return "$bad"
}

readonly client_user=plyclient client_uid=61234 client_sub=2110000000

# A user with ids to give away, in this mount namespace only.
client_user_make()
{
	local f
	mkdir "$T/etc"
	for f in passwd group subuid subgid; do
		cat "/etc/$f" >"$T/etc/$f" 2>/dev/null || :
		[ -e "/etc/$f" ] || : >"/etc/$f"
	done
	echo "$client_user:x:$client_uid:$client_uid::$T/home:/bin/sh" >>"$T/etc/passwd"
	echo "$client_user:x:$client_uid:" >>"$T/etc/group"
	echo "$client_user:$client_sub:65536" >>"$T/etc/subuid"
	echo "$client_user:$client_sub:65536" >>"$T/etc/subgid"
	for f in passwd group subuid subgid; do
		mount --bind "$T/etc/$f" "/etc/$f"
	done
}

clients_prepare()
{
	local c
	ROOTLESS=${1:-}
	RECHECK=no
	STORE=plyfs
	for c in podman crun conmon ${ROOTLESS:+newuidmap}; do
		command -v "$c" >/dev/null || skip "there is no $c"
	done
	[ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || skip "there is no static busybox"
	if mountpoint -q /sys/fs/cgroup; then
		umount -R /sys/fs/cgroup || umount -l /sys/fs/cgroup
	fi
	mount -t cgroup2 cgroup2 /sys/fs/cgroup || skip "no cgroup2 can be mounted"
	mount -t tmpfs -o mode=755 tmpfs /run
	# Engines look for more than these; what a machine has configured must not matter.
	mkdir -p "$T/home" "$T/xdg" "$T/bin" "$T/empty" /etc/containers
	mount -t tmpfs -o mode=755 tmpfs /etc/containers
	echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
	printf 'unqualified-search-registries = []\n' >/etc/containers/registries.conf
	printf '[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\nruntime="crun"\n[containers]\nlog_driver="k8s-file"\n' >/etc/containers/containers.conf
	install -m 755 "$PLYFS" "$T/bin/plyfs"
	export HOME=$T/home XDG_RUNTIME_DIR=$T/xdg TMPDIR=$T/tmp
	mkdir -m 1777 "$T/tmp"
	unset XDG_CONFIG_HOME XDG_DATA_HOME DBUS_SESSION_BUS_ADDRESS
	if [ "$ROOTLESS" = rootless ]; then
		client_user_make
		chmod 666 /dev/fuse
		mkdir "$T/mine"
		chown -R "$client_uid:$client_uid" "$T/home" "$T/xdg" "$T/mine"
		chmod 700 "$T/xdg"
		AS=(setpriv "--reuid=$client_uid" "--regid=$client_uid" --clear-groups --inh-caps=-all)
	else
		mkdir "$T/mine"
		AS=()
	fi
}

# --- engines that are daemons ---

engine_prepare()
{
	local c
	RECHECK=no
	for c in runc "$@"; do
		command -v "$c" >/dev/null || skip "there is no $c"
	done
	[ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || skip "there is no static busybox"
	ENGINES=()
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p "$T/home" "$T/bin" "$T/mine" "$T/bundle/rootfs/bin"
	mkdir -m 1777 "$T/tmp"
	install -m 755 "$PLYFS" "$T/bin/fuse-overlayfs"
	export PATH=$T/bin:$PATH HOME=$T/home TMPDIR=$T/tmp
	unset XDG_RUNTIME_DIR XDG_CONFIG_HOME DOCKER_HOST DOCKER_CONFIG CONTAINERD_ADDRESS
	# does a container run here at all, without any union?
	cp /bin/busybox "$T/bundle/rootfs/bin/true"
	(cd "$T/bundle" && runc spec && sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"true"/' config.json &&
		runc run gate </dev/null >"$T/gate" 2>&1 3>&-) || skip "runc runs no container here: $(tail -n 1 "$T/gate")"
}

engine_start()
{
	local socket=$1
	shift
	"$@" >"$T/mine/log.${#ENGINES[@]}" 2>&1 3>&- </dev/null &
	ENGINES+=($!)
	wait_for "$1, that it listens" test -S "$socket"
}

engine_end()
{
	local p bad=0
	# the last first: the others serve it
	for p in $(printf '%s\n' ${ENGINES[@]+"${ENGINES[@]}"} | tac); do
		kill "$p" || bad=1
		wait "$p" || true
	done
	if [ "${BATS_TEST_COMPLETED:-}" != 1 ]; then
		tail -n 15 "$T"/mine/log.* 2>/dev/null || true
	fi
	if ! wait_for "the end of every plyfs" no_plyfs; then
		grep -s . /proc/[0-9]*/cmdline | tr '\0' ' '
		bad=1
	fi
	awk -v t="$T/" 'index($5 "/", t) == 1 { print $5 }' /proc/self/mountinfo | tac | while read -r d; do
		echo "still mounted: $d"
		umount -l "$d"
	done
	umount -l /run
	return "$bad"
}

# as CMD...: the engine's user
as()
{
	(cd "$T/mine" && timeout -k 10 "$PLY_LIMIT" "${AS[@]}" "$@" 3>&-)
}

store_options()
{
	local d=$T/mine/$STORE
	printf '%s\n' --root "$d/root" --runroot "$d/run"
	case $STORE in
	vfs) printf '%s\n' --storage-driver vfs ;;
	kernel) printf '%s\n' --storage-driver overlay ;;
	*)
		printf '%s\n' --storage-driver overlay --storage-opt "overlay.mount_program=${PROGRAM:-$T/bin/plyfs}"
		[ -z "${STORE_OPT:-}" ] || printf '%s\n' --storage-opt "$STORE_OPT" ;;
	esac
}

pod()
{
	local -a o
	readarray -t o < <(store_options)
	as podman "${o[@]}" --tmpdir "$T/mine/$STORE/tmp" "$@"
}

bld()
{
	local -a o
	readarray -t o < <(store_options)
	as buildah "${o[@]}" "$@"
}

bare=(--cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --security-opt seccomp=unconfined)

pod_run()
{
	pod run "${bare[@]}" "$@"
}

# The processes of this file's pid namespace that are plyfs, engines' ones too.
no_plyfs()
{
	local p
	for p in /proc/[0-9]*; do
		case $(readlink "$p/exe" 2>/dev/null) in
		"$T"/bin/*) return 1 ;;
		esac
	done
}

clients_end()
{
	local bad=0
	if [ -n "${ENGINES+set}" ]; then
		engine_end
		return
	fi
	[ -n "${ROOTLESS+set}" ] || return 0
	for STORE in plyfs vfs kernel peer; do
		[ -d "$T/mine/$STORE" ] || continue
		STORE_OPT=
		pod rm --all --force --time 0 >/dev/null || bad=1
		# images stay mounted for whoever mounted them
		pod image unmount --all --force >/dev/null 2>&1 || true
		pod unmount --all --force >/dev/null 2>&1 || true
		if [ "$STORE" = plyfs ] && command -v buildah >/dev/null; then
			bld rm --all >/dev/null 2>&1 || true
		fi
		# rootless: the process that keeps the namespaces, and with them the store's private mount
		[ "$ROOTLESS" != rootless ] || pod system migrate >/dev/null 2>&1 || true
	done
	# the stores' private mounts of themselves, and the rundirs
	awk -v t="$T/" 'index($5 "/", t) == 1 && ! / - (fuse|overlay)/ { print $5 }' /proc/self/mountinfo | tac | while read -r d; do
		umount "$d" || umount -l "$d"
	done
	if ! wait_for "the end of every plyfs" no_plyfs; then
		grep -s . /proc/[0-9]*/cmdline | tr '\0' ' '
		bad=1
	fi
	for d in passwd group subuid subgid; do
		umount "/etc/$d" 2>/dev/null || true
	done
	umount /etc/containers /sys/fs/cgroup
	umount -l /run
	return "$bad"
}

# ok CMD...: bats' run, of what must succeed, and says what it said when it does not
ok()
{
	run "$@"
	[ "$status" = 0 ] || fail "status $status of: $*
$output"
}

# --- images ---

# rootfs DIR: busybox and what layers can hold: owners, modes, hard links, devices, capabilities, attributes
rootfs()
{
	local d=$1 a
	mkdir -p "$d"/{bin,dev,etc,home,proc,root,sys,tmp,usr/bin,usr/lib,var/empty}
	chmod 1777 "$d/tmp"
	cp /bin/busybox "$d/bin/"
	for a in sh ls cat cp mv rm ln mkdir rmdir touch chmod chown stat find sort grep sed awk tar tail head sleep echo true id \
		mount dd sync wc sha256sum mkfifo mknod readlink test diff cmp kill printf date tr seq env; do
		ln -s busybox "$d/bin/$a"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$d/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\n' >"$d/etc/group"
	mkdir -p "$d/data/dir/sub" "$d/data/sgid"
	echo first >"$d/data/linked1"; ln "$d/data/linked1" "$d/data/linked2"; ln "$d/data/linked1" "$d/data/dir/linked3"
	echo log >"$d/data/log"
	echo private >"$d/data/private"; chmod 600 "$d/data/private"; chown 1000:1001 "$d/data/private"
	echo suid >"$d/usr/bin/suid"; chmod 4755 "$d/usr/bin/suid"
	echo caps >"$d/usr/bin/caps"; chmod 755 "$d/usr/bin/caps"
	chmod 2775 "$d/data/sgid"; chown 0:1000 "$d/data/sgid"
	ln -s dir/sub "$d/data/link"; chown -h 1000:1000 "$d/data/link"
	mkfifo -m 640 "$d/data/fifo"
	[ "${ROOTLESS:-}" = rootless ] || mknod -m 620 "$d/data/device" c 1 3
	truncate -s 3M "$d/data/sparse"
	for a in {1..40}; do echo "$a" >"$d/data/dir/sub/file$a"; done
	"$FSOP" setx "$d/data/log" user.note kept
	# version 2 of struct vfs_cap_data: cap_net_raw, effective
	"$FSOP" setx "$d/usr/bin/caps" security.capability 0x0100000200200000000000000000000000000000
}

# rootfs_tar FILE
rootfs_tar()
{
	if [ ! -d "$T/rootfs" ]; then
		rootfs "$T/rootfs"
	fi
	tar -C "$T/rootfs" --xattrs --xattrs-include='*' --format=pax --sort=name --numeric-owner --mtime=@1000000000 -cf "$1" .
}

import() # NAME
{
	[ -e "$T/tmp/base.tar" ] || rootfs_tar "$T/tmp/base.tar"
	pod import -q "$T/tmp/base.tar" "$1" >/dev/null
}

# listing DIR: what an image holds, without the times of the run and what engines themselves put there; its root's mode is theirs
listing()
{
	"$TREESUM" -u "$1" | sed -E -e 's/ m[0-9.-]+//' -e 's/^\/\t040[0-7]*/\/\t/' -e '/^(\.\/)?(etc\/(hosts|hostname|resolv.conf|mtab)|run|dev|proc|sys)(\/[^\t]*)?\t/d'
}

# image_listing IMAGE: through a read-only mount of the image
image_listing()
{
	if [ "$ROOTLESS" = rootless ]; then
		pod unshare sh -c "$(declare -f listing)"'
			TREESUM=$1; shift; d=$("$@") && listing "$d"' sh "$TREESUM" podman $(store_options) --tmpdir "$T/mine/$STORE/tmp" image mount "$1"
	else
		listing "$(pod image mount "$1")"
	fi
	pod image unmount "$1" >/dev/null 2>&1 || true
}

# round_trip ENGINE RUN [ARG...]: a container of the image base works, is compared with its image, becomes another image; that
# one runs. ENGINE has diff, commit and rm, `RUN ARG... --name N IMAGE CMD` starts a container; with mknod if ARG allows it
round_trip()
{
	local engine=$1 run=$2 line
	shift 2
	ok "$run" "$@" --name c1 base sh -c '
		set -e
		grep " / fuse\.[a-z-]* " /proc/mounts
		echo more >>/data/log; rm /data/private; mkdir -p /new/dir; echo x >/new/dir/f; ln /new/dir/f /new/g
		mv /data/dir /data/moved; chown 7:8 /data/sgid; mkfifo /new/p
		[ "$1" != mknod ] || { mknod /new/null c 1 3; : >/new/null; }
		echo third >>/data/linked2; cat /data/linked1 /data/moved/linked3' sh "${@: -1}"
	[[ "$output" == fuse-overlayfs\ /\ fuse.fuse-overlayfs\ * || "$output" == *\ /\ fuse.plyfs\ * ]] || fail "$output"
	[[ "$output" == *"first
third
first
third"* ]] || fail "$output"
	ok "$engine" diff c1
	for line in 'C /data' 'C /data/log' 'D /data/private' 'A /new' 'A /new/dir/f' 'A /new/g' 'D /data/dir' 'A /data/moved' 'A /data/moved/sub/file7'; do
		grep -qxF "$line" <<<"$output" || fail "no line '$line' in: $output"
	done
	! grep -E '/usr/bin|file7$' <<<"${output//moved\/sub\/file7/}" | grep -v 'D /data/dir' | grep . || fail "what did not change is in the diff"
	"$engine" commit -q c1 second >/dev/null 2>&1 || "$engine" commit c1 second >/dev/null
	"$engine" rm c1 >/dev/null
	ok "$run" --rm second sh -c '
		cat /data/log /new/g; test ! -e /data/private; test ! -e /data/dir; cat /data/moved/sub/file7
		stat -c "%u:%g %a" /data/sgid; stat -c %h /new/g /data/linked1; test -p /new/p; [ "$1" != mknod ] || test -c /new/null' sh "${@: -1}"
	[ "$output" = "log
more
x
7
7:8 2775
2
3" ] || fail "$output"
}

# checksums of every layer of a store, as they lie on disk
layers_sum()
{
	local d
	for d in "$T/mine/$STORE/root/overlay"/*/diff; do
		printf '== %s\n' "$d"
		"$TREESUM" -c "$d"
	done
}
