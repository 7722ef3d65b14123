#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Directories that change while they are listed, and big ones.

load lib/common

prepare()
{
	LAYERS=("$L" "$L2")
	mkdir "$L/d" "$L2/d" "$L2/p"
	"$FSOP" mkmany "$L/d" a 300 , mkmany "$L2/d" b 300 , mkmany "$L2/p" c 500
}

@test "rm while listing: one pass empties a merged, a lower and an upper directory" {
	union_mount
	f mkdir u , mkmany u n 500 , mkmany d new 200 , rmlist d , rmlist p , rmlist u , ls . ''
}

@test "names come and go while a directory is listed" {
	union_mount
	f mkdir u , mkmany u n 300 , churn d 20 , churn p 20 , churn u 20
}

@test "cookies stay good while names come and go" {
	union_mount
	f opendir h d , readdir h 100 , mkmany d x 100 , readdir h 100 , unlink d/a7 , unlink d/x3 , readdir h end , seekcheck d , lscheck d
	f opendir h d , readdir h 50 , sh "rm -f '$M'/d/b*" , readdir h end , rewinddir h , ls @h "$(ls "$M/d" | grep -v ^b | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
}

@test "two listings at once, and one by a handle opened before the change" {
	union_mount
	f opendir h d , opendir i d , readdir h 10 , unlink d/a1 , readdir i 10 , mkdir d/zz , readdir h end , readdir i end , rewinddir h , rewinddir i
	[ "$(ls "$M/d" | wc -l)" = 600 ]
	f '!ENOENT' stat d/a1 , stat d/zz type d
}

@test "10,000 names in each of two layers: ls, stat of each, cookies, removal" {
	mkdir "$L/big" "$L2/big"
	"$FSOP" mkmany "$L/big" l 10000 , mkmany "$L2/big" m 10000
	union_mount
	[ "$(ls "$M/big" | wc -l)" = 20000 ]
	f statmany big l 10000 , statmany big m 10000 , seekcheck big , lscheck big
	rm "$M"/big/l1*
	[ "$(ls "$M/big" | wc -l)" = $((20000 - 1111)) ]
	f rmlist big , '!ENOENT' stat big
}

@test "a listing is right after copy-up of the directory in the middle of it" {
	union_mount
	f opendir h p , readdir h 100 , open w p/c400 w , readdir h end , rewinddir h , lscheck p , lscheck d
	[ "$(ls "$M/p" | wc -l)" = 500 ]
}

@test "a listing shows what another process made, at once" {
	union_mount
	for i in {1..20}; do
		mkdir "$M/d/n$i"
		[ -n "$(ls "$M/d" | grep -x "n$i")" ]
		rmdir "$M/d/n$i"
		[ -z "$(ls "$M/d" | grep -x "n$i")" ]
	done
}

@test "whiteouts in the middle of a listing" {
	for i in {0..299..3}; do whiteout "$U/d/b$i"; done
	union_mount
	[ "$(ls "$M/d" | wc -l)" = 500 ]
	f seekcheck d , lscheck d , '!ENOENT' stat d/b3 , stat d/b4 type f , rmlist d
}

@test "readdir on a name that is no directory, and with too small a buffer" {
	union_mount
	f '!ENOTDIR' ls d/a1 , '!ENOENT' ls nothing
}

@test "parallel: four listers and four makers" {
	union_mount
	for i in 1 2 3 4; do
		(for j in {1..30}; do f mkdir "d/w$i-$j" , open w "d/w$i-$j/f" w+creat , unlink "d/w$i-$j/f" , rmdir "d/w$i-$j"; done) & pids[i]=$!
		(for j in {1..15}; do [ "$(ls "$M/d" | grep -c '^[ab]')" = 600 ] || exit 1; done) & pids[i + 4]=$!
	done
	for i in 1 2 3 4 5 6 7 8; do wait "${pids[i]}"; done
	[ "$(ls "$M/d" | wc -l)" = 600 ]
}
