#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs nopassthrough threads1 asan tsan
# timeout: 900
#
# Data-only layers (after "::"): invisible but for the files that a metacopy's absolute redirect names.

load lib/common

# meta FILE SIZE DATAPATH: a file of layer metadata whose data is elsewhere
meta()
{
	mkdir -p "$(dirname "$1")"
	truncate -s "$2" "$1"
	xattr "$1" "$OVL.metacopy" ''
	xattr "$1" "$OVL.redirect" "$3"
}

prepare()
{
	DATA=("$L2")
	mkdir "$L2/objects"
	head -c 200000 /dev/zero | tr '\0' a >"$L2/objects/aa"
	put "$L2/objects/bb" 'second object'
	meta "$L/d/f" 200000 /objects/aa
	meta "$L/g" 13 /objects/bb
	chmod 640 "$L/d/f"
}

@test "files get their data, the data layer itself is not seen" {
	union_mount metacopy=on
	f ls . 'd g' , '!ENOENT' stat objects , stat d/f size 200000 mode 640 , open r d/f r , check r 0 200000 a , listx d/f '' , listx g ''
	says "$M/g" 'second object'
	[ "$(field b "$M/d/f")" -gt 100 ]
}

@test "without an upper" {
	UPPER=
	union_mount metacopy=on
	says "$M/g" 'second object'
	f open r d/f r , check r 0 200000 a , '!EROFS' open w g w
}

@test "metadata changes, then data changes" {
	union_mount metacopy=on
	f chmod d/f 0600 , open r d/f r , check r 0 200000 a , open w d/f rw , pwrite w 10 X , check w 11 199989 a , stat d/f mode 600 size 200000
	union_remount
	f open r d/f r , pread r 9 3 aXa , stat d/f mode 600 , open w g w+append , write w ' more'
	says "$M/g" 'second object more'
}

@test "rename and remount" {
	union_mount metacopy=on
	f rename d/f moved , open r moved r , check r 0 200000 a , rename d e , rename g e/g
	says "$M/e/g" 'second object'
	union_remount
	says "$M/e/g" 'second object'
	f open r moved r , check r 0 200000 a , ls . 'e moved' , ls e g
}

@test "two data layers: the first that has it" {
	DATA=("$L2" "$L3")
	mkdir "$L3/objects"; put "$L3/objects/cc" third; put "$L3/objects/bb" 'not this one!'
	meta "$L/h" 5 /objects/cc
	union_mount metacopy=on
	says "$M/h" third; says "$M/g" 'second object'
}

@test "data that is nowhere is an error; a redirect that climbs out does not" {
	RECHECK=no
	put "$T/outside" 'the secret'
	meta "$L/lost" 100 /objects/zz; meta "$L/climb" 10 /../outside; meta "$L/climb2" 10 /objects/../../outside
	ln -s "$T/outside" "$L2/objects/link"; meta "$L/viasymlink" 10 /objects/link
	union_mount metacopy=on
	for n in lost climb climb2 viasymlink; do
		if [ -n "$(cat "$M/$n" 2>/dev/null | tr -d '\0')" ]; then fail "$n was read"; fi
	done
	says "$M/g" 'second object'
}
