#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns asan
# timeout: 400
#
# What engines do to a daemon: mounts and unmounts in quick succession, by the hundred, starters that are killed half way.
# PLY_LONG=1 does it at the sizes that were asked for.

load lib/common

prepare()
{
	RECHECK=no
	put "$L/f" lower
	# under a name of its own: found by it
	mkdir "$T/bin"
	install "$PLYFS" "$T/bin/plyfs"
	case ${PLY_LONG:-0} in
	1) CYCLES=300 MOUNTS=100 FILES=100000 KILLS=60 ;;
	*) CYCLES=60 MOUNTS=30 FILES=20000 KILLS=15 ;;
	esac
}

daemons()
{
	local p n=0
	for p in /proc/[0-9]*; do
		if [ "$(readlink "$p/exe" 2>/dev/null)" = "$T/bin/plyfs" ]; then
			n=$((n + 1))
		fi
	done
	echo "$n"
}

no_daemon()
{
	[ "$(daemons)" = 0 ]
}

start() # OPTS TARGET
{
	"$T/bin/plyfs" -o "$1$(suite_options '')" "$2" </dev/null >>"$T/log" 2>&1 3>&-
}

@test "quick cycles over one mount point: the new mount is never lost" {
	for ((i = 0; i < CYCLES; i++)); do
		mkdir "$T/u$i" "$T/w$i"
		start "lowerdir=$L,upperdir=$T/u$i,workdir=$T/w$i" "$M" || fail "$(cat "$T/log")"
		echo "$i" >>"$M/f"
		stat "$M/absent" 2>/dev/null || true
		says "$M/f" "lower$i
"
		# at once: the old daemon is still ending when the next one mounts
		if ((i % 3 == 0)); then umount -l "$M"; else umount "$M"; fi
		if ((i % 2)); then mkdir "$T/fresh"; mv -T "$T/fresh" "$M"; fi
	done
	start "lowerdir=$L" "$M"
	wait_for "the others' end" test "$(daemons)" = 1 || true
	for ((i = 0; i < 100; i++)); do [ "$(daemons)" != 1 ] || break; sleep 0.1; done
	[ "$(daemons)" = 1 ]
	says "$M/f" lower
	umount "$M"
	wait_for "the daemon's end" no_daemon
}

@test "the same upper again and again: what was written is there" {
	for ((i = 0; i < CYCLES / 2; i++)); do
		start "lowerdir=$L,upperdir=$U,workdir=$W" "$M" || fail "$(cat "$T/log")"
		echo "$i" >>"$M/log"
		umount "$M"
		# the lock on upper goes with the daemon
		wait_for "the daemon's end" no_daemon
	done
	[ "$(wc -l <"$U/log")" = $((CYCLES / 2)) ]
}

@test "many mounts of twenty layers at once" {
	for i in {1..20}; do put "$T/l$i/d/n$i" "$i"; put "$T/l$i/d/all" "$i"; done
	lowers=$(join : "$T"/l{1..20})
	pids=()
	for ((i = 0; i < MOUNTS; i++)); do
		mkdir "$T/u$i" "$T/w$i" "$T/m$i"
		start "lowerdir=$lowers,upperdir=$T/u$i,workdir=$T/w$i" "$T/m$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "$(cat "$T/log")"; done
	[ "$(daemons)" = "$MOUNTS" ]
	for ((i = 0; i < MOUNTS; i++)); do
		[ "$(ls "$T/m$i/d" | wc -l)" = 21 ]
		echo "$i" >>"$T/m$i/d/all"
		says "$T/m$i/d/all" "1$i
"
	done
	for ((i = 0; i < MOUNTS; i++)); do umount "$T/m$i"; done
	wait_for "the daemons' end" no_daemon
	says "$T/l1/d/all" 1
}

@test "a starter that is killed leaves a live mount or none" {
	for ((i = 0; i < KILLS; i++)); do
		mkdir -p "$T/u$i" "$T/w$i"
		"$T/bin/plyfs" -o "lowerdir=$L,upperdir=$T/u$i,workdir=$T/w$i" "$M" </dev/null >>"$T/log" 2>&1 3>&- &
		pid=$!
		# at different moments of its way
		sleep "$(printf 0.%03d $((i * 45 / KILLS)))"
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		# the child, if there is one, decides
		for ((n = 0; n < 200; n++)); do
			is_mounted "$M" && break
			[ "$(daemons)" != 0 ] || break
			sleep 0.02
		done
		if is_mounted "$M"; then
			says "$M/f" lower
			umount "$M"
		fi
		wait_for "the daemon's end" no_daemon
		! is_mounted "$M"
	done
	# nothing holds what was used
	start "lowerdir=$L,upperdir=$T/u0,workdir=$T/w0" "$M"
	says "$M/f" lower
	umount "$M"
	wait_for "the daemon's end" no_daemon
}

@test "find over a tree with 1,024 descriptors" {
	python3 - "$L" "$FILES" <<-'END'
		import os, sys
		top, n = sys.argv[1], int(sys.argv[2])
		for d in range(n // 50):
		    p = "%s/t/%d/%d" % (top, d % 40, d)
		    os.makedirs(p)
		    for f in range(50):
		        os.close(os.open("%s/%d" % (p, f), os.O_CREAT | os.O_WRONLY))
	END
	(ulimit -n 1024; start "lowerdir=$L:$L2,upperdir=$U,workdir=$W" "$M")
	pid=$(for p in /proc/[0-9]*; do [ "$(readlink "$p/exe" 2>/dev/null)" != "$T/bin/plyfs" ] || echo "${p#/proc/}"; done)
	[ "$(awk '/^Max open files/ { print $4 }' "/proc/$pid/limits")" = 1024 ]
	[ "$(find "$M/t" -type f | wc -l)" = "$FILES" ]
	# and with as many directories in use, by their files' first change
	for i in {0..39}; do echo x >>"$M/t/$i/$i/0"; done
	[ "$(find "$M/t" -type f -size +0 | wc -l)" = 40 ]
	[ "$(ls "/proc/$pid/fd" | wc -l)" -lt 1000 ]
	umount "$M"
	wait_for "the daemon's end" no_daemon
}

@test "systemd: ready when the mount is live, by a path and by an abstract name; a failure is never ready" {
	need_root
	cat >"$T/notify.py" <<-'END'
		import os, socket, subprocess, sys
		name, plyfs, opts, target = sys.argv[1:5]
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind("\0" + name[1:] if name[0] == "@" else name)
		s.settimeout(float(os.environ["PLY_LIMIT"]))
		p = subprocess.Popen([plyfs, "-f", "-o", opts, target], env=dict(os.environ, NOTIFY_SOCKET=name))
		if sys.argv[5] == "fails":
		    assert p.wait() != 0
		    s.setblocking(False)
		    try:
		        print("said", s.recv(100))
		        sys.exit(1)
		    except BlockingIOError:
		        sys.exit(0)
		assert b"READY=1" in s.recv(100).split(b"\n")
		assert os.path.ismount(target) and open(target + "/f").read() == "lower"
		subprocess.check_call(["umount", target])
		sys.exit(p.wait())
	END
	export PLY_LIMIT
	for name in "$T/notify" "@plyfs-test-$$"; do
		python3 "$T/notify.py" "$name" "$T/bin/plyfs" "lowerdir=$L,upperdir=$U,workdir=$W" "$M" live 3>&-
	done
	python3 "$T/notify.py" "$T/notify2" "$T/bin/plyfs" "lowerdir=$T/missing" "$M" fails 3>&-
	wait_for "the daemon's end" no_daemon
}
