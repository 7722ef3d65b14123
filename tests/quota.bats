#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal nopassthrough threads1 asan
#
# Quotas of the upper's filesystem: what is made in the union is charged to the owner on disk, and whoever has no more gets
# EDQUOT, which leaves nothing behind.

load lib/common

# quota_fs: an upper on ext4 with quotas of users
quota_fs()
{
	command -v quotaon >/dev/null && command -v setquota >/dev/null || skip "there is no quotaon"
	LOOP_NEEDS='with quotas (CONFIG_QFMT_V2)' fs_loop "$T/disk" ext4 64M -q -O quota -E quotatype=usrquota:grpquota
	mkdir "$T/disk/u" "$T/disk/w"
	UPPER=$T/disk/u WORK=$T/disk/w
	chmod 1777 "$L" "$UPPER"
	# the filesystem counts without this, but refuses nothing
	quotaon -u "$T/disk"
}

# limit USER KIBIBYTES INODES, ids as on disk
limit()
{
	setquota -u "$1" 0 "$2" 0 "$3" "$T/disk"
}

# used USER: KiB and inodes
used()
{
	sync -f "$T/disk"
	repquota -un "$T/disk" | awk -v u="#$1" '$1 == u { print $3, $6; found = 1 } END { if (!found) print 0, 0 }'
}

# one subvolume as the upper, of so many bytes
subvolume()
{
	fs_loop "$T/disk" btrfs 200M -q
	btrfs quota enable "$T/disk" >/dev/null && btrfs subvolume create "$T/disk/s" >/dev/null &&
		btrfs qgroup limit "$1" "$T/disk/s" || skip "no quota groups here"
	mkdir "$T/disk/s/u" "$T/disk/s/w"
	UPPER=$T/disk/s/u WORK=$T/disk/s/w
}

nothing_left()
{
	local left
	left=$(find "$WORK/work" "$WORK/index" -mindepth 1 -type f 2>/dev/null; cd "$UPPER" && find . -type f -name "$1")
	[ -z "$left" ] || fail "left behind: $left"
}

prepare()
{
	plyfs_only "the kernel's overlayfs works with root's privilege, which no quota binds"
}

@test "a user's files are charged to the id that is on disk, mapped and squashed" {
	quota_fs
	union_mount uidmapping=0:100000:65536,gidmapping=0:100000:65536
	f user 101000 101000 , open w f w+creat , fill w 0 400k x , fsync w , mkdir d , symlink x s
	[ "$(used 101000)" = "0 0" ]
	read -r kib inodes <<<"$(used 1000)"
	[ "$kib" -ge 400 ] && [ "$kib" -lt 440 ] && [ "$inodes" = 3 ] || fail "$kib $inodes"
	# a gift takes its room with it
	f chown f 101001 101001
	read -r kib inodes <<<"$(used 1001)"
	[ "$kib" -ge 400 ] && [ "$inodes" = 1 ] || fail "$kib $inodes"
	union_umount
	union_mount squash_to_uid=3000,squash_to_gid=3000
	f user 1234 1234 , open w g w+creat , fill w 0 200k x , fsync w
	read -r kib inodes <<<"$(used 3000)"
	[ "$kib" -ge 200 ] && [ "$inodes" = 1 ] || fail "$kib $inodes"
}

@test "EDQUOT at a write, at fallocate, at the growth of a file from lower" {
	quota_fs
	head -c 100k /dev/zero | tr '\0' l >"$L/low"; chown 1000:1000 "$L/low"
	limit 1000 512 0
	union_mount uidmapping=0:100000:65536,gidmapping=0:100000:65536
	f user 101000 101000 , open w f w+creat , fill w 0 200k x
	f user 101000 101000 , open a low rw , fill a 0 4096 y , check a 4096 4096 l
	# with writeback caching it is fsync that tells; what still fits is written before, which dd understands
	! "$FSOP" -C "$M" user 101000 101000 , sh 'dd if=/dev/zero of=f bs=128k count=16 conv=notrunc,fsync' 2>"$T/said" ||
		fail "no quota was kept"
	grep -q 'Disk quota exceeded' "$T/said" || fail "$(cat "$T/said")"
	f user 101000 101000 , open w f w , '!EDQUOT' fallocate w alloc 2m 1m
	# others have theirs
	f user 101001 101001 , open w other w+creat , fill w 0 1m x , fsync w
	f unlink f
	RECHECK=no
}

