#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns nopassthrough threads1 asan tsan
# timeout: 900
#
# plyctl status: for people, as JSON and as OpenMetrics; only for root and the mount's owner; never through the mount.

load lib/common

prepare()
{
	plyfs_only plyctl
	put "$L/f" data; put "$L/g" data
	# where a daemon without privilege has its socket
	mkdir -m 700 "$T/runtime"
	export XDG_RUNTIME_DIR=$T/runtime
}

answers()
{
	"$PLYCTL" status "$M" > "$T/o" 2>&1
}

# The mount can be there before its socket.
mount_asked()
{
	union_mount "$@"
	wait_for "an answer of plyctl" answers
}

ask() # PYTHON EXPRESSION over the JSON of $M, as m
{
	"$PLYCTL" status --json "$M" | python3 -c '
import json, sys
m = json.load(sys.stdin)[0]
print(eval(sys.argv[1]))' "$1"
}

@test "a table with the layers, the policy and the counters" {
	mount_asked
	cat "$M/f"
	run -0 "$PLYCTL" status "$M"
	[[ "$output" == *"$M"* && "$output" == *"$L"* && "$output" == *"$U"* && "$output" == *passthrough* ]]
}

@test "JSON: what it says is so" {
	mount_asked
	[ "$(ask 'm["mountpoint"]')" = "$M" ]
	[ "$(ask 'm["pid"]')" = "$(daemon_pid)" ] || [ "$PLY_SUITE" = userns ]
	[ "$(ask '[l["path"] for l in m["layers"]]')" = "['$U', '$L']" ]
	[ "$(ask 'm["writable"]')" = True ]
	case $PLY_SUITE in
	nopassthrough|userns) [ "$(ask 'm["passthrough"]["active"]')" = False ]; [ -n "$(ask 'm["passthrough"]["why"]')" ] || [ -n "$(ask '"".join(l["why"] for l in m["layers"])')" ] ;;
	esac
}

@test "counters count: copy-ups, their bytes, requests, negative lookups" {
	mount_asked
	before=$(ask 'm["counters"]["copyups"]')
	f open w f w+append , write w x , '!ENOENT' stat absent , mkdir d
	[ "$(ask 'm["counters"]["copyups"]')" = $((before + 1)) ]
	[ "$(ask 'm["counters"]["copyup_bytes"]')" -ge 4 ]
	[ "$(ask 'm["requests"]["mkdir"]')" = 1 ]
	[ "$(ask 'm["counters"]["lookup_negative"] > 0')" = True ]
}

@test "OpenMetrics is well formed" {
	mount_asked
	"$PLYCTL" status --openmetrics "$M" >"$T/om"
	[ "$(tail -n 1 "$T/om")" = '# EOF' ]
	! grep -vE '^(# (TYPE|HELP|UNIT|EOF)|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? [0-9.e+-]+$)' "$T/om" || fail "odd lines"
	grep -q plyfs "$T/om"
}

@test "several mounts, all mounts" {
	mount_asked
	mkdir "$T/u2" "$T/w2" "$T/m 2"
	mount_opts "$T/m 2" "lowerdir=$L,upperdir=$T/u2,workdir=$T/w2"
	"$PLYCTL" status --json "$M" "$T/m 2" | python3 -c 'import json, sys; assert [m["mountpoint"] for m in json.load(sys.stdin)] == sys.argv[1:]' "$M" "$T/m 2"
	"$PLYCTL" status --json >"$T/all" || true # mounts of others may be there
	python3 -c 'import json, sys; assert set(sys.argv[1:]) <= {m["mountpoint"] for m in json.load(sys.stdin)}' "$M" "$T/m 2" <"$T/all"
}

@test "errors: no mount there, not ours, a wrong command line" {
	mount_asked
	run "$PLYCTL" status "$T"
	[ "$status" = 1 ] && [ "${#lines[@]}" = 1 ] && [[ "$output" == *"$T"* ]]
	run "$PLYCTL" status "$T/nowhere"
	[ "$status" = 1 ]
	run "$PLYCTL" nonsense
	[ "$status" = 2 ]
	run "$PLYCTL" status --nonsense
	[ "$status" = 2 ]
	run -0 "$PLYCTL" --version
	run -0 "$PLYCTL" --help
}

@test "another user is refused" {
	need_root
	mount_asked
	run setpriv --reuid 12345 --regid 12345 --clear-groups "$PLYCTL" status "$M"
	[ "$status" = 1 ]
	[[ "$output" != *"$L"* ]]
}

stopped() # every thread of it
{
	! cat /proc/"$1"/task/*/status | grep '^State:' | grep -qv stopped
}

@test "it does not hang when the daemon does" {
	mount_asked
	# nobody answers a stopped daemon: an error within the limit is all that is asked for
	kill -STOP "$(daemon_pid)"
	wait_for "the daemon to stop" stopped "$(daemon_pid)"
	run timeout 60 "$PLYCTL" status "$M"
	kill -CONT "$(daemon_pid)"
	[ "$status" = 1 ]
	"$PLYCTL" status "$M" >/dev/null
}

@test "sockets go with their daemons" {
	mount_asked
	"$PLYCTL" status --json "$M" >/dev/null
	union_umount
	run "$PLYCTL" status "$M"
	[ "$status" = 1 ]
	mount_asked
	"$PLYCTL" status "$M" >/dev/null
}
