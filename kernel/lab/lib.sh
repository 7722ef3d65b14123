# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
#
# What build and run share. Everything that is fetched or built is below $lab (build/lab of the source tree, or
# PLY_LAB_DIR): pkg/ packages, src/ the source of UML, kernels/NAME/ what can be booted.

top=$(CDPATH='' cd -- "$here/../.." && pwd)
lab=${PLY_LAB_DIR:-$top/build/lab}

lab_kernels='uml-6.1 uml-6.1-passthrough uml-6.1-debug debian-6.1 debian-6.1-passthrough debian-new'

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# 77 is automake's "skipped": something that this machine does not have
lacks() { say "$*"; exit 77; }

needs()
{
	missing=
	for tool; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
	done
	[ -z "$missing" ] || lacks "missing:$missing"
}

# fetch PACKAGE...: download packages of the distribution into pkg/ unless they are there. Prints nothing.
fetch()
{
	needs apt-get dpkg-deb
	mkdir -p "$lab/pkg"
	for package; do
		set -- "$lab/pkg/${package}"_*.deb
		[ ! -e "$1" ] || continue
		( cd "$lab/pkg" && n=0
		until apt-get -q -o APT::Sandbox::User=root download "$package" >&2; do
			n=$((n + 1))
			[ $n -lt 3 ] || exit 1
			sleep $((n * 3))
		done ) || lacks "cannot download $package"
	done
}

# unpack PACKAGE DIR
unpack()
{
	mkdir -p "$2"
	for deb in "$lab/pkg/$1"_*.deb; do
		dpkg-deb -x "$deb" "$2"
	done
}

# lock WHAT: one build of a thing at a time, whoever calls. Until this script ends.
lock()
{
	mkdir -p "$lab"
	exec 9> "$lab/.lock-$1"
	command -v flock >/dev/null 2>&1 || return 0
	flock -n 9 || { say "waiting for another one that builds $1"; flock 9; }
}

jobs=${PLY_LAB_JOBS:-$(n=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ "$n" -le 2 ] && echo "$n" || echo $((n - 1)))}
