#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal userns asan tsan
# timeout: 900
#
# The command line as programs and fstab really write it: escapes, empty words, mount(8)'s words, names in mountinfo.

load lib/common

prepare()
{
	put "$L/f" lower
	RECHECK=no # these are mounts by other options than union_mount's
}

# fields of $M's line in mountinfo: type, source, options
mount_type() { awk -v m="$M" '$5 == m { for (i = 7; $i != "-"; i++); print $(i + 1) }' /proc/self/mountinfo; }
mount_source() { awk -v m="$M" '$5 == m { for (i = 7; $i != "-"; i++); print $(i + 2) }' /proc/self/mountinfo; }
mount_flags() { awk -v m="$M" '$5 == m { for (i = 7; $i != "-"; i++); print "," $6 "," $(i + 3) "," }' /proc/self/mountinfo; }

base()
{
	printf 'lowerdir=%s,upperdir=%s,workdir=%s' "$L" "$U" "$W"
}

try() # OPTS: mounts, works, unmounts
{
	mount_opts "$M" "$1"
	says "$M/f" lower
	umount_at "$M"
}

@test "version and help" {
	run -0 "$PLYFS" --version
	[[ "$output" == *plyfs* ]]
	run -0 "$PLYFS" -V
	run -0 "$PLYFS" --help
	for o in lowerdir upperdir workdir passthrough; do [[ "$output" == *$o* ]]; done
	run -0 "$PLYFS" -h
}

@test "type fuse.plyfs; source by argument, by fsname, by default" {
	mount_opts "$M" "$(base)"
	[ "$(mount_type)" = fuse.plyfs ]
	umount_at "$M"
	daemon_start "$M" -o "$(base)" mysource "$M"; daemon_is_up
	[ "$(mount_source)" = mysource ]
	umount_at "$M"
	mount_opts "$M" "$(base),fsname=named,subtype=mytype"
	[ "$(mount_source)" = named ]
	[ "$(mount_type)" = fuse.mytype ]
}

@test "commas: trailing, double, leading; options in several -o" {
	try "$(base),"
	try ",$(base),,noatime,"
	daemon_start "$M" -o "lowerdir=$L" -o "upperdir=$U" -o "workdir=$W" "$M"; daemon_is_up
	says "$M/f" lower
}

@test "lowerdir+= adds layers below" {
	put "$L2/f" second; put "$L2/g" second
	mount_opts "$M" "lowerdir+=$L,lowerdir+=$L2,upperdir=$U,workdir=$W"
	says "$M/f" lower; says "$M/g" second
	umount_at "$M"
	mount_opts "$M" "lowerdir=$L,lowerdir+=$L2"
	says "$M/f" lower; says "$M/g" second
}

@test "escapes in lowerdir: colon, comma, backslash, octal, and what people write for fuse-overlayfs" {
	mkdir "$T/a:b" "$T/a,b" "$T/a\\b" "$T/a b" "$T/a\"b"
	for d in 'a:b' 'a,b' 'a\b' 'a b' 'a"b'; do put "$T/$d/f" lower; put "$T/$d/name" "$d"; done
	try "lowerdir=$T/a\\:b"
	try "lowerdir=$T/a\\\\:b"
	try "lowerdir=$T/a\\,b"
	try "lowerdir=$T/a\\\\b"
	try "lowerdir=$T/a\\040b"
	try "lowerdir=$T/a b"
	try "lowerdir=$T/a\\072b"
	try "lowerdir=$T/a\\054b"
	mount_opts "$M" "lowerdir=$T/a\\:b:$T/a\\,b:$T/a\\040b"
	says "$M/name" 'a:b'
}

