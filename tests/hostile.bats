#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs nopassthrough threads1 asan tsan
# timeout: 900
#
# Layers made to harm: the answer is an errno (or a plain view), never a crash, an escape from the layer, or a hang.

load lib/common

# Looking at everything, by every call, must leave the daemon alive and show nothing of $T/secret.
poke()
{
	local p
	(cd "$M" && find . -print0 2>/dev/null | while IFS= read -r -d '' p; do
		stat "$p"; if [ -f "$p" ]; then cat "$p"; fi; ls -la "$p"; "$FSOP" listx "$p"
	done) >"$T/poked" 2>/dev/null </dev/null || true
	if grep -q 'the secret' "$T/poked"; then
		fail "it escaped"
		return 1
	fi
	says "$M/alive" yes
}

prepare()
{
	LAYERS=("$L" "$L2")
	put "$L2/alive" yes
	put "$T/secret/s" 'the secret'
	RECHECK=no
}

@test "symlinks that point out of the layer are followed by the caller only, never by the daemon" {
	ln -s "$T/secret" "$L2/out"; ln -s ../../../../../../../../etc "$L2/up"; mkdir "$L2/d"; ln -s "$T/secret/s" "$L2/d/f"; ln -s / "$L2/root"
	union_mount
	f readlink out "$T/secret" , stat out type l , stat up type l , chmod d 0700 , rename out out2 , readlink out2 "$T/secret" , utime d/f 5 6 , stat d/f type l mtime 6.000000000
	[ "$(field Y "$T/secret/s")" != 6 ]
	says "$M/alive" yes
}

@test "a directory in one layer, a symlink to elsewhere in another" {
	mkdir "$L2/d"; put "$L2/d/f" x; ln -s "$T/secret" "$L/d"; ln -s "$T/secret" "$U/e"; put "$L2/e/f" y; put "$L/g/f" z; ln -s "$T/secret" "$L2/g"
	union_mount
	f stat d type l , stat e type l , ls g f , '!ENOENT' stat g/s
	says "$M/alive" yes
}

@test "a layer's directory replaced by a symlink while it is mounted" {
	put "$L2/d/sub/f" x
	[ "$PLY_TARGET" = overlayfs ] && union_mount || union_mount timeout=0
	f ls d/sub f
	mv "$L2/d/sub" "$L2/d/old"; ln -s "$T/secret" "$L2/d/sub"
	(cat "$M/d/sub/s"; "$FSOP" -C "$M" ls d/sub; "$FSOP" -C "$M" open w d/sub/f w) >"$T/poked" 2>/dev/null || true
	if [ -e "$U/d/sub/s" ]; then fail "copied up through a symlink"; fi
	[ "$PLY_TARGET" = overlayfs ] || ! grep -q secret "$T/poked" || readlink "$M/d/sub"
	says "$T/secret/s" 'the secret'
	rm "$L2/d/sub"; mv "$L2/d/old" "$L2/d/sub"
	lower_changed
}

@test "redirects with .., loops, to itself, to its parent, to nothing, to a file" {
	mkdir -p "$L/dd" "$L/self" "$L/a/b" "$L/gone" "$L/tofile" "$L/loop1" "$L/loop2" "$L/absdd" "$L/dot" "$L/slash" "$L/empty"
	put "$L2/file" x; put "$L2/real/r" y
	xattr "$L/dd" "$OVL.redirect" ../secret
	xattr "$L/absdd" "$OVL.redirect" /../secret
	xattr "$L/self" "$OVL.redirect" self
	xattr "$L/a/b" "$OVL.redirect" /a
	xattr "$L/gone" "$OVL.redirect" /no/such/place
	xattr "$L/tofile" "$OVL.redirect" /file
	xattr "$L/loop1" "$OVL.redirect" /loop2
	xattr "$L/loop2" "$OVL.redirect" /loop1
	xattr "$L/dot" "$OVL.redirect" .
	xattr "$L/slash" "$OVL.redirect" /
	xattr "$L/empty" "$OVL.redirect" ''
	union_mount
	poke
	for n in dd absdd; do absent "$M/$n/s"; done
	f open w alive w+append
}

