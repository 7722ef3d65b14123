#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a power cut leaves of a union, and whether plyfs keeps its word about it.

    power.py --plyfs PROGRAM --dir DIR [--fs ext4] [--seed N] [--ops N] [--points N] [--options OPTS] [--kernel]

A disk is a file that this program serves over /dev/fuse; a loop device lies on it, a filesystem with the layers on that, and plyfs
on those. The disk keeps a journal of every write and every flush. A seeded workload works in the union, and says in the same journal
when each operation began and ended. Afterwards the disk is rebuilt as it was at many moments: all writes up to the last flush
before that moment, and of the later ones all, none, or any of their sectors, as a disk with a write cache may lose them.
Each of these disks is mounted (the filesystem replays its own journal), a union is mounted on it, and looked at:

  - the lower layers are what they were
  - the union's names, kinds, modes and link counts are those after some whole operation, one between the last that was made
    durable and the last that began (the filesystems here keep the order of changes of metadata)
  - every block of a file is one that the file had since it was last synced: old or new, never zeros where there was data
  - work/ holds nothing, whiteouts have something below them, plyfs and (--kernel) overlayfs show the same tree
  - everything in it can be removed, and stays removed after a remount

To be run as root in a mount namespace of its own."""

import argparse
import ctypes
import os
import pickle
import random
import shutil
import stat
import struct
import subprocess
import sys
import time
import traceback

BLOCK = 4096
MARKS = 1 << 40  # writes from here on are the workload's marks, and go to the journal only
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags=0, data=None):
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() if data else None):
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), "mount %s on %s: %s" % (kind, target, data))


def umount(target):
    for _ in range(200):
        if not libc.umount2(target.encode(), 0):
            return
        if ctypes.get_errno() != 16:
            break
        time.sleep(0.05)
    err = ctypes.get_errno()
    raise OSError(err, os.strerror(err), "umount " + target)


def run(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


# --- the disk ---------------------------------------------------------------------------------------------------------


class Disk:
    """One regular file as a FUSE filesystem. The journal: (offset, length, bytes) of writes, (-1, 0) of a flush."""

    INIT, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 26, 3, 4, 14, 15, 16, 17, 18, 20
    FORGET, INTERRUPT, BATCH_FORGET, DESTROY = 2, 36, 42, 38

    def __init__(self, image, where, log):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.dev = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        open(where, "w").close()
        mount("plydisk", where, "fuse", 0, "fd=%d,rootmode=100000,user_id=0,group_id=0" % self.dev)
        self.pid = os.fork()
        if self.pid:
            os.close(self.dev)
            os.close(self.image)
            return
        rc = 1
        try:
            with open(log, "wb", 1 << 20) as self.log:
                self.serve()
            rc = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(rc)

    def attr(self):
        return struct.pack("<QII", 100000, 0, 0) + struct.pack(
            "<QQQQQQIIIIIIIIII", 1, self.size, self.size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, BLOCK, 0)

    def serve(self):
        while True:
            try:
                req = os.read(self.dev, (1 << 20) + 8192)
            except OSError as e:
                if e.errno == 19:  # ENODEV: unmounted
                    return
                if e.errno in (2, 4):
                    continue
                raise
            _, op, unique = struct.unpack_from("<IIQ", req)
            err, out = 0, b""
            if op == self.INIT:
                # ASYNC_READ, BIG_WRITES, MAX_PAGES
                out = struct.pack("<IIIIHHIIHH8I", 7, 31, 1 << 17, 1 | 1 << 5 | 1 << 22, 64, 48, 1 << 20, 1, 256, 0, *[0] * 8)
            elif op in (self.GETATTR, self.SETATTR):
                out = self.attr()
            elif op == self.OPEN:
                out = struct.pack("<QII", 0, 1, 0)  # DIRECT_IO
            elif op == self.READ:
                _, off, size = struct.unpack_from("<QQI", req, 40)
                out = os.pread(self.image, size, off)
            elif op == self.WRITE:
                _, off, size = struct.unpack_from("<QQI", req, 40)
                data = req[80:80 + size]
                if off < MARKS:
                    os.pwrite(self.image, data, off)
                self.log.write(struct.pack("<qI", off, size) + data)
                out = struct.pack("<II", size, 0)
            elif op == self.FSYNC:
                self.log.write(struct.pack("<qI", -1, 0))
            elif op == self.STATFS:
                out = struct.pack("<5Q4I6I", 1 << 20, 1 << 19, 1 << 19, 1, 1, BLOCK, 255, BLOCK, 0, *[0] * 6)
            elif op in (self.RELEASE, self.DESTROY):
                pass
            elif op in (self.FORGET, self.INTERRUPT, self.BATCH_FORGET):
                continue
            else:
                err = -38
            try:
                os.write(self.dev, struct.pack("<IiQ", 16 + len(out), err, unique) + out)
            except FileNotFoundError:
                pass  # nobody waits any more: interrupted, or at the end


def log_read(path):
    with open(path, "rb") as f:
        while True:
            head = f.read(12)
            if len(head) < 12:
                return
            off, size = struct.unpack("<qI", head)
            yield off, f.read(size)


# --- contents ---------------------------------------------------------------------------------------------------------


def block_of(ident, number, version):
    line = b"F%06d B%05d V%06d\n" % (ident, number, version)
    return (line * (BLOCK // len(line) + 1))[:BLOCK]


def content(ident, versions, size):
    return b"".join(block_of(ident, i, v) for i, v in enumerate(versions))[:size]


def blocks(size):
    return (size + BLOCK - 1) // BLOCK


# --- the model of the tree, and the workload ----------------------------------------------------------------------------


class File:
    """A regular file: the versions its blocks had, and its sizes, since it was last synced."""

    def __init__(self, ident, size, version, synced):
        self.id, self.size = ident, size
        self.versions = [version] * blocks(size)
        # (operation, size, versions); the first is durable
        self.history = [(-1 if synced else 0, size if synced else 0, list(self.versions) if synced else [])]
        self.synced = []  # (operation, number of history entries that were there)

    def changed(self, op):
        self.history.append((op, self.size, list(self.versions)))

    def was_synced(self, op):
        self.synced.append((op, len(self.history)))

    def allowed(self, begun, ended):
        """sizes, and for each block the versions, that a crash in this time may show"""
        start = 0
        for op, n in self.synced:
            if op <= ended:
                start = n - 1
        seen = [h for h in self.history[start:] if h[0] <= begun] or [self.history[start]]
        versions = {}
        for _, _, v in seen:
            for i, x in enumerate(v):
                versions.setdefault(i, set()).add(x)
        # Blocks that are new and not synced: ext4 may have the size and the block, and not the data.
        for i in versions:
            if any(i >= len(v) for _, _, v in seen):
                versions[i].add(-1)
        return min(h[1] for h in seen), max(h[1] for h in seen), versions


class Work:
    def __init__(self, lowers, union, seed, index):
        self.lowers, self.union, self.rng, self.index = lowers, union, random.Random(seed), index
        self.tree = {"": ["d", 0o755]}  # path -> ["d", mode] | ["f", mode, id] | ["l", target]
        self.files = {}
        self.op = 0
        self.snapshots = []
        self.durable = []  # operations after which everything before them is on the disk
        self.names = 0

    # The lower layers: two that merge, hard links in one of them.
    def make_lowers(self):
        rng = self.rng
        for n, lower in enumerate(self.lowers):
            os.makedirs(lower, exist_ok=True)
            os.chmod(lower, 0o755)
            dirs = [""] + ["d%d" % i for i in range(4)] + ["d%d/s%d" % (i, j) for i in range(4) for j in range(2)]
            dirs += ["d0/s0/t", "d1/s1/only%d" % n]
            for d in dirs:
                os.makedirs(os.path.join(lower, d), exist_ok=True)
                self.tree.setdefault(d, ["d", 0o755])
                for i in range(rng.randrange(1, 4)):
                    path = (d + "/" if d else "") + "f%d%s" % (i, "" if rng.random() < 0.4 else "abc"[n])
                    ident = len(self.files) + 1
                    size = rng.choice([1, 100, 4096, 10000, 30000, 100000])
                    file = File(ident, size, 0, True)
                    with open(os.path.join(lower, path), "wb") as f:
                        f.write(content(ident, file.versions, size))
                    os.chmod(os.path.join(lower, path), 0o644)
                    self.files[ident] = file
                    if path not in self.tree:
                        self.tree[path] = ["f", 0o644, ident]
            for i in range(4 if self.index else 0):  # without an index names of one lower file part
                a = rng.choice([p for p in self.tree if self.tree[p][0] == "f" and os.path.exists(os.path.join(lower, p))])
                if self.tree[a][2] != self.ident_at(os.path.join(lower, a)):
                    continue
                b = "%s/h%d%d" % (rng.choice(dirs[1:]), n, i)
                os.link(os.path.join(lower, a), os.path.join(lower, b))
                self.tree[b] = list(self.tree[a])
            for i in range(3):
                path = "%s/l%d%d" % (rng.choice(dirs[1:]), n, i)
                os.symlink("to%d%d" % (n, i), os.path.join(lower, path))
                self.tree[path] = ["l", "to%d%d" % (n, i)]

    @staticmethod
    def ident_at(path):
        with open(path, "rb") as f:
            head = f.read(7)
        return int(head[1:7]) if len(head) == 7 else 0

    def snapshot(self):
        self.snapshots.append({p: tuple(e) for p, e in self.tree.items()})

    def at(self, path):
        return os.path.join(self.union, path)

    def paths(self, kind):
        return sorted(p for p in self.tree if p and self.tree[p][0] in kind)

    def pick(self, kind):
        c = self.paths(kind)
        return self.rng.choice(c) if c else None

    def below(self, path):
        return [p for p in self.tree if p.startswith(path + "/")]

    def new_name(self):
        d = self.rng.choice([""] + self.paths("d"))
        if self.rng.random() < 0.4:  # a name that was there once: over a whiteout
            gone = sorted(p for p in self.snapshots[0] if p and p not in self.tree and self.tree.get(os.path.dirname(p), " ")[0] == "d")
            if gone:
                return self.rng.choice(gone)
        self.names += 1
        return (d + "/" if d else "") + "n%d" % self.names

    def set_mode(self, path, mode):
        entry = self.tree[path]
        for e in self.tree.values():
            if e is entry or (entry[0] == "f" and e[0] == "f" and e[2] == entry[2]):
                e[1] = mode

    def move(self, a, b):
        moved = {p: self.tree.pop(p) for p in [a] + self.below(a)}
        for p in [b] + self.below(b):
            self.tree.pop(p, None)
        for p, e in moved.items():
            self.tree[b + p[len(a):]] = e

    # Each operation: what it does in the union, and in the model. Some are several, with a mark for each.

    def do(self, mark, what, call, model, durable=False, data=None):
        """data: (file, synced): its contents change in this operation, and are synced by it"""
        self.op += 1
        mark(b"b %d %s" % (self.op, what.encode()))
        # Before the call the model has what may be seen from here on.
        model()
        if data and data[0]:
            data[0].changed(self.op)
        self.snapshot()
        call()
        if data and data[1]:
            data[0].was_synced(self.op)
        if durable:
            self.durable.append(self.op)
        mark(b"e %d" % self.op)

    def write(self, path, flags, changes, size, sync):
        fd = os.open(self.at(path), os.O_WRONLY | flags, 0o644)
        try:
            for offset, data in changes:
                os.pwrite(fd, data, offset)
            if size is not None:
                os.ftruncate(fd, size)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def op_write(self, mark):
        path = self.pick("f")
        if not path:
            return
        file = self.files[self.tree[path][2]]
        sync = self.rng.random() < 0.3
        version, changes = self.op + 1, []
        versions = list(file.versions)
        size = file.size
        for _ in range(self.rng.randrange(1, 4)):
            if not versions:
                break
            i = self.rng.randrange(len(versions))
            versions[i] = version
            changes.append((i * BLOCK, block_of(file.id, i, version)[:max(0, size - i * BLOCK)]))
        if self.rng.random() < 0.3 and size % BLOCK == 0:
            i = len(versions)
            versions.append(version)
            size += BLOCK
            changes.append((i * BLOCK, block_of(file.id, i, version)))

        def model():
            file.versions, file.size = versions, size
        # Its inode may be in no transaction when only data changed: an fsync promises no more than this file.
        self.do(mark, "write %s%s" % (path, " fsync" if sync else ""), lambda: self.write(path, 0, changes, None, sync), model,
                data=(file, sync))

    def op_rewrite(self, mark):
        path = self.pick("f")
        if not path:
            return
        file = self.files[self.tree[path][2]]
        sync = self.rng.random() < 0.4
        version = self.op + 1
        size = self.rng.choice([0, 50, 5000, 20000])
        versions = [version] * blocks(size)
        data = content(file.id, versions, size)
        file_before = file

        def model():
            file.versions, file.size = [], 0
            file.changed(self.op)
            file.versions, file.size = versions, size
        self.do(mark, "rewrite %s%s" % (path, " fsync" if sync else ""),
                lambda: self.write(path, os.O_TRUNC, [(0, data)], None, sync), model, data=(file_before, sync))

    def op_truncate(self, mark):
        path = self.pick("f")
        if not path:
            return
        file = self.files[self.tree[path][2]]
        if not file.versions:
            return
        size = self.rng.randrange(len(file.versions)) * BLOCK

        def model():
            file.size = min(size, file.size)
            file.versions = file.versions[:blocks(file.size)]
        self.do(mark, "truncate %s" % path, lambda: os.truncate(self.at(path), size), model, data=(file, False))

    def make(self, mark, path, sync):
        ident = len(self.files) + 1
        size = self.rng.choice([10, 4096, 20000, 70000])
        version = self.op + 1
        file = File(ident, 0, version, False)
        self.files[ident] = file
        data = content(ident, [version] * blocks(size), size)

        def model():
            self.tree[path] = ["f", 0o644, ident]
            file.size, file.versions = size, [version] * blocks(size)
        self.do(mark, "create %s%s" % (path, " fsync" if sync else ""),
                lambda: self.write(path, os.O_CREAT | os.O_EXCL, [(0, data)], None, sync), model, durable=sync, data=(file, sync))

    def op_create(self, mark):
        self.make(mark, self.new_name(), self.rng.random() < 0.5)

    def op_replace(self, mark):
        path = self.pick("f")
        if not path:
            return
        self.names += 1
        tmp = (os.path.dirname(path) + "/" if "/" in path else "") + "tmp%d" % self.names
        self.make(mark, tmp, True)
        self.do(mark, "rename %s %s" % (tmp, path), lambda: os.rename(self.at(tmp), self.at(path)), lambda: self.move(tmp, path))

    def op_rename(self, mark):
        a = self.pick("fl" if self.rng.random() < 0.5 else "d")
        if not a:
            return
        b = self.new_name()
        if self.rng.random() < 0.3 and self.tree[a][0] != "d":
            b = self.pick("fl")
        if b == a or b.startswith(a + "/") or a.startswith(b + "/"):
            return
        if b in self.tree and self.tree[b][0] == "f" == self.tree[a][0] and self.tree[a][2] == self.tree[b][2]:
            return
        self.do(mark, "rename %s %s" % (a, b), lambda: os.rename(self.at(a), self.at(b)), lambda: self.move(a, b))

    def op_exchange(self, mark):
        a, b = self.pick("fld"), self.pick("fld")
        if not a or a == b or b.startswith(a + "/") or a.startswith(b + "/"):
            return
        if self.tree[a][0] == "f" == self.tree[b][0] and self.tree[a][2] == self.tree[b][2]:
            return

        def call():
            if libc.renameat2(-100, self.at(a).encode(), -100, self.at(b).encode(), 2):
                err = ctypes.get_errno()
                raise OSError(err, os.strerror(err), "exchange %s %s" % (a, b))

        def model():
            self.move(a, "\0")
            self.move(b, a)
            self.move("\0", b)
        self.do(mark, "exchange %s %s" % (a, b), call, model)

    def op_chmod(self, mark):
        path = self.pick("fd")
        mode = self.rng.choice([0o600, 0o644, 0o755, 0o700])
        if path:
            self.do(mark, "chmod %s %o" % (path, mode), lambda: os.chmod(self.at(path), mode), lambda: self.set_mode(path, mode))

    def op_unlink(self, mark):
        path = self.pick("fl")
        if path:
            self.do(mark, "unlink " + path, lambda: os.unlink(self.at(path)), lambda: self.tree.pop(path))

    def op_link(self, mark):
        a = self.pick("f")
        if a:
            b = self.new_name()
            self.do(mark, "link %s %s" % (a, b), lambda: os.link(self.at(a), self.at(b)),
                    lambda: self.tree.__setitem__(b, list(self.tree[a])))

    def op_symlink(self, mark):
        path = self.new_name()
        self.do(mark, "symlink " + path, lambda: os.symlink("new%s" % path, self.at(path)),
                lambda: self.tree.__setitem__(path, ["l", "new" + path]))

    def op_mkdir(self, mark):
        path = self.new_name()
        self.do(mark, "mkdir " + path, lambda: os.mkdir(self.at(path), 0o755), lambda: self.tree.__setitem__(path, ["d", 0o755]))

    def op_rmdir(self, mark):
        top = self.pick("d")
        if not top or len(self.below(top)) > 12:
            return
        for path in sorted([top] + self.below(top), reverse=True):
            call = os.rmdir if self.tree[path][0] == "d" else os.unlink
            self.do(mark, "remove " + path, lambda: call(self.at(path)), lambda: self.tree.pop(path))
        if self.rng.random() < 0.5:
            self.do(mark, "mkdir " + top, lambda: os.mkdir(self.at(top), 0o755),
                    lambda: self.tree.__setitem__(top, ["d", 0o755]))

    def op_fsync(self, mark):
        path = self.pick("f")
        if not path:
            return
        file = self.files[self.tree[path][2]]

        def call():
            fd = os.open(self.at(path), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        self.do(mark, "fsync " + path, call, lambda: None, data=(file, True))

    OPS = [("write", 14), ("rewrite", 6), ("truncate", 3), ("create", 7), ("replace", 6), ("rename", 14), ("exchange", 4), ("chmod", 10),
           ("unlink", 6), ("link", 6), ("symlink", 2), ("mkdir", 3), ("rmdir", 5), ("fsync", 4)]

    def work(self, mark, count):
        self.snapshot()
        names = [n for n, w in self.OPS for _ in range(w)]
        while self.op < count:
            getattr(self, "op_" + self.rng.choice(names))(mark)


# --- what a union shows -------------------------------------------------------------------------------------------------


def listing(top):
    """path -> (lstat, bytes or link target)"""
    out, todo = {}, [""]
    while todo:
        d = todo.pop()
        for e in os.scandir(os.path.join(top, d)):
            path = os.path.join(d, e.name)
            # not scandir's: a name that is shown and cannot be reached is a fault
            st = os.lstat(os.path.join(top, path))
            data = None
            if stat.S_ISDIR(st.st_mode):
                todo.append(path)
            elif stat.S_ISLNK(st.st_mode):
                data = os.readlink(os.path.join(top, path))
            elif stat.S_ISREG(st.st_mode):
                with open(os.path.join(top, path), "rb") as f:
                    data = f.read()
            out[path] = (st, data)
    return out


def plain(tree):
    """what may be compared between two filesystems"""
    return {p: (oct(st.st_mode), st.st_uid, st.st_gid, 0 if stat.S_ISDIR(st.st_mode) else st.st_size,
                0 if stat.S_ISDIR(st.st_mode) else st.st_nlink, st.st_mtime_ns, data) for p, (st, data) in tree.items()}


class Bad(Exception):
    pass


class Checker:
    def __init__(self, work, args, layers):
        self.w, self.args, self.layers = work, args, layers

    def view(self, tree):
        """the tree in the model's terms; a file that is empty or begins with zeros has no number"""
        out = {}
        for p, (st, data) in tree.items():
            if stat.S_ISDIR(st.st_mode):
                out[p] = ("d", st.st_mode & 0o7777)
            elif stat.S_ISLNK(st.st_mode):
                out[p] = ("l", data)
            elif stat.S_ISREG(st.st_mode):
                ident = 0
                if data and data[:BLOCK].strip(b"\0"):
                    if data[:1] != b"F" or not data[1:7].isdigit() and len(data) > 1:
                        raise Bad("%s: not what any file holds: %r" % (p, data[:40]))
                    ident = int(data[1:7]) if len(data) >= 7 else 0
                out[p] = ("f", st.st_mode & 0o7777, ident)
            else:
                raise Bad("%s: of a strange kind, %o" % (p, st.st_mode))
        return out

    @staticmethod
    def same(a, b):
        if a == b:
            return True
        return bool(a and b and a[0] == b[0] == "f" and a[1] == b[1] and a[2] <= 0)

    def shows(self, view, j):
        """may this be what is there after operation j?"""
        want = self.w.snapshots[j]
        return all(self.same(view.get(p), want.get(p)) for p in set(view) | set(want) - {""})

    def check_names(self, view, begun, ended):
        first = max([d for d in self.w.durable if d <= ended] or [0])
        best, at = None, None
        for j in range(begun, first - 1, -1):
            want = self.w.snapshots[j]
            diff = [(p, view.get(p), want.get(p)) for p in set(view) | set(want) - {""}
                    if not self.same(view.get(p), want.get(p))]
            if not diff:
                return j
            if best is None or len(diff) < len(best):
                best, at = diff, j
        raise Bad("the names are those after no operation from %d to %d; nearest is %d:\n%s" % (first, begun, at, "\n".join(
            "    %s: is %s, should be %s" % d for d in sorted(best)[:12])))

    def check_data(self, tree, j, begun, ended):
        links = {}
        for p, e in self.w.snapshots[j].items():
            if e[0] == "f":
                links.setdefault(e[2], []).append(p)
        for ident, paths in links.items():
            low, high, versions = self.w.files[ident].allowed(begun, ended)
            inodes = set()
            for p in paths:
                st, data = tree[p]
                inodes.add(st.st_ino)
                if not low <= len(data) <= high:
                    raise Bad("%s: %d bytes, should be %d to %d" % (p, len(data), low, high))
                for i in range(blocks(len(data))):
                    have = data[i * BLOCK:(i + 1) * BLOCK]
                    if not any(have == (block_of(ident, i, v) if v >= 0 else bytes(BLOCK))[:len(have)] for v in versions.get(i, ())):
                        raise Bad("%s: block %d is %r, should be file %d, version %s" % (p, i, have[:24], ident, sorted(versions.get(i, ()))))
                if st.st_nlink != len(paths):
                    raise Bad("%s: %d links, the names are %s" % (p, st.st_nlink, paths))
                if data != tree[paths[0]][1]:
                    raise Bad("%s and %s are one file, but differ" % (p, paths[0]))
            if len(inodes) != 1:
                raise Bad("one file with %d inode numbers: %s" % (len(inodes), paths))

    def check_upper(self, upper, lowers):
        """whiteouts have something below them"""
        def walk(d, below):
            for e in os.scandir(d):
                st = e.stat(follow_symlinks=False)
                under = [os.path.join(b, e.name) for b in below]
                if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
                    if not any(os.path.lexists(u) for u in under):
                        raise Bad("a whiteout without a reason: %s" % os.path.relpath(e.path, upper))
                elif stat.S_ISDIR(st.st_mode):
                    if self.xattr(e.path, "opaque") == b"y":
                        under = []
                    redirect = self.xattr(e.path, "redirect")
                    if redirect:
                        r = os.fsdecode(redirect)
                        under = [lo + r for lo in lowers] if r.startswith("/") else [os.path.join(b, r) for b in below]
                    walk(e.path, [u for u in under if os.path.isdir(u) and not os.path.islink(u)])
        walk(upper, lowers)

    @staticmethod
    def xattr(path, name):
        try:
            return os.getxattr(path, "trusted.overlay." + name)
        except OSError:
            return None

    def check(self, disk, begun, ended):
        """disk: what is mounted there"""
        lowers = [os.path.join(disk, "l1"), os.path.join(disk, "l2")]
        upper, work = os.path.join(disk, "upper"), os.path.join(disk, "work")
        for lower, want in zip(lowers, self.layers):
            if plain(listing(lower)) != want:
                raise Bad("the lower layer %s is not what it was" % lower)
        union = os.path.join(self.args.dir, "again")
        os.makedirs(union, exist_ok=True)
        with Union(self.args, disk, union):
            left = [os.path.join(p, n) for p, ds, fs in os.walk(os.path.join(work, "work")) for n in ds + fs
                    if "incompat" not in p and n != "incompat" and not stat.S_ISCHR(os.lstat(os.path.join(p, n)).st_mode)]
            if left:
                raise Bad("left in work: %s" % left)
            tree = listing(union)
            self.seen = plain(tree)
            self.names = view = self.view(tree)
            j = self.check_names(view, begun, ended)
            self.check_data(tree, j, begun, ended)
        self.check_upper(upper, lowers)
        if self.args.kernel:
            mount("overlay", union, "overlay", 0, "lowerdir=%s:%s,upperdir=%s,workdir=%s,redirect_dir=on,index=on,xino=on,metacopy=%s" % (
                *lowers, upper, work, "on" if "metacopy=on" in self.args.options else "off"))
            try:
                other = plain(listing(union))
            finally:
                umount(union)
            mine = self.seen
            if other != mine:
                raise Bad("overlayfs shows another tree: %s" % [
                    (p, [x if not isinstance(x, bytes) else x[:20] for x in mine.get(p, ())],
                     [x if not isinstance(x, bytes) else x[:20] for x in other.get(p, ())])
                    for p in sorted(set(mine) | set(other)) if mine.get(p) != other.get(p)][:5])
        with Union(self.args, disk, union):
            for n in sorted(os.listdir(union)):
                run("rm", "-rf", os.path.join(union, n))
            if os.listdir(union):
                raise Bad("it cannot be emptied: %s" % os.listdir(union))
        with Union(self.args, disk, union):
            if os.listdir(union):
                raise Bad("it does not stay empty: %s" % os.listdir(union))
        for lower, want in zip(lowers, self.layers):
            if plain(listing(lower)) != want:
                raise Bad("the lower layer %s was changed after the crash" % lower)
        return j