@test "upperdir and workdir with a colon, a comma, a blank" {
	for d in 'u:x' 'u,x' 'u x'; do
		mkdir "$T/$d" "$T/$d.work"
		e=${d//,/\\,}
		mount_opts "$M" "lowerdir=$L,upperdir=$T/$e,workdir=$T/$e.work"
		f open w new w+creat , write w x
		umount_at "$M"
		says "$T/$d/new" x
	done
}

@test "relative layer paths, as seen from where it was started" {
	cd "$T"
	timeout 60 "$PLYFS" -o lowerdir=lower,upperdir=upper,workdir=work union 3>&-
	cd /
	says "$M/f" lower
	f open w f w+append , write w +
	says "$U/f" lower+
	umount "$M"
}

@test "layers by symlink, the links may go away afterwards" {
	mkdir "$T/l"; ln -s "$L" "$T/l/ABCDEF"; ln -s "$L2" "$T/l/GHIJKL"; put "$L2/g" second
	mount_opts "$M" "lowerdir=$T/l/ABCDEF:$T/l/GHIJKL,upperdir=$U,workdir=$W"
	rm -r "$T/l"
	says "$M/f" lower; says "$M/g" second
	f open w g w+append , write w +
}

@test "the words of mount(8) and fstab are accepted" {
	for w in rw defaults relatime strictatime noatime nodiratime nofail auto noauto user nouser users owner group _netdev async exec suid dev x-systemd.automount x-gvfs-hide comment=hello nosuid nodev noexec; do
		try "$(base),$w"
	done
}

@test "nosuid, nodev, noexec, ro and noatime show in mountinfo and work" {
	mount_opts "$M" "$(base),nosuid,nodev,noexec,noatime"
	[[ "$(mount_flags)" == *,nosuid,* && "$(mount_flags)" == *,nodev,* && "$(mount_flags)" == *,noexec,* && "$(mount_flags)" == *,noatime,* ]]
	cp "$(type -P true)" "$M/true"
	run "$M/true"
	[ "$status" = 126 ]
	umount_at "$M"
	mount_opts "$M" "$(base),ro"
	[[ "$(mount_flags)" == *,ro,* ]]
	f '!EROFS' open w f w , '!EROFS' mkdir d
}

@test "root mounts for all, with suid and dev" {
	need_root
	mknod -m 666 "$L/null" c 1 3
	mount_opts "$M" "$(base)"
	[[ "$(mount_flags)" == *,allow_other,* && "$(mount_flags)" == *,default_permissions,* ]]
	[[ "$(mount_flags)" != *,nosuid,* && "$(mount_flags)" != *,nodev,* ]]
	echo x >"$M/null"
	f user 1000 1000 , open r f r , read r 9 lower
}

@test "allow_root: root and who mounts, and nobody else" {
	need_root
	put "$L/other" x
	mount_opts "$M" "$(base),allow_root"
	f open r f r , read r 9 lower
	# one name is known to the kernel, the others are asked for
	f user 1000 1000 , '!EACCES' open r f r , '!EACCES' stat other , '!EACCES' stat absent
	f open r f r , stat other , '!ENOENT' stat absent
}

@test "debug says each request" {
	mount_opts "$M" "$(base),debug"
	says "$M/f" lower
	grep -q 'opcode.* 14' "$D/log"
	umount_at "$M"
}

@test "what container engines pass is accepted" {
	try "$(base),allow_other,default_permissions,fsync=0,threaded=1"
	try "$(base),xattr_permissions=2"
	try "$(base),uidmapping=0:0:65536,gidmapping=0:0:65536"
	try "$(base),uidmapping=:0:0:1:1:1:65535"
	try "$(base),volatile"
	rm -rf "$W/work/incompat"
	try "lowerdir=$L:$L2:$L3"
	try "$(base),index=off,metacopy=on,redirect_dir=on,xino=auto"
	try "$(base),clone_fd,noacl,static_nlink,fast_ino=1,writeback=0"
}

@test "a layer that needs a plugin is refused, not skipped" {
	put "$L2/g" x
	for l in "//plugin/data/$L2" "//shifting/$L2"; do
		run timeout 60 "$PLYFS" -o "lowerdir=$l:$L,plugins=/nonexistent.so" "$M"
		[ "$status" != 0 ]
		[[ "$output" == *plugin* ]]
	done
}

@test "lower layers that overlap each other" {
	put "$L/sub/g" x
	mount_opts "$M" "lowerdir=$L:$L/sub,upperdir=$U,workdir=$W"
	f ls . 'f g sub' , ls sub g , open w g w+append , write w y , unlink sub/g , ls sub ''
	says "$M/g" xy
	umount_at "$M"
	mount_opts "$M" "lowerdir=$L:$L,upperdir=$U,workdir=$W"
	f ls . 'f g sub'
}

@test "uidmapping shows other owners and stores its own" {
	need_root
	chown 100000:100000 "$L/f"
	mount_opts "$M" "$(base),uidmapping=100000:0:65536,gidmapping=100000:0:65536"
	f stat f uid 0 gid 0
	f chmod . 0777 || true
	f open w new w+creat , chown f 5 6 , stat f uid 5 gid 6 , stat new uid 0
	[ "$(field u:%g "$U/f") $(field u "$U/new")" = '100005:100006 100000' ]
}

@test "squash_to_root and squash_to_uid" {
	need_root
	chown 1234:1235 "$L/f"
	mount_opts "$M" "$(base),squash_to_root"
	f stat f uid 0 gid 0
	umount_at "$M"
	mount_opts "$M" "$(base),squash_to_uid=77,squash_to_gid=78"
	f stat f uid 77 gid 78
}

@test "volatile: the mark is made, and stays until somebody takes the blame, as the kernel's" {
	mount_opts "$M" "$(base),volatile"
	[ -e "$W/work/incompat/volatile" ]
	f open w f w+append , write w + , fsync w , syncfs w
	umount_at "$M"
	says "$U/f" lower+
	[ -e "$W/work/incompat/volatile" ]
	rm -r "$W/work/incompat"
	mount_opts "$M" "$(base)"
	says "$M/f" lower+
}

@test "every fsync word" {
	for w in 0 1 auto strict volatile; do
		mount_opts "$M" "$(base),fsync=$w"
		f open w f w+append , write w + , fsync w , open n "new-$w" w+creat , fdatasync n , mkdir "d-$w" , open d "d-$w" r+dir , fsync d
		umount_at "$M"
		rm -rf "$W/work/incompat"
	done
	says "$U/f" lower+++++
}

@test "timeout=0, timeout=1, threads=1, threads=4, threaded=0" {
	for o in timeout=0 timeout=1 timeout=0.5 timeout=inf threads=1 threads=4 threaded=0; do
		try "$(base),$o"
	done
	mount_opts "$M" "$(base),timeout=0"
	f stat f size 5 , open w f w+append , write w + , stat f size 6 , ls . f , unlink f , '!ENOENT' stat f
}

@test "called as fuse-overlayfs: containerd's and podman's command lines, unknown options warn" {
	ln -s "$PLYFS" "$T/fuse-overlayfs"
	"$T/fuse-overlayfs" overlay "$M" -o "workdir=$W,upperdir=$U,lowerdir=$L,dev,suid" 3>&- 2>/dev/null
	says "$M/f" lower
	umount "$M"
	"$T/fuse-overlayfs" -o "lowerdir=$L,upperdir=$U,workdir=$W,someday=1" "$M" 3>&- 2>/dev/null
	says "$M/f" lower
	umount "$M"
	"$T/fuse-overlayfs" --version | grep -i fuse-overlayfs || "$T/fuse-overlayfs" --version | grep -i plyfs
}

@test "mount.plyfs by mount(8), and fuse.plyfs through mount.fuse3" {
	need_root
	run unshare -m --propagation private sh -c '
		mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work && cp -a /sbin/. /mnt/upper/ 2>/dev/null
		cp "$1" /mnt/upper/mount.plyfs && mount --bind /mnt/upper /sbin || exit 99
		mount -t plyfs mysrc "$2" -o "lowerdir=$3,upperdir=$4,workdir=$5,noatime,nofail" || exit 1
		grep " $2 " /proc/self/mountinfo; cat "$2/f"; umount "$2"' sh "$PLYFS" "$M" "$L" "$U" "$W"
	[ "$status" != 99 ] || skip "cannot overlay /sbin"
	[ "$status" = 0 ]
	[[ "$output" == *fuse.plyfs\ mysrc* && "$output" == *lower* ]]
}