@test "redirects through symlinks that leave the layer" {
	mkdir "$L/r1" "$L/r2"; ln -s "$T" "$L2/link"
	xattr "$L/r1" "$OVL.redirect" /link/secret
	xattr "$L/r2" "$OVL.redirect" link
	union_mount
	absent "$M/r1/s" "$M/r2/secret"
	poke
}

@test "truncated, oversized and garbage overlay xattrs" {
	long=$(printf 'x%.0s' {1..3000})
	for i in {1..12}; do mkdir "$L/d$i"; put "$L/f$i" "file $i"; mkdir "$L2/d$i"; put "$L2/d$i/in" x; done
	xattr "$L/d1" "$OVL.origin" 0x00; xattr "$L/f1" "$OVL.origin" 0x00fb
	xattr "$L/d2" "$OVL.origin" 0x00fbff0001; xattr "$L/f2" "$OVL.origin" "$long"
	xattr "$L/d3" "$OVL.origin" ''; xattr "$L/f3" "$OVL.origin" 0x00fb1500018100000000000000000000000000000000ffffffff
	xattr "$L/d4" "$OVL.redirect" "$long"; xattr "$L/f4" "$OVL.metacopy" 0x000100
	xattr "$L/d5" "$OVL.redirect" 0x2f0061; xattr "$L/f5" "$OVL.metacopy" "$long"
	xattr "$L/d6" "$OVL.opaque" "$long"; xattr "$L/f6" "$OVL.metacopy" 0x00040001aabbccdd
	xattr "$L/d7" "$OVL.opaque" ''; xattr "$L/f7" "$OVL.nlink" 'U+999999999999999999999'
	xattr "$L/d8" "$OVL.opaque" 0x00; xattr "$L/f8" "$OVL.nlink" ''
	xattr "$L/d9" "$OVL.impure" "$long"; xattr "$L/f9" "$OVL.nlink" X1
	xattr "$L/d10" "$OVL.protattr" "$long"; xattr "$L/f10" "$OVL.protattr" zz
	xattr "$L/d11" "$OVL.uuid" short; xattr "$L/f11" "$OVL.whiteout" y
	xattr "$L/d12" "$OVL.upper" "$long"; xattr "$L/f12" "$OVL.redirect" ../../../x
	union_mount
	poke
	for i in {1..12}; do
		"$FSOP" -C "$M" chmod "d$i" 0711 2>/dev/null || true
		"$FSOP" -C "$M" chmod "f$i" 0600 2>/dev/null || true
		"$FSOP" -C "$M" rename "d$i" "e$i" 2>/dev/null || true
	done
	poke
	rm -rf "${M:?}"/d* "${M:?}"/e* "${M:?}"/f* 2>/dev/null || true
	says "$M/alive" yes
}

@test "the same garbage in upper and on the roots" {
	long=$(printf 'x%.0s' {1..3000})
	for a in origin redirect opaque impure nlink metacopy protattr upper whiteout; do
		put "$U/d$a/f" x; put "$U/g$a" y; put "$L2/d$a/h" z; put "$L2/g$a" w
		xattr "$U/d$a" "$OVL.$a" "$long"; xattr "$U/g$a" "$OVL.$a" 0x00ff
	done
	for a in origin impure nlink; do xattr "$U" "$OVL.$a" 0x00; done
	if union_mount; then
		poke
		f open w new w+creat , mkdir newdir
		rm -rf "${M:?}"/d* "${M:?}"/g* 2>/dev/null || true
		says "$M/alive" yes
	fi
}

@test "whiteouts and marks with odd names and kinds" {
	mkdir -p "$L/.wh." "$L/.wh..wh." "$L/d/.wh..wh..opq" "$L/d/.wh..wh.plnk" "$L/d/.wh..wh.aufs"
	put "$L/.wh.$(printf 'n%.0s' {1..251})" ''
	: >"$L/"$'.wh.\xff\xfe'; put "$L2/"$'\xff\xfe' x; : >"$L/.wh.."; : >"$L/.wh..."; mknod "$L/.wh.dev" c 0 0; mkfifo "$L/.wh.fifo"
	put "$L2/d/in" x
	union_mount
	poke
	rm -rf "$M/d"
	says "$M/alive" yes
}