class Union:
    def __init__(self, args, disk, where, under=()):
        self.args, self.where, self.disk, self.under = args, where, disk, list(under)

    def __enter__(self):
        d = self.disk
        opts = "lowerdir=%s/l1:%s/l2,upperdir=%s/upper,workdir=%s/work" % (d, d, d, d)
        if self.args.options:
            opts += "," + self.args.options
        self.log = open(os.path.join(self.args.dir, "plyfs.log"), "w+")
        before = self.mounts()
        self.daemon = subprocess.Popen(self.under + [self.args.plyfs, "-f", "-o", opts, self.where], stderr=self.log, stdout=self.log)
        while self.mounts() == before:
            if self.daemon.poll() is not None:
                self.log.seek(0)
                raise Bad("plyfs does not mount: " + self.log.read())
            time.sleep(0.005)
        return self

    def mounts(self):
        with open("/proc/self/mountinfo") as f:
            return sum(1 for line in f if line.split()[4] == self.where)

    def was_killed(self):
        self.daemon.wait()
        libc.umount2(self.where.encode(), 2)
        self.log.close()

    def __exit__(self, kind, value, trace):
        umount(self.where)
        rc = self.daemon.wait()
        self.log.seek(0)
        said = self.log.read()
        if kind is None and (rc or "WARN" in said or "Sanitizer" in said):
            raise Bad("plyfs ended with %s: %s" % (rc, said))


