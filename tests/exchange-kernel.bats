#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs nopassthrough asan
# timeout: 900
#
# An upper may move between plyfs and the kernel's overlayfs: the trees are the same seen through either, both ways.
# (In the suite overlayfs both are the kernel: that proves the tests.)

load lib/common

kernel_options()
{
	printf 'lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,index=on,metacopy=%s,xino=on' "$(join : "${LAYERS[@]}")" "$U" "$W" "${METACOPY:-off}"
}

kernel_mount()
{
	mount -i -t overlay overlay -o "$(kernel_options)" "$M"
}

kernel_umount()
{
	umount -i "$M"
}

ply_mount()
{
	union_mount "metacopy=${METACOPY:-off}"
}

view() # without inode numbers: each has its own way to make them
{
	"$TREESUM" -u "$M" >"$R/view.$1"
}

same_views()
{
	diff "$R/view.$1" "$R/view.$2" || fail "$1 (<) and $2 (>) differ"
}

prepare()
{
	need_kernel_overlay
	LAYERS=("$L" "$L2")
	for i in {1..6}; do put "$L/d$i/f" "lower $i"; put "$L2/d$i/g" "lower2 $i"; put "$L2/d$i/sub/h" "deep $i"; put "$L/f$i" "f $i"; done
	put "$L/hard1" linked; ln "$L/hard1" "$L/hard2"; ln "$L/hard1" "$L/d1/hard3"; ln -s f1 "$L/s"; mkfifo "$L/p"; mknod "$L/c" c 1 3
	xattr "$L/f1" user.k v; chmod 2751 "$L/d2"; chown 5:6 "$L/f2"
	# a kernel mount must find what it needs; else nothing here can be said
	kernel_mount || skip "overlayfs refuses these layers"
	kernel_umount
	rm -rf "${W:?}"/*
}

# a day's work, in the union of whoever is mounted
work()
{
	f open w d1/f w+append , write w ' changed' , unlink f3 , rename f4 d2/f4moved , chmod f2 0600 , setx f2 user.n w , mkdir new , open n new/file w+creat , write n new , symlink x new/link \
		, open h hard2 w+append , write h ' once' , rename s s2 , unlink d4/g , utime p 5 6 , chown c 7 8
	rm -rf "$M/d3"
	mkdir "$M/d3"
	f open w d3/only w+creat , write w only , rename d5 d5moved , rename d5moved/sub d1/sub5 , link hard1 new/hard4 , rename d6 d2/d6
	# not every kernel's overlayfs has O_TMPFILE
	if f open t . rw+tmpfile; then
		f open t . rw+tmpfile , write t tmp , link @t new/tmp
	else
		f '!EOPNOTSUPP' open t . rw+tmpfile , open t new/tmp rw+creat , write t tmp
	fi
	rm -rf "$M/d4"
}

# more of it, on what the other has made
more()
{
	f open w d1/f w+append , write w ' again' , unlink d3/only , rename d5moved d5back , rename d2/d6 d6 , open h hard1 w+append , write h ' twice' , unlink hard2 , mkdir d4 , open n d4/n w+creat , rename d1/sub5 new/sub5 \
		, unlink d2/f4moved , open k f3 w+creat , write k 'f3 is new' , chmod d6 0700 , rename new/file f4 , rename f1 new exchange , rename f1 f9
	f rename d6/sub d6sub , ls d6sub h , ls d4 n , ls d3 ''
}

@test "written by plyfs, read by the kernel" {
	ply_mount
	work
	view ply
	union_umount
	kernel_mount
	view kernel
	kernel_umount
	same_views ply kernel
}

@test "written by the kernel, read by plyfs" {
	kernel_mount
	work
	view kernel
	kernel_umount
	ply_mount
	view ply
	same_views kernel ply
}

@test "to and fro: plyfs, kernel, plyfs, kernel" {
	ply_mount
	work
	union_umount
	kernel_mount
	more
	view kernel
	kernel_umount
	ply_mount
	view ply
	same_views kernel ply
	f rename d1 d1b , open w hard1 w+append , write w ' thrice' , stat hard1 same f9/hard4 , unlink d5back/f
	view ply
	union_umount
	kernel_mount
	view kernel
	f stat hard1 same f9/hard4
	kernel_umount
	same_views ply kernel
}

@test "to and fro: kernel, plyfs, kernel" {
	kernel_mount
	work
	kernel_umount
	ply_mount
	more
	view ply
	union_umount
	kernel_mount
	view kernel
	kernel_umount
	same_views ply kernel
}

@test "with metacopy" {
	METACOPY=on
	head -c 300000 /dev/zero | tr '\0' m >"$L/big"; head -c 300000 /dev/zero | tr '\0' n >"$L2/d1/big2"
	ply_mount
	f chmod big 0600 , rename d1/big2 big2moved , chown big2moved 1 1
	work
	view ply
	union_umount
	kernel_mount
	view kernel
	same_views ply kernel
	more
	f chmod f2 0640 , rename big d2/bigmoved , chmod d2/f 0600 , rename d2/f d2/ff , open w big2moved rw , pwrite w 5 X
	view kernel
	kernel_umount
	ply_mount
	view ply
	same_views kernel ply
}

@test "both write the same upper for the same work: names, types, marks" {
	kernel_mount
	work
	kernel_umount
	(cd "$U" && find . -printf '%P %y %m %U:%G\n' | sort) >"$R/kernel.upper"
	chmod -R u+w "$U"; rm -rf "${U:?}"/* "${W:?}"/*
	for a in $("$FSOP" listx "$U" | tr ' ' '\n' | grep overlay); do "$FSOP" rmx "$U" "$a"; done
	ply_mount
	work
	union_umount
	(cd "$U" && find . -printf '%P %y %m %U:%G\n' | sort) >"$R/ply.upper"
	# the kernel copies up the linked name too, plyfs only the new one
	sed -i '/^hard1 /d' "$R/kernel.upper" "$R/ply.upper"
	diff "$R/kernel.upper" "$R/ply.upper"
	RECHECK=no
}

@test "an upper of the kernel's xattr whiteouts and nested marks as our lower" {
	kernel_mount
	work
	kernel_umount
	lower_changed
	mkdir "$T/u3" "$T/w3"
	LAYERS=("$U" "$L" "$L2") UPPER=$T/u3 WORK=$T/w3
	ply_mount
	view ply
	union_umount
	mount -i -t overlay overlay -o "lowerdir=$U:$L:$L2,upperdir=$T/u3,workdir=$T/w3,redirect_dir=on,xino=on,index=on" "$M"
	view kernel
	kernel_umount
	same_views ply kernel
}