@test "a file where others have a directory, at every level" {
	put "$L/a" file; put "$L2/a/b/c" x; put "$L/b/c" file; put "$L2/b/c/d" x; put "$U/c/d" file; put "$L2/c/d/e/f" x; mkdir "$L/e"; put "$L2/e" file
	union_mount
	says "$M/a" file; says "$M/b/c" file; says "$M/c/d" file
	f stat e type d , ls e '' , '!ENOTDIR' stat a/b , '!ENOTDIR' stat c/d/e/f , unlink a , mkdir a , ls a ''
}

@test "device nodes and fifos of a layer are not opened by the daemon" {
	need_root
	mkfifo "$L/fifo"; mknod "$L/tty" c 5 0; mknod "$L/mem" c 1 1; mknod "$L/zz" b 250 250; mknod "$L/nodriver" c 250 250; mkdir "$L/d"; mkfifo "$L/d/fifo2"
	union_mount
	# an open of a fifo without a peer would hang it
	f stat fifo type p , stat tty type c , chmod fifo 0600 , chmod tty 0600 , chmod nodriver 0600 , chown zz 1 1 , rename mem mem2 , link nodriver nodriver2 , utime d/fifo2 5 6 , '!ENXIO' open x nodriver2 r , listx mem2 ''
	rm -rf "$M/d" "$M/fifo" "$M/zz"
	says "$M/alive" yes
}

@test "hard links in a layer to what is outside of it" {
	ln "$T/secret/s" "$L2/hard"
	union_mount
	f open w hard w+append , write w ' and more' , chmod hard 0600
	says "$T/secret/s" 'the secret'
	[ "$(field h "$T/secret/s")" = 2 ]
}

@test "origin handles that lead elsewhere" {
	plyfs_only "overlayfs answers ESTALE for some of them"
	put "$L2/x/f" real; put "$L2/y/f" other
	union_mount
	f open w x/f w+append , write w + , chmod x 0711
	union_umount
	# the origin of x/f given to another file, and a directory's to a file
	python3 - "$U" "$OVL" <<'END'
import os, sys
u, ovl = sys.argv[1:]
f, d = (os.getxattr(u + p, ovl + ".origin") for p in ("/x/f", "/x"))
os.mkdir(u + "/y")
open(u + "/y/f", "w").write("mine")
open(u + "/z", "w").write("mine too")
os.setxattr(u + "/y/f", ovl + ".origin", f)
os.setxattr(u + "/z", ovl + ".origin", d)
os.setxattr(u + "/y", ovl + ".origin", f)
END
	union_mount
	says "$M/y/f" mine; says "$M/z" 'mine too'; says "$M/x/f" real+
	f open w y/f w+append , write w + , ls y f
	says "$M/y/f" mine+; says "$M/x/f" real+
	poke
}

@test "garbage in the index and in work" {
	put "$L2/a" data; ln "$L2/a" "$L2/b"
	mkdir -p "$W/index" "$W/work"; put "$W/index/zzzz" junk; mkdir "$W/index/00fb"; put "$W/work/junk" x; mkdir "$W/work/dir"
	if union_mount; then
		f open w a w+append , write w + # whether b follows is the index's affair
		says "$M/a" data+
		poke
	fi
}

@test "a very long chain of directories, symlink loops, self-reference" {
	ln -s loop "$L2/loop"; ln -s b "$L2/a"; ln -s a "$L2/b"; "$FSOP" mkdeep "$L2" q 300
	union_mount
	f '!ELOOP' open r loop r , '!ELOOP' open r a r , readlink loop loop , mkdeep . q 300 , openat w deep f w+creat , rename q q2
	says "$M/alive" yes
}

@test "the layer changes behind our back: errors at worst" {
	for i in {1..20}; do put "$L2/d/f$i" "$i"; done
	union_mount
	ls "$M/d" >/dev/null
	rm -rf "$L2/d/f3" "$L2/d/f4"; mkdir "$L2/d/f4"; rm -rf "$L2/d/f5"; ln -s nowhere "$L2/d/f5"; mv "$L2/d/f6" "$L2/d/g6"
	(for i in {1..20}; do "$FSOP" -C "$M" open w "d/f$i" rw , pwrite w 0 x; done; cat "$M"/d/*; rm -rf "$M/d") >/dev/null 2>&1 || true
	says "$M/alive" yes
	lower_changed
}
