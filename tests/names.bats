#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns plainuser nopassthrough threads1 asan tsan
# timeout: 900
#
# Names: 255 bytes, 256, any bytes; objects near and beyond PATH_MAX below the mount.

load lib/common

n255=$(printf 'n%.0s' {1..255})
n256=${n255}x
n1000=$(printf 'm%.0s' {1..1000})

@test "255 bytes work everywhere" {
	put "$L/$n255" lower
	union_mount
	says "$M/$n255" lower
	f open w "$n255" w+append , write w + , rename "$n255" short , rename short "$n255" , ls . "$n255" , unlink "$n255" , mkdir "$n255" , rmdir "$n255" , symlink "$n255" "$n255" , readlink "$n255" "$n255" \
		, rename "$n255" "${n255%n}z" , mknod "$n255" p 0600 , unlink "$n255" , open w "$n255" w+creat+excl , link "$n255" "${n255%n}y" , ls . "$n255 ${n255%n}y ${n255%n}z"
}

@test "256 bytes and more are ENAMETOOLONG for every operation" {
	put "$L/f" x; mkdir "$L/d"
	union_mount
	for n in "$n256" "$n1000"; do
		f '!ENAMETOOLONG' stat "$n" , '!ENAMETOOLONG' open w "$n" w+creat , '!ENAMETOOLONG' open r "$n" r , '!ENAMETOOLONG' mkdir "$n" , '!ENAMETOOLONG' rmdir "$n" , '!ENAMETOOLONG' unlink "$n" \
			, '!ENAMETOOLONG' symlink t "$n" , '!ENAMETOOLONG' mknod "$n" p 0600 , '!ENAMETOOLONG' link f "$n" , '!ENAMETOOLONG' rename f "$n" , '!ENAMETOOLONG' rename "$n" f , '!ENAMETOOLONG' rename d "$n" noreplace \
			, '!ENAMETOOLONG' rename f "$n" exchange , '!ENAMETOOLONG' truncate "$n" 0 , '!ENAMETOOLONG' stat "d/$n" , '!ENAMETOOLONG' stat "$n/x"
	done
	f ls . 'd f' , ls d ''
}

@test "any byte but / and NUL" {
	names=($'new\nline' $'tab\there' ' lead' 'trail ' '\back\slash' $'\x01\x7f' $'\xff\xfe' 'ünï' '*' '-rf' 'a:b,c=d' '"q"' "'s'" '$(x)' '...' '.hidden' '#1' '#work')
	mkdir "$L/d"
	for n in "${names[@]}"; do put "$L/d/$n" lower; done
	union_mount
	for n in "${names[@]}"; do
		says "$M/d/$n" lower
		f open w "d/$n" w+append , write w + , rename "d/$n" "d/$n.2" , open c "new$n" w+creat+excl , unlink "d/$n.2" , mkdir "d/$n" , setx "d/$n" user.k v
		rmdir "$M/d/$n"
	done
	f ls d '' , lscheck .
	union_remount
	f ls d '' , lscheck .
	[ "$(find "$M" -type f -print0 | tr -dc '\0' | wc -c)" = ${#names[@]} ]
}

@test "beyond PATH_MAX: read, make, copy up, rename and remove by handle" {
	# 24 levels of 200 bytes: 4,800 bytes below the mount
	n=$(printf 'x%.0s' {1..200})
	"$FSOP" mkdeep "$L" "$n" 24 , openat f deep low w+creat , write f lower , openat g deep low2 w+creat , write g lower2
	union_mount
	f mkdeep . "$n" 24 , openat r deep low r , read r 9 lower , openat w deep low rw , pwrite w 0 L , read r 9 '' , openat n deep new w+creat+excl , write n new , mkdirat deep sub , unlinkat deep low2 , ls @deep 'low new sub' , lscheck @deep
	union_remount
	f mkdeep . "$n" 24 , openat r deep low r , read r 9 Lower , ls @deep 'low new sub' , '!ENOENT' openat x deep low2 r , chdir @deep , rename low moved , stat moved size 5 , setx moved user.k v , getx moved user.k v \
		, link moved hard , symlink moved sym , truncate moved 2 , stat hard size 2 , stat . type d , chmod . 0700 , unlink moved , unlink hard , unlink sym , unlink new , rmdir sub , ls . ''
	f rmdeep . "$n" 24 , ls . ''
}

@test "beyond PATH_MAX: made in the union from nothing" {
	n=$(printf 'y%.0s' {1..250})
	union_mount
	f mkdeep . "$n" 30 , openat w deep f rw+creat , write w deep , pread w 0 9 deep , chdir @deep , stat f size 4 , rename f g , ls . g
	union_remount
	f mkdeep . "$n" 30 , chdir @deep , ls . g , open r g r , read r 9 deep , unlink g
	f rmdeep . "$n" 30
}

@test "renaming the top of a tree deeper than PATH_MAX" {
	n=$(printf 'z%.0s' {1..200})
	mkdir "$L/top"
	"$FSOP" mkdeep "$L/top" "$n" 24 , openat f deep leaf w+creat , write f data
	union_mount
	f rename top moved , mkdeep moved "$n" 24 , openat r deep leaf rw , read r 9 data , pwrite r 0 D
	union_remount
	f mkdeep moved "$n" 24 , openat r deep leaf r , read r 9 Data
}

@test "a deep lower directory moved up, its redirect longer than an xattr or a name may be" {
	n=$(printf 'r%.0s' {1..250})
	"$FSOP" mkdeep "$L" "$n" 5 , openat f deep leaf w+creat , write f data
	union_mount
	# 1,250 bytes of path: the redirect is absolute; where it is refused mv must still be told why
	"$FSOP" -C "$M" rename "$n/$n/$n/$n/$n" up || "$FSOP" -C "$M" '!EXDEV' rename "$n/$n/$n/$n/$n" up
	if [ -e "$M/up" ]; then
		says "$M/up/leaf" data
		union_remount
		says "$M/up/leaf" data
	fi
}

@test "trailing slashes and dots" {
	mkdir "$L/d"; put "$L/f" x
	union_mount
	f stat d/ type d , '!ENOTDIR' stat f/ , mkdir new/ , rmdir new/ , stat d/./../d/. type d , '!ENOTDIR' unlink f/ , '!ENOTEMPTY' rmdir d/.. , rename d/ e/ , ls . 'e f'
}
