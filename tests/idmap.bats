#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal asan
#
# Other owners than on disk: uidmapping= and gidmapping= in everything that names an owner, lowers on idmapped mounts, and
# idmapped mounts of the union.

load lib/common

IDMAP=$PLY_BUILDDIR/tests/tools/idmap
# struct vfs_cap_data, revision 3, cap_net_raw, effective, of the root id 0x186a0 (100000), 0x3e8 (1000), 0
CAP_100000=0x0100000300200000000000000000000000000000a0860100
CAP_1000=0x0100000300200000000000000000000000000000e8030000
CAP_0=0x010000030020000000000000000000000000000000000000
CAP_V2=0x0100000200200000000000000000000000000000

MAP=uidmapping=0:100000:1000:5000:7000:1,gidmapping=0:200000:1000:6000:8000:1

prepare()
{
	plyfs_only "the kernel's overlayfs maps by its layers' mounts"
	need_root
	put "$L/root" r
	put "$L/user" u; chown 5:6 "$L/user"
	put "$L/single" s; chown 5000:6000 "$L/single"
	put "$L/unmapped" x; chown 4000:4001 "$L/unmapped"
	mkdir "$L/sgid"; chown 7:8 "$L/sgid"; chmod 2775 "$L/sgid"
	ln -s root "$L/link"; chown -h 9:10 "$L/link"
	mknod "$L/dev" c 1 3; chown 11:12 "$L/dev"
}

owner() # FILE U:G
{
	[ "$(field u:%g "$M/$1")" = "$2" ] || fail "$1 belongs to $(field u:%g "$M/$1"), want $2"
}

on_disk() # FILE U:G
{
	[ "$(field u:%g "$U/$1")" = "$2" ] || fail "$1 belongs to $(field u:%g "$U/$1") on disk, want $2"
}

@test "owners: shown, given, kept by copy-up, rename and remount" {
	union_mount "$MAP"
	owner root 100000:200000; owner user 100005:200006; owner single 7000:8000; owner sgid 100007:200008
	owner link 100009:200010; owner dev 100011:200012
	owner unmapped 65534:65534
	echo more >>"$M/user"; on_disk user 5:6
	chown 100020:200021 "$M/root"; on_disk root 20:21; owner root 100020:200021
	chown -h 7000:200022 "$M/link"; on_disk link 5000:22
	chown 100001 "$M/dev"; on_disk dev 1:12
	chgrp 8000 "$M/single"; on_disk single 5000:6000
	mv "$M/sgid" "$M/moved"; owner moved 100007:200008
	# what is not mapped stays as it is on disk
	echo more >>"$M/unmapped"; on_disk unmapped 4000:4001; owner unmapped 65534:65534
	chmod 600 "$M/unmapped"; on_disk unmapped 4000:4001
}

@test "new files belong to their maker, as mapped" {
	union_mount "$MAP"
	chmod 1777 "$M"
	f user 100003 200004 , open w new w+creat , mkdir newdir , symlink x newlink , mknod newfifo p 0644
	for n in new newdir newlink newfifo; do owner "$n" 100003:200004; on_disk "$n" 3:4; done
	# a setgid directory hands on its group, mapped or not
	chown 100003 "$M/sgid"
	f user 100003 200004 , open w sgid/n w+creat
	owner sgid/n 100003:200008; on_disk sgid/n 3:8
	# somebody without a number on disk makes nothing
	f user 1234 1234 , '!EOVERFLOW' open w mine w+creat , '!EOVERFLOW' mkdir d , '!EOVERFLOW' symlink x l
	absent "$M/mine" "$M/d" "$M/l"
	# root of the outside prepares what it gives away
	ln -s /proc/mounts "$M/mtab"; owner mtab 65534:65534
	chown -h 100000:200000 "$M/mtab"; on_disk mtab 0:0
}

@test "what cannot be mapped cannot be given: EOVERFLOW, and nothing has changed" {
	union_mount "$MAP"
	for id in 0 4000 99999 101000 65534; do
		f '!EOVERFLOW' chown user "$id" -1 , '!EOVERFLOW' chown user -1 "$id"
	done
	owner user 100005:200006
	absent "$U/user"
}

@test "ACL entries: shown, set, inherited, copied up" {
	setfacl -m u:5:r,u:900:rw,g:6:rx "$L/user" || skip "no ACLs here"
	setfacl -d -m u:5:rwx,g:7:rx "$L/sgid"
	union_mount "$MAP"
	run getfacl -n -c -p "$M/user"
	for e in user:100005:r-- user:100900:rw- group:200006:r-x; do grep -qx "$e.*" <<<"$output" || fail "no $e in $output"; done
	setfacl -m u:7000:rwx "$M/user"
	run getfacl -n -c -p "$U/user"
	for e in user:5:r-- user:900:rw- group:6:r-x user:5000:rwx; do grep -qx "$e.*" <<<"$output" || fail "no $e in $output"; done
	! setfacl -m u:4000:r "$M/user" 2>/dev/null || fail "an entry for a user that is not mapped"
	mkdir "$M/sgid/sub"
	run getfacl -n -c -p "$U/sgid/sub"
	for e in user:5:rwx group:7:r-x default:user:5:rwx default:group:7:r-x; do grep -qx "$e.*" <<<"$output" || fail "no $e in $output"; done
	# they count
	chmod 750 "$M/sgid"
	setfacl -m u:100042:rwx "$M/sgid"
	f user 100042 200042 , ls sgid sub
}

