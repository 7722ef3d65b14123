#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan
#
# Lines of fstab, mounted by mount(8) through its helpers: type fuse.plyfs (mount.fuse3 finds plyfs in mount(8)'s PATH) and type plyfs
# (mount.plyfs). findmnt shows what was meant, a wrong line says which of its words is wrong.

load lib/common

prepare()
{
	RECHECK=no
	command -v mount.fuse3 >/dev/null || [ -x /sbin/mount.fuse3 ] || skip "there is no mount.fuse3"
	put "$L/f" lower
	put "$L2/g" second
	mkdir "$T/bin" "$T/m2" "$T/m 3" "$T/a:b"
	put "$T/a:b/h" colon
	install "$PLYFS" "$T/bin/plyfs"
	ln -s plyfs "$T/bin/fuse-overlayfs"
	# mount(8) looks for helpers in /sbin only
	mkdir "$T/sbin" "$T/sbin.real"
	mount --bind /sbin "$T/sbin.real"
	cp -as "$T/sbin.real/." "$T/sbin/"
	ln -sf "$T/bin/plyfs" "$T/sbin/mount.plyfs"
	# the helpers' PATH is mount(8)'s
	ln -sf "$T/bin/plyfs" "$T/sbin/plyfs"
	mount --bind "$T/sbin" /sbin
	export PATH=$T/bin:$PATH
}

teardown_sbin()
{
	umount /sbin "$T/sbin.real"
}

eval "$(declare -f teardown | sed '1s/teardown/common_teardown/')"
teardown()
{
	local bad=0
	umount -a -t fuse.plyfs,fuse.fuse-overlayfs 2>/dev/null || true
	wait_for "the daemons' end" no_daemon || bad=1
	teardown_sbin || bad=1
	common_teardown || bad=1
	return "$bad"
}

no_daemon()
{
	local p
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/exe" 2>/dev/null)" != "$T/bin/plyfs" ] || return 1
	done
}

mount_all() # reads $T/fstab
{
	mount -a -T "$T/fstab" </dev/null 3>&- >"$T/out" 2>&1
}

show() # WHAT TARGET
{
	findmnt -n -r -o "$1" --mountpoint "$2"
}

@test "mount -a: what fstab says is what is mounted" {
	cat >"$T/fstab" <<-END
		# a comment
		abc $M fuse.plyfs lowerdir=$L:$L2,upperdir=$U,workdir=$W,nofail,_netdev,x-systemd.requires-mounts-for=/,noatime 0 0
		plain $T/m2 plyfs lowerdir=$T/a\\:b:$L,ro,user,nofail,x-gvfs-hide,comment=text 0 0
		plyfs ${T}/m\\0403 fuse.plyfs lowerdir=$T/lower\\040name:$L2,defaults,auto 0 0
		never $T/m2 fuse.plyfs lowerdir=$T/missing,noauto 0 0
	END
	put "$T/lower name/i" blank
	mount_all || fail "$(cat "$T/out")"
	says "$M/f" lower
	echo more >>"$M/f"
	says "$M/g" second
	[ "$(show SOURCE,FSTYPE "$M")" = "abc fuse.plyfs" ]
	[[ ",$(show OPTIONS "$M")," == *,rw,*noatime,* ]]
	says "$T/m2/h" colon
	[ "$(show SOURCE,FSTYPE "$T/m2")" = "plain fuse.plyfs" ]
	[[ ",$(show OPTIONS "$T/m2")," == *,ro,*nosuid,nodev,noexec,* ]]
	says "$T/m 3/i" blank
	# everything is there: a second time does nothing
	mount_all || fail "$(cat "$T/out")"
	[ "$(mount_count "$M")" = 1 ]
	umount -a -T "$T/fstab" 2>/dev/null || umount "$M" "$T/m2" "$T/m 3"
}

@test "one line by its mount point; umount by it" {
	echo "abc $M fuse.plyfs noauto,lowerdir=$L,upperdir=$U,workdir=$W 0 0" >"$T/fstab"
	mount -T "$T/fstab" "$M" 3>&-
	says "$M/f" lower
	umount "$M"
	wait_for "the daemon's end" no_daemon
	mount -T "$T/fstab" "$M" 3>&-
	says "$M/f" lower
	umount abc
}

@test "a wrong line: mount -a fails, and says what is wrong; the others are mounted" {
	cat >"$T/fstab" <<-END
		one $M fuse.plyfs lowerdirs=$L,ro 0 0
		two $T/m2 fuse.plyfs lowerdir=$L,ro 0 0
	END
	! mount_all
	grep -q "lowerdirs" "$T/out" || fail "$(cat "$T/out")"
	says "$T/m2/f" lower
	! is_mounted "$M"
	umount "$T/m2"
	for wrong in "lowerdir=$T/missing" "lowerdir=$L,upperdir=$U" "lowerdir=$L,redirect_dir=perhaps" "lowerdir=$L,uidmapping=1:2" ; do
		echo "one $M fuse.plyfs $wrong 0 0" >"$T/fstab"
		! mount_all || fail "mounted: $wrong"
		grep -q -e "missing" -e workdir -e redirect_dir -e uidmapping "$T/out" || fail "$(cat "$T/out")"
		# the same through the other helper
		echo "one $M plyfs $wrong 0 0" >"$T/fstab"
		! mount_all || fail "mounted: $wrong"
		grep -q -e "missing" -e workdir -e redirect_dir -e uidmapping "$T/out" || fail "$(cat "$T/out")"
	done
}

@test "mount -f checks and mounts nothing; -o remount is refused" {
	mount -f -t plyfs -o "lowerdir=$L" src "$M" 3>&-
	! is_mounted "$M"
	! mount -f -t plyfs -o "lowerdir=$T/missing" src "$M" 2>"$T/out" 3>&- || fail "a layer that is missing was not seen"
	mount -t plyfs -o "lowerdir=$L" src "$M" 3>&-
	run mount -o remount,rw "$M"
	[ "$status" != 0 ]
	umount "$M"
}

@test "containerd's type: fuse3.fuse-overlayfs, through mount.fuse3" {
	/sbin/mount.fuse3 overlay "$M" -t fuse3.fuse-overlayfs -o "workdir=$W,upperdir=$U,lowerdir=$L:$L2,dev,suid" 3>&- ||
		"$T/sbin/mount.fuse3" "fuse-overlayfs#overlay" "$M" -o "workdir=$W,upperdir=$U,lowerdir=$L:$L2,dev,suid" 3>&-
	says "$M/f" lower
	says "$M/g" second
	[ "$(show FSTYPE "$M")" = fuse.fuse-overlayfs ]
	umount "$M"
}
