# SPDX-License-Identifier: GPL-2.0-or-later
"""How the time of one operation grows: with the layers, with the names in a directory, with the inodes in the caches."""
import os
import random
import shutil
import statistics

from layers import SEED, Missing
from measure import Session
from peers import PeerError
from workloads import SPECIAL, Scenario

POINTS = {
    "full": {"layers": (1, 10, 50, 100, 200, 500), "names": (1000, 10000, 100000, 1000000), "inodes": (10000, 100000, 1000000)},
    "quick": {"layers": (1, 10, 100, 500), "names": (1000, 10000, 100000), "inodes": (10000, 100000)},
    "smoke": {"layers": (1, 4), "names": (20, 40), "inodes": (20, 40)},
}
WHAT = {
    "layers": "a name, and an absent name, looked up once in a directory merged from all layers",
    "names": "looking up names of one big directory, merged from two layers, and listing one that was not looked at before",
    "inodes": "stat of a new name, and open + close of a known file, with so many inodes in the caches",
}
# native: the same in one plain directory. What grows there grows everywhere.
PEERS = ("native", "overlay", "plyfs", "fuse-overlayfs", "mergerfs")
# As many operations at each point, so that a cost at the first of them weighs the same; the median of the rounds is shown.
PROBES = 1000
ROUNDS = 5
BIG = 1000000


def most_inodes():
    """As many as fit in memory: the kernel keeps one of the layer and one of the union for each."""
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable:")) * 1024 // 6000


class Curves:
    def __init__(self, layers, mode, peers, say):
        self.layers, self.mode, self.say = layers, mode, say
        self.peers = [p for p in peers if p.name in PEERS or p.name not in SPECIAL | {"floor"}]
        self.samples = {}
        self.errors = {}
        self.points = {which: [x for x in xs if x <= most_inodes()] for which, xs in POINTS[mode].items()}
        self.probes = min(PROBES, POINTS[mode]["names"][0])

    def add(self, what, peer, x, value):
        self.samples.setdefault((what, peer), {}).setdefault(x, []).append(value)

    def each(self, stack, x, run, flat):
        """Mount every peer over that stack of layers, some rounds. flat: the same as a plain directory."""
        for r in range(ROUNDS if self.mode == "full" and x < BIG else 1):
            for i in range(len(self.peers)):
                peer = self.peers[(i + r) % len(self.peers)]
                scenario = Scenario("curve", lambda c, p=peer.name: run(c, p), [], stack=stack, flat=flat)
                try:
                    with Session(self.layers, scenario, peer, self.mode, set(), None) as c:
                        run(c, peer.name)
                except (PeerError, Missing, OSError) as e:
                    self.errors.setdefault(peer.name, f"at {x}: {e}")

    def layers_curve(self):
        for x in self.points["layers"]:
            self.say(f"curve: {x} layers")
            stack = f"c{x}"
            self.layers.stack(stack, x, self.probes)
            flat = stack + "-flat"
            os.makedirs(self.layers.path(flat, "d"))
            self.layers.create(self.layers.path(flat), stack)

            def run(c, peer, x=x, stack=stack):
                self.add("stat", peer, x, c.loops("stat", stack, each=True))
                self.add("absent", peer, x, c.loops("absent", stack + "-absent", each=True))
            self.each(stack, x, run, flat)
            for d in (stack, flat):
                shutil.rmtree(self.layers.path(d))

    def big_directory(self, name, x):
        """Two layers with one directory d: on top some names, below x."""
        for i in ("0", "1"):
            os.makedirs(self.layers.path(name, i, "d"))
        self.layers.write_list(name + "-top", (f"d/top{i}" for i in range(10)))
        self.layers.write_list(name + "-all", (f"d/name{i:07}" for i in range(x)))
        for i, which in (("0", "-top"), ("1", "-all")):
            self.layers.create(self.layers.path(name, i), name + which)
        rnd = random.Random(f"{SEED} {x}")
        picked = rnd.sample(range(x), min(self.probes, x))
        self.layers.write_list(name, (f"d/name{i:07}" for i in picked))
        self.layers.write_list(name + "-absent", (f"d/name{i:07}.absent" for i in picked))
        self.layers.write_list(name + "-dir", ["d"])

    def names_curve(self):
        for x in self.points["names"]:
            self.say(f"curve: {x} names in a directory")
            stack = f"n{x}"
            self.big_directory(stack, x)

            def run(c, peer, x=x, stack=stack):
                self.add("stat", peer, x, c.loops("stat", stack, each=True))
                self.add("absent", peer, x, c.loops("absent", stack + "-absent", each=True))

            # Mounted anew: of the smallest directory all names are known by now.
            def run_list(c, peer, x=x, stack=stack):
                self.add("list", peer, x, c.loops("list", stack + "-dir", each=True))
            for what in (run, run_list):
                self.each(stack, x, what, stack + "/1")
            self.layers.remove(stack)

    def inodes_curve(self):
        top = max(self.points["inodes"])
        stack = "i"
        self.say(f"curve: {top} inodes in the caches")
        for i in ("0", "1"):
            os.makedirs(self.layers.path(stack, i))
        per = 1000
        names = [f"d{i // per:04}/f{i % per:03}" for i in range(top)]
        for d in range((top + per - 1) // per):
            os.mkdir(self.layers.path(stack, "1", f"d{d:04}"))
        self.layers.write_list("i-all", names)
        self.layers.create(self.layers.path(stack, "1"), "i-all")
        steps = self.points["inodes"]
        # So many inodes take long to come together: the rounds are in one mount.
        for x in steps:
            for r in range(ROUNDS):
                new = f"p{x}-{r}"
                self.layers.write_list(f"i-new{x}-{r}", (f"{new}/new{i}" for i in range(self.probes)))
                os.mkdir(self.layers.path(stack, "1", new))
                self.layers.create(self.layers.path(stack, "1"), f"i-new{x}-{r}")
                known = random.Random(f"{SEED} {x} {r}").sample(names[:x], min(self.probes, x))
                self.layers.write_list(f"i-known{x}-{r}", known)
            self.layers.write_list(f"i-walk{x}", names[:x])

        def run(c, peer):
            for x in steps:
                c.loops("stat", f"i-walk{x}")
                c.settle()
                for r in range(ROUNDS):
                    self.add("stat", peer, x, c.loops("stat", f"i-new{x}-{r}", each=True))
                    self.add("open", peer, x, c.loops("open", f"i-known{x}-{r}", each=True))
        self.each(stack, top, run, stack + "/1")
        self.layers.remove(stack)

    def measure(self, which):
        self.samples, self.errors = {}, {}
        getattr(self, which + "_curve")()
        xs = self.points[which]
        series = []
        for (what, peer), points in self.samples.items():
            y = [statistics.median(points[x]) if x in points else None for x in xs]
            there = [v for v in y if v]
            series.append({"what": what, "peer": peer, "y": y, "growth": max(there) / there[0] if there else 0})
            if peer in self.errors:
                series[-1]["error"] = self.errors[peer]
        for peer, why in self.errors.items():
            if not any(s["peer"] == peer for s in series):
                series.append({"what": "all", "peer": peer, "y": [None] * len(xs), "growth": 0, "error": why})
        return {"what": WHAT[which], "x": list(xs), "series": series}