@test "file capabilities name their root" {
	"$FSOP" setx "$L/root" security.capability "$CAP_1000"
	"$FSOP" setx "$L/user" security.capability "$CAP_0"
	"$FSOP" setx "$L/single" security.capability "$CAP_V2"
	union_mount "uidmapping=0:100000:1000:1000:3000:1"
	# 1000 -> 3000
	f getx root security.capability 0x0100000300200000000000000000000000000000b80b0000
	# revision 2, and revision 3 of root, which is the same: root shows as 100000
	f getx user security.capability "$CAP_100000" , getx single security.capability "$CAP_100000"
	f setx user security.capability 0x0100000300200000000000000000000000000000b80b0000
	"$FSOP" getx "$U/user" security.capability "$CAP_1000"
	# copied up with the metadata
	chmod 700 "$M/root"
	"$FSOP" getx "$U/root" security.capability "$CAP_1000"
	f '!EOVERFLOW' setx root security.capability 0x0100000300200000000000000000000000000000d0070000
}

@test "squash: everything is one user's" {
	union_mount squash_to_uid=1234,squash_to_gid=1235
	owner root 1234:1235; owner unmapped 1234:1235
	chmod 1777 "$M"
	f user 77 78 , open w new w+creat
	owner new 1234:1235; on_disk new 1234:1235
	echo more >>"$M/user"; on_disk user 1234:1235
}

@test "a lower on an idmapped mount shows its owners mapped already" {
	mkdir "$T/mapped"
	run "$IDMAP" "$L" "$T/mapped" 0 100000 1000
	[ "$status" = 0 ] || { mount --bind "$L" "$L" && echo "$L" >>"$R/extra" && run "$IDMAP" "$L" "$T/mapped" 0 100000 1000; }
	[ "$status" = 0 ] || skip "no idmapped mounts: $output"
	echo "$T/mapped" >>"$R/extra"
	setfacl -m u:5:r "$L/user"
	LAYERS=("$T/mapped")
	union_mount uidmapping=0:100000:1000,gidmapping=0:100000:1000
	owner root 100000:100000; owner user 100005:100006
	run getfacl -n -c -p "$M/user"
	grep -q '^user:100005:r--' <<<"$output" || fail "$output"
	echo more >>"$M/user"
	owner user 100005:100006; on_disk user 5:6
	run getfacl -n -c -p "$U/user"
	grep -q '^user:5:r--' <<<"$output" || fail "$output"
	f user 100000 100000 , open w new w+creat
	on_disk new 0:0
}

@test "an idmapped mount of the union" {
	setfacl -m u:5:r "$L/user" || skip "no ACLs here"
	"$FSOP" setx "$L/user" security.capability "$CAP_V2"
	RECHECK=no
	mkdir "$T/idm"
	union_mount
	chmod 777 "$M"
	run "$IDMAP" "$M" "$T/idm" 0 100000 1000
	[ "$status" != 77 ] || { case $output in *mount_setattr*) skip "this kernel has no idmapped FUSE: $output" ;; *) fail "$output" ;; esac; }
	[ "$status" = 0 ] || fail "$output"
	[ "$(stat -c %u:%g "$T/idm/root" "$T/idm/user" "$T/idm/single" "$T/idm/link")" = "100000:100000
100005:100006
65534:65534
100009:100010" ]
	run getfacl -n -c -p "$T/idm/user"
	grep -q '^user:100005:r--' <<<"$output" || fail "$output"
	"$FSOP" -C "$T/idm" user 100003 100004 , open w new w+creat , mkdir dir , symlink x ln , mknod ff p 0644 , open t . tmpfile+w
	for n in new dir ln ff; do on_disk "$n" 3:4; done
	[ "$(stat -c %u:%g "$T/idm/new")" = 100003:100004 ]
	# who is not in the map cannot make anything, root of the outside included
	"$FSOP" -C "$T/idm" '!EOVERFLOW' open w no w+creat , '!EOVERFLOW' mkdir no
	chown 100007:100008 "$T/idm/user"; on_disk user 7:8
	"$FSOP" -C "$T/idm" '!EOVERFLOW' chown user 5 5 || "$FSOP" -C "$T/idm" '!EINVAL' chown user 5 5
	echo more >>"$T/idm/root"; on_disk root 0:0
	# the plain mount goes on as it was
	owner new 3:4
	f user 3 4 , open w new2 w+creat
	on_disk new2 3:4
	umount "$T/idm"
}

@test "privileges of who asks, where the kernel does not say who" {
	put "$L/suid" data; chmod 6755 "$L/suid"
	put "$L/suid2" data; chmod 6777 "$L/suid2"
	chmod 777 "$L"
	union_mount
	# root keeps suid, others lose it
	f open w suid rw , fallocate w 0 0 10 , close w , stat suid mode 6755
	f user 1000 1000 , open w suid2 rw , fallocate w 0 0 10 , close w , stat suid2 mode 777
	"$FSOP" setx "$M/suid" trusted.mine x
	"$FSOP" listx "$M/suid" | grep -q trusted.mine
	! (cd "$M" && setpriv --reuid 1000 --regid 1000 --clear-groups "$FSOP" listx suid) | grep -q trusted.mine
}
