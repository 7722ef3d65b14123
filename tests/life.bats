#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns nopassthrough threads1 asan tsan
# timeout: 900
#
# The daemon's life: going to the background with the true outcome, ending on unmount and on signals, quick cycles.

load lib/common

prepare()
{
	put "$L/f" lower
	OPTS="lowerdir=$L,upperdir=$U,workdir=$W$(suite_options '')"
	RECHECK=no
}

# The background daemon cannot be waited for; it is found by the mount it serves and must be gone afterwards.
daemon_of_mount()
{
	local p
	for p in /proc/[0-9]*; do
		if [ "$(readlink "$p/exe" 2>/dev/null)" = "$(readlink -f "$PLYFS")" ] && tr '\0' '\n' <"$p/cmdline" | grep -qxF "$1"; then
			echo "${p#/proc/}"
		fi
	done
}

no_daemon()
{
	[ -z "$(daemon_of_mount "$M")" ]
}

background() # ARG...: the daemonised form, exit status 0 and mounted when it returns
{
	timeout 60 "$PLYFS" "$@" </dev/null >"$T/out" 2>"$T/err" 3>&-
	is_mounted "$M" || fail "it says it is mounted, and is not"
}

@test "daemonised: mounted when the command returns, stderr and stdout released" {
	# a pipe that is read to its end must end: with a peer podman waited for ever
	run timeout 60 sh -c '"$1" -o "$2" "$3" 2>&1 </dev/null | cat; exit "${PIPESTATUS:-0}"' sh "$PLYFS" "$OPTS" "$M"
	[ "$status" = 0 ]
	[ -z "$output" ]
	is_mounted "$M"
	says "$M/f" lower
	f open w f w+append , write w +
	pid=$(daemon_of_mount "$M")
	[ -n "$pid" ]
	# its own session, no terminal, nothing of ours
	[ "$(stat -c %d:%i "/proc/$pid/cwd/")" = "$(stat -c %d:%i /)" ]
	for n in 0 1 2; do [ "$(readlink "/proc/$pid/fd/$n")" = /dev/null ]; done
	umount "$M"
	wait_for "the daemon's end" no_daemon
	says "$U/f" lower+
}

@test "daemonised: a failure is told, with a status, before anything is mounted" {
	run timeout 60 "$PLYFS" -o "lowerdir=$T/missing" "$M"
	[ "$status" != 0 ]
	[[ "$output" == *missing* ]]
	no_daemon
}

@test "umount from outside ends the daemon, umount -l when the last user has gone" {
	mount_opts "$M" "$OPTS"
	umount_at "$M"
	mount_opts "$M" "$OPTS"
	d=$D
	f open r f r , sh "umount -l '$M'" , read r 9 lower , sh "[ ! -e '$d/status' ]"
	daemon_ended "$d"
}

@test "fusermount3 -u, as engines do" {
	command -v fusermount3 >/dev/null || skip "no fusermount3"
	need_root
	mount_opts "$M" "$OPTS"
	fusermount3 -u "$M"
	daemon_ended "$D"
	is_mounted "$M" && fail "still mounted"
	true
}

@test "SIGTERM, SIGINT and SIGHUP unmount and exit 0" {
	for s in TERM INT HUP; do
		mount_opts "$M" "$OPTS"
		f open w "new$s" w+creat , write w x
		kill -$s "$(daemon_pid)"
		daemon_ended "$D"
		is_mounted "$M" && fail "still mounted after $s"
		says "$U/new$s" x
	done
}

@test "SIGTERM while files are open and the cwd is inside" {
	mount_opts "$M" "$OPTS"
	d=$D
	f open w f rw , chdir . , pwrite w 0 X , sh "kill -TERM $(daemon_pid)" , sh "for i in \$(seq 1200); do [ -e '$d/status' ] && exit 0; sleep 0.05; grep -q ' $M ' /proc/self/mountinfo || exit 0; done; exit 1"
	daemon_ended "$d"
	says "$U/f" Xower
}

@test "SIGUSR1 logs and does not disturb; SIGPIPE is nothing" {
	mount_opts "$M" "$OPTS"
	kill -USR1 "$(daemon_pid)"
	kill -PIPE "$(daemon_pid)"
	wait_for "the log" test -s "$D/log"
	says "$M/f" lower
	kill -USR1 "$(daemon_pid)"
	says "$M/f" lower
}

@test "quick cycles of mount and umount lose nothing" {
	for i in {1..25}; do
		background -o "$OPTS" "$M"
		says "$M/f" lower
		f open w "n$i" w+creat , write w "$i"
		umount "$M"
		# as engines do: a fresh directory under the old name while the old daemon may still be ending
		mkdir "$T/fresh"; mv -T "$T/fresh" "$M"
		# the lock on upper goes with the daemon
		wait_for "the daemon's end" no_daemon
	done
	[ "$(ls "$U" | wc -l)" = 25 ]
}

@test "a new mount at once over the one being unmounted stays" {
	for i in {1..10}; do
		mkdir -p "$T/u$i" "$T/w$i"
		background -o "lowerdir=$L,upperdir=$T/u$i,workdir=$T/w$i" "$M"
		f open w f w+append , write w "$i"
		umount -l "$M"
	done
	background -o "$OPTS" "$M"
	sleep 0.2 # let a late daemon do its harm
	is_mounted "$M"
	says "$M/f" lower
	umount "$M"
	wait_for "the daemons' end" no_daemon
}