@test "EDQUOT at create, mkdir, symlink, link over a whiteout: nothing is left" {
	quota_fs
	put "$L/gone" x
	limit 1000 0 2
	union_mount uidmapping=0:100000:65536,gidmapping=0:100000:65536
	f unlink gone , user 101000 101000 , open w one w+creat , open v two w+creat , write v 2
	f user 101000 101000 , '!EDQUOT' open w three w+creat , '!EDQUOT' mkdir three , '!EDQUOT' symlink x three , '!EDQUOT' mknod three p 0600 , '!EDQUOT' open w gone w+creat
	f '!ENOENT' stat three , '!ENOENT' stat gone , unlink one
	is_whiteout "$UPPER/gone"
	absent "$UPPER/three" "$UPPER/one"
	nothing_left three
	# what is removed has gone once the kernel has forgotten it
	wait_for "the inode of what was removed" "$FSOP" -C "$M" user 101000 101000 , open w three w+creat , unlink three
	[ "$(used 1000 | cut -d ' ' -f 2)" -le 2 ]
}

@test "EDQUOT at a copy-up, of data and of the inode: nothing is left, and it can be done later" {
	quota_fs
	head -c 800k /dev/urandom >"$L/big"; chown 1000:1000 "$L/big"; put "$L/d/little" x; chown -R 1000:1000 "$L/d"
	limit 1000 512 0
	union_mount uidmapping=0:100000:65536,gidmapping=0:100000:65536
	f user 101000 101000 , '!EDQUOT' open w big w , '!EDQUOT' chmod big 0600 , '!EDQUOT' rename big big2 , '!EDQUOT' truncate big 700k
	absent "$UPPER/big" "$UPPER/big2"
	nothing_left 'big*'
	[ "$(used 1000)" = "0 0" ]
	limit 1000 0 1
	f user 101000 101000 , open w big w+append , write w tail , '!EDQUOT' open v d/little w , '!EDQUOT' chmod d/little 0600 , '!EDQUOT' utime d 5 6
	cmp -n $((800 * 1024)) "$L/big" "$M/big"
	says "$M/d/little" x
	absent "$UPPER/d/little"
	nothing_left little
	limit 1000 0 0
	f user 101000 101000 , open w d/little w+append , write w y
	says "$M/d/little" xy
}

@test "EDQUOT when a metacopy gets its data: they are read from lower as before" {
	quota_fs
	head -c 800k /dev/urandom >"$L/big"; chown 1000:1000 "$L/big"
	limit 1000 512 0
	union_mount metacopy=on,uidmapping=0:100000:65536,gidmapping=0:100000:65536
	f user 101000 101000 , chmod big 0600 , '!EDQUOT' open w big rw
	cmp "$L/big" "$M/big"
	has_xattr "$UPPER/big" "$OVL.metacopy"
	[ "$(used 1000 | cut -d ' ' -f 1)" -lt 100 ]
	limit 1000 0 0
	f user 101000 101000 , open w big w+append , write w tail
	cmp -n $((800 * 1024)) "$L/big" "$M/big"
}

@test "a quota of the whole upper: EDQUOT in the middle of a copy-up, at a write, at fallocate" {
	subvolume 10M
	head -c 30M /dev/urandom >"$L/big"; put "$L/little" x
	union_mount
	f '!EDQUOT' open w big w , '!EDQUOT' truncate big 25m
	"$FSOP" -C "$M" chmod big 0600 2>"$T/said" && fail "it was copied" || grep -q EDQUOT "$T/said"
	cmp "$L/big" "$M/big"
	absent "$UPPER/big"
	nothing_left big
	f open w n w+creat , '!EDQUOT' fallocate w alloc 0 50m
	! dd if=/dev/urandom of="$M/n" bs=64k count=400 conv=fsync 2>"$T/said" || fail "no quota was kept"
	grep -qi quota "$T/said" || fail "$(cat "$T/said")"
	f unlink n
	wait_for "the room of what was removed" "$FSOP" -C "$M" open w little w
	f open w little w+append , write w y , fsync w
	says "$M/little" xy
}
