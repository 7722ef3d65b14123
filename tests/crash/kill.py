#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon is killed in front of each of its system calls that change something; or each of them fails.

    kill.py --plyfs PROGRAM --killat PROGRAM --dir DIR [--seed N] [--ops N] [--options OPTS] [--kernel] [--errno ENOSPC]

The workload of power.py. Each operation is done again and again on the same layers, and the daemon is killed in front of the first,
second, third... such call that it makes for it, until it comes through. After each kill a new daemon finds what power.py wants to
find: names as before or after the operation, files whole, no leftovers, overlayfs sees the same.

To be run as root in a mount namespace of its own."""

import argparse
import errno
import mmap
import os
import struct
import subprocess
import sys

import power
from power import Bad, Checker, Union, listing, plain, run, umount


class Killer(power.Work):
    def __init__(self, args, seed):
        super().__init__(None, None, seed, "index=off" not in args.options)
        self.args, self.kills, self.bad, self.what = args, 0, 0, []
        self.disk = os.path.join(args.dir, "disk")
        self.saved = os.path.join(args.dir, "saved")
        self.counter = os.path.join(args.dir, "counter")
        with open(self.counter, "wb") as f:
            f.write(bytes(12) + struct.pack("=I", getattr(errno, args.errno) if args.errno else 0))
        with open(self.counter, "r+b") as f:
            self.count = mmap.mmap(f.fileno(), 16)

    def arm(self, n):
        self.count[0:4] = struct.pack("=I", n)

    def save(self):
        run("rm", "-rf", self.saved)
        os.mkdir(self.saved)
        # in one go, so that hard links between the two stay
        run("cp", "-a", os.path.join(self.disk, "upper"), os.path.join(self.disk, "work"), self.saved)

    def restore(self):
        for n in ("upper", "work"):
            # the root stays: overlayfs has its handle in the index
            run("find", os.path.join(self.disk, n), "-mindepth", "1", "-delete")
        run("cp", "-a", os.path.join(self.saved, "upper"), os.path.join(self.saved, "work"), self.disk)

    def attempt(self, n, call):
        """True: done. False: it happened; self.failure, and self.live: the tree as the daemon that was not killed shows it."""
        u = Union(self.args, self.disk, self.union, [self.args.killat, self.counter])
        u.__enter__()
        self.arm(n)
        failure = None
        try:
            call()
        except OSError as e:
            failure = e
        self.arm(0)
        self.failure = failure
        if self.count[8]:
            self.count[8] = 0
            if self.args.errno:
                self.live = plain(listing(self.union))
                u.__exit__(None, None, None)
            else:
                u.was_killed()
            return False
        if failure:
            u.__exit__(OSError, failure, None)
            raise failure
        u.__exit__(None, None, None)
        return True

    def judge(self, atomic):
        # a directory's times are put back after a copy-up as well as can be, by overlayfs too
        live, again = ({p: v[:5] + (v[6] if v[0][2:4] == "40" else v[5:],) for p, v in t.items()} for t in (self.live, self.checker.seen))
        if live != again:
            raise Bad("the live tree was another than that after a remount: %s" % [
                (p, live.get(p), again.get(p)) for p in sorted(set(live) | set(again)) if live.get(p) != again.get(p)][:3])
        if not self.failure and not self.checker.shows(self.checker.names, self.op):
            raise Bad("it said that it was done")
        if self.failure and atomic and not self.checker.shows(self.checker.names, self.op - 1):
            raise Bad("it failed, and was done: %s" % self.failure)

    def do(self, mark, what, call, model, durable=False, data=None):
        before = self.op
        self.op += 1
        self.what.append(what)
        model()
        if data and data[0]:
            data[0].changed(self.op)
        self.snapshot()
        self.durable.append(before)
        self.save()
        n = 1
        while not self.attempt(n, call):
            self.kills += 1
            try:
                self.checker.check(self.disk, self.op, before)
                if self.args.errno:
                    # what is opened, written and synced may fail in its second step
                    self.judge(data is None)
            except (Bad, OSError, subprocess.CalledProcessError) as e:
                self.bad += 1
                print("FAULT: at call %d of: %s\n  %s" % (n, what, e))
                for w in self.what[-8:-1]:
                    print("    before:", w)
                if self.bad > 5:
                    raise
            self.restore()
            n += 1
        for file in self.files.values():
            if file.history[-1][0] == self.op:
                file.was_synced(self.op)

    def go(self):
        os.makedirs(self.disk, exist_ok=True)
        os.makedirs(self.union, exist_ok=True)
        self.lowers = [os.path.join(self.disk, "l1"), os.path.join(self.disk, "l2")]
        self.make_lowers()
        for n in ("upper", "work"):
            os.mkdir(os.path.join(self.disk, n))
        self.checker = Checker(self, self.args, [plain(listing(lower)) for lower in self.lowers])
        self.work(None, self.args.ops)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plyfs", required=True)
    p.add_argument("--killat", required=True)
    p.add_argument("--dir", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ops", type=int, default=20)
    p.add_argument("--options", default="")
    p.add_argument("--kernel", action="store_true")
    p.add_argument("--errno", default="")
    args = p.parse_args()
    w = Killer(args, args.seed)
    w.union = os.path.join(args.dir, "union")
    try:
        w.go()
    except Bad as e:
        print("FAULT: %s, after: %s" % (e, w.what[-8:]))
        w.bad += 1
    print("%d operations, %d times, %d faults" % (w.op, w.kills, w.bad))
    return 1 if w.bad else 0


if __name__ == "__main__":
    sys.exit(main())