# --- the whole ------------------------------------------------------------------------------------------------------------


MKFS = {"ext4": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4"], "64M", "data=ordered,commit=1"), "xfs": (["mkfs.xfs", "-q", "-f"], "300M", "")}


def attach(image, where, kind, data):
    os.stat(image)  # a file of FUSE has no size before it is asked for it, and the loop device of older kernels does not ask
    loop = run("losetup", "-f", "--show", image).stdout.decode().strip()
    try:
        mount(loop, where, kind, 0, data or None)
    finally:
        # stays until it is unmounted
        run("losetup", "-d", loop)


def record(args, work, base):
    """the journal of the workload"""
    command, size, data = MKFS[args.fs]
    disk = os.path.join(args.dir, "disk")
    os.makedirs(disk, exist_ok=True)
    if os.path.exists(base):
        os.unlink(base)
    run("truncate", "-s", size, base)
    run(*command, base)
    attach(base, disk, args.fs, data)
    work.lowers, work.union = [os.path.join(disk, "l1"), os.path.join(disk, "l2")], os.path.join(args.dir, "union")
    work.make_lowers()
    for n in ("upper", "work"):
        os.mkdir(os.path.join(disk, n))
        os.chmod(os.path.join(disk, n), 0o755)
    os.makedirs(work.union, exist_ok=True)
    layers = [plain(listing(lower)) for lower in work.lowers]
    umount(disk)

    image, file, log = (os.path.join(args.dir, n) for n in ("image", "diskfile", "log"))
    shutil.copyfile(base, image)
    server = Disk(image, file, log)
    attach(file, disk, args.fs, data)
    with open(file, "r+b", 0) as marks:
        def mark(text):
            os.pwrite(marks.fileno(), text, MARKS)
        with Union(args, disk, work.union):
            mark(b"b 0 mounted")
            work.work(mark, args.ops)
            mark(b"end")
            live = Checker(work, args, layers).view(listing(work.union))
            want = {p: e for p, e in work.snapshots[-1].items() if p}
            if any(not Checker.same(live.get(p), want.get(p)) for p in set(live) | set(want)):
                raise Bad("the live tree is not the model's: a fault of this program, or of the union")
    umount(disk)
    for _ in range(100):
        try:
            umount(file)
            break
        except OSError:
            time.sleep(0.05)
    _, rc = os.waitpid(server.pid, 0)
    if rc:
        raise Bad("the disk ended with %d" % rc)
    os.unlink(image)
    return layers, log


def sectors(off, data):
    for i in range(0, len(data), BLOCK):
        yield off + i, data[i:i + BLOCK]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plyfs", required=True)
    p.add_argument("--dir", required=True)
    p.add_argument("--fs", default="ext4", choices=sorted(MKFS))
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ops", type=int, default=300)
    p.add_argument("--points", type=int, default=60)
    p.add_argument("--options", default="")
    p.add_argument("--kernel", action="store_true")
    p.add_argument("--only", type=int, help="this moment only")
    p.add_argument("--stop", action="store_true", help="a shell at a fault, where the disk is mounted")
    p.add_argument("--keep-going", action="store_true")
    args = p.parse_args()

    work = Work(None, None, args.seed, "index=off" not in args.options)
    base = os.path.join(args.dir, "base")
    layers, log = record(args, work, base)
    entries = list(log_read(log))
    end = next(i for i, (off, data) in enumerate(entries) if off >= MARKS and data == b"end")
    start = next(i for i, (off, _) in enumerate(entries) if off >= MARKS)
    print("%s, seed %d: %d operations, %d entries in the journal, %d flushes" % (
        args.fs, args.seed, work.op, len(entries), sum(1 for off, _ in entries[:end] if off == -1)))

    rng = random.Random(args.seed)
    moments = sorted(rng.sample(range(start, end + 1), min(args.points, end + 1 - start)))
    checker = Checker(work, args, layers)
    disk, crash = os.path.join(args.dir, "disk"), os.path.join(args.dir, "crash")
    command, _, data = MKFS[args.fs]
    durable = os.open(base, os.O_RDWR)
    pending, begun, ended, what, bad = [], 0, 0, "", 0
    position = 0
    for moment in moments:
        for off, d in entries[position:moment]:
            if off >= MARKS:
                word = d.split(b" ", 2)
                if word[0] == b"b":
                    begun, what = int(word[1]), d.decode()
                elif word[0] == b"e":
                    ended = int(word[1])
            elif off == -1:
                for o, x in pending:
                    os.pwrite(durable, x, o)
                pending = []
            else:
                pending += sectors(off, d)
        position = moment
        loss = rng.choice(["all", "none", "some"])
        kept = [x for x in pending if loss == "none" or (loss == "some" and rng.random() < 0.5)]
        if args.only is not None and moment != args.only:
            continue
        run("cp", "--sparse=always", base, crash)
        fd = os.open(crash, os.O_RDWR)
        for o, x in kept:
            os.pwrite(fd, x, o)
        os.close(fd)
        attach(crash, disk, args.fs, data)
        try:
            checker.check(disk, begun, ended)
        except (Bad, OSError, subprocess.CalledProcessError) as e:
            print("FAULT at entry %d, of %d unflushed sectors lost: %s, in operation %s, ended %d:\n  %s" % (
                moment, len(pending), loss, what, ended, e))
            for n in range(max(1, begun - 6), begun + 1):
                print("   ", next(d.decode() for off, d in entries if off >= MARKS and d.startswith(b"b %d " % n)))
            bad += 1
            if args.stop:
                subprocess.call(["sh"], cwd=disk)
            if not args.keep_going:
                return 1
        finally:
            umount(disk)
    print("%d moments, %d faults" % (len(moments), bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