@test "mounts over mounts: the lower one comes back" {
	mount_opts "$M" "$OPTS"
	mkdir "$T/u2" "$T/w2"; put "$L2/g" second
	mount_opts "$M" "lowerdir=$L2,upperdir=$T/u2,workdir=$T/w2"
	second=$D
	f ls . g
	umount "$M"
	daemon_ended "$second"
	f ls . f
	umount "$M"
}

@test "twenty mounts over one lower at once" {
	for i in {1..20}; do
		mkdir "$T/u$i" "$T/w$i" "$T/m$i"
		mount_opts "$T/m$i" "lowerdir=$L,upperdir=$T/u$i,workdir=$T/w$i"
		echo "$i" >>"$T/m$i/f"
	done
	for i in {1..20}; do
		says "$T/m$i/f" "lower$i
"
		umount_at "$T/m$i"
	done
}

@test "SIGKILL: users get errors, not a hang; a new mount finds everything" {
	mount_opts "$M" "$OPTS"
	d=$D
	f open w f rw+append , write w + , mkdir d
	kill -KILL "$(daemon_pid)"
	wait_for "its end" test -e "$d/status"
	echo 137 >"$d/want"
	"$FSOP" '!ENOTCONN' stat "$M/f" || "$FSOP" '!ECONNABORTED' stat "$M/f"
	umount -l "$M"
	mount_opts "$M" "$OPTS"
	says "$M/f" lower+
	f ls . 'd f'
}

@test "leftovers of a killed daemon in work/ are cleaned at the next mount" {
	mkdir -p "$W/work/sub/deep"; put "$W/work/#5" junk; put "$W/work/sub/deep/f" junk; whiteout "$W/work/wh"
	mount_opts "$M" "$OPTS"
	[ -z "$(find "$W/work" -mindepth 1 -type f)" ]
	absent "$W/work/sub"
	says "$M/f" lower
}

@test "the working directory of its starter can go away" {
	mkdir "$T/start"
	(cd "$T/start" && timeout 60 "$PLYFS" -o "$OPTS" "$M" </dev/null >/dev/null 2>&1 3>&-)
	rmdir "$T/start"
	f open w f w , stat f size 5
	umount "$M"
	wait_for "the daemon's end" no_daemon
}

@test "layers that are lazily unmounted after the mount are pinned" {
	[ "$PLY_SUITE" != plainuser ] || skip mounts
	fs_tmpfs "$T/lt"
	put "$T/lt/g" pinned
	mount_opts "$M" "lowerdir=$T/lt:$L,upperdir=$U,workdir=$W"
	umount -l "$T/lt"
	: >"$R/extra"
	says "$M/g" pinned
	f open w g w+append , write w +
}

@test "STATFS answers at once, fuse magic" {
	mount_opts "$M" "$OPTS"
	[ "$(stat -f -c %t "$M")" = 65735546 ]
}

@test "file descriptors: a thousand mapped files do not use them up" {
	mkdir "$L/d"; "$FSOP" mkmany "$L/d" n 1000
	daemon_start "$M" -o "$OPTS" "$M"; daemon_is_up
	cmds=()
	for i in {0..199}; do cmds+=(open "o$i" "d/n$i" r , mmap "o$i" "o$i" 0 4096 r shared ,); done
	f "${cmds[@]}" statmany d n 1000 , open w d/n5 rw
	f statmany d n 1000
	[ "$(ls "/proc/$(daemon_pid)/fd" | wc -l)" -lt 2000 ]
}

@test "a low RLIMIT_NOFILE is enough for a wide tree" {
	for i in {1..300}; do put "$L/d$i/e/f" "$i"; done
	(ulimit -n 256; daemon_start "$M" -o "$OPTS" "$M")
	D=$R/daemons/0
	daemon_is_up
	for i in {1..300}; do says "$M/d$i/e/f" "$i"; done
	[ "$(find "$M" -type f | wc -l)" = 301 ]
	rm -rf "$M"/d1* "$M"/d2*
}

@test "one umask, one cwd, one environment: nothing of the starter leaks into what users make" {
	(umask 077; daemon_start "$M" -o "$OPTS" "$M")
	D=$R/daemons/0
	daemon_is_up
	f umask 0 , open w f2 w+creat 0666 , stat f2 mode 666 , mkdir d 0777 , stat d mode 777 , open w f w+append , stat f mode "$(field a "$L/f")"
}

@test "looked into and unmounted before the daemon's first thread has noticed that it is mounted" {
	command -v strace >/dev/null || skip "no strace"
	printf '#!/bin/sh\nexec strace -f -qq -o /dev/null -e trace=poll -e inject=poll:delay_exit=1000000 "%s" "$@"\n' "$PLYFS" >"$T/slow"
	chmod +x "$T/slow"
	"$T/slow" --version >/dev/null 2>&1 || skip "strace cannot trace here"
	PLYFS=$T/slow mount_opts "$M" "$OPTS"
	says "$M/f" lower
	umount_at "$M"
	# the one who waits until it is mounted is told that it was
	timeout 60 "$T/slow" -o "$OPTS" "$M" </dev/null >/dev/null 2>"$T/err" 3>&- &
	wait_for "the mount" is_mounted "$M"
	says "$M/f" lower
	umount "$M"
	wait $!
	[ ! -s "$T/err" ]
}
