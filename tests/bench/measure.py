# SPDX-License-Identifier: GPL-2.0-or-later
"""One peer, mounted once: what the scenarios measure with."""
import errno
import json
import os
import resource
import shutil
import subprocess
import time

from layers import LOWERS, Missing, drop_caches, run
from peers import PeerError, Place

# What does not end in so many seconds is a failure of the peer, not a number.
LIMIT = 600


def children_cpu():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def private_bytes(pid):
    """Memory that would be free if the process were not there."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            if line.startswith(("Private_Clean:", "Private_Dirty:", "SwapPss:")):
                total += int(line.split()[1]) * 1024
    return total


class Session:
    """Mounts a peer for a scenario, runs it, takes all away again. sink(row, sample or error) gets the results."""

    def __init__(self, layers, scenario, peer, mode, selected, sink, count_requests=False):
        self.layers, self.scenario, self.peer, self.mode = layers, scenario, peer, mode
        self.selected, self.sink, self.count_requests = selected, sink, count_requests
        self.size = layers.size
        self.own_cpu = None
        self.own = self.place = self.target = None

    # --- the mount ---

    def __enter__(self):
        layers, scenario = self.layers, self.scenario
        self.own = layers.new_place()
        # Layers and upper of a scenario that has a filesystem of its own are there.
        top = layers.path(scenario.place) if scenario.place else layers.top
        lowers, cwd, flat = list(LOWERS), top, layers.path(scenario.flat)
        if scenario.stack:
            cwd = layers.path(scenario.stack)
            lowers = [str(i) for i in range(len(os.listdir(cwd)))]
        if self.peer.name == "native" and scenario.writes:
            flat = os.path.join(self.own, "flat")
            os.mkdir(flat)
            for part in scenario.parts:
                layers.flatten(part, flat)
        self.target = layers.path("mnt")
        self.place = Place(cwd, lowers, os.path.join(top if scenario.place else self.own, "upper"),
                           os.path.join(top if scenario.place else self.own, "work"), self.target, layers.path("daemon.log"), flat)
        for d in (self.place.upper, self.place.work, self.target):
            os.makedirs(d, exist_ok=True)
        os.chmod(self.place.upper, 0o755)
        try:
            self.peer.mount(self.place, scenario.options.get(self.peer.name, ""))
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, *_):
        self.peer.umount(self.place)
        self.leave()

    def leave(self):
        if self.scenario.place:
            subprocess.run(["rm", "-rf", "--one-file-system", self.place.upper, self.place.work], check=False)
        self.layers.retire(self.own)

    def run(self):
        try:
            with self:
                self.scenario.run(self)
        except Missing as e:
            self.fail(e)
        except (PeerError, OSError) as e:
            self.fail(str(e))

    def fail(self, why):
        """Rows that have no result yet have this one."""
        for row in self.scenario.rows:
            if self.wants(row):
                self.sink(row, why)

    # --- what scenarios call ---

    def wants(self, row):
        return row in self.selected and self.peer.serves(row)

    def row(self, row, measure, cold=None, warm=False, needed=False, times=None):
        """Measure one row. cold: drop the caches first, but have these programs read; warm: once before without a clock, then
        the median of some. needed: later rows need what it does."""
        times = times or (self.size["inner"] if warm else 1)
        shown = self.wants(row)
        if not shown and not needed:
            return
        try:
            if warm:
                measure()
            if self.mode != "smoke":
                if cold is None:
                    os.sync()
                else:
                    drop_caches()
                    for program in cold:
                        subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                    subprocess.run([self.layers.loops, "stat", "/dev/null"], stdout=subprocess.DEVNULL, check=False)
            self.settle()
            requests = self.peer.requests(self.place) if self.count_requests else None
            samples = []
            for _ in range(times):
                self.own_cpu = None
                client, daemon = children_cpu(), self.peer.cpu()
                value = measure()
                client = children_cpu() - client if self.own_cpu is None else self.own_cpu
                samples.append((value, client + self.peer.cpu() - daemon))
            sample = sorted(samples)[len(samples) // 2]
            result = {"value": sample[0], "cpu": sample[1]}
            if requests is not None:
                after = self.peer.requests(self.place) or requests
                result["requests"] = {k: round((after[k] - requests.get(k, 0)) / len(samples), 1) for k in after
                                      if after[k] - requests.get(k, 0) > 0}
        # A daemon that has died shows as an error of whatever comes next.
        except (PeerError, OSError) as e:
            result = str(e)
        except Missing as e:
            result = e
        if shown:
            self.sink(row, result)

    def settle(self):
        """Until a daemon is idle: it may still be told which inodes were forgotten."""
        until = time.monotonic() + 10
        used = self.peer.cpu()
        while self.peer.pid() and self.mode != "smoke" and time.monotonic() < until:
            time.sleep(0.03)
            now = self.peer.cpu()
            if now - used < 0.0005:
                break
            used = now

    def start(self, argv, stdin=None, stdout=subprocess.DEVNULL):
        """Run a program in the mount to its end; its standard output, and the seconds it took."""
        begin = time.monotonic()
        try:
            with subprocess.Popen(argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=stdout,
                                  stderr=subprocess.PIPE, cwd=self.target, env=self.layers.env) as p:
                try:
                    out, err = p.communicate(stdin, timeout=LIMIT)
                    took = time.monotonic() - begin
                except BaseException as e:
                    # Who waits for a daemon that gives no answer cannot be killed before it.
                    if self.peer.pid() and isinstance(e, subprocess.TimeoutExpired):
                        self.peer.daemon.kill()
                    p.kill()
                    raise
        except subprocess.TimeoutExpired:
            raise PeerError(f"{os.path.basename(argv[0])}: not done after {LIMIT} s") from None
        if p.returncode:
            lines = err.decode(errors="replace").strip().splitlines() or [f"status {p.returncode}"]
            raise PeerError(f"{os.path.basename(argv[0])}: {lines[0][:200]}")
        return out, took

    def do(self, *argv):
        """Something that is not measured, and must work."""
        self.start(argv)

    def cmd(self, *argv, stdin=None):
        self.need(argv[0])
        return self.start(argv, stdin=stdin.encode() if stdin else None)[1]

    @staticmethod
    def need(program):
        if not shutil.which(program):
            raise Missing(f"{program} is not installed")

    def pipe(self, line):
        return self.start(["bash", "-c", "set -o pipefail; " + line])[1]

    def loops(self, operation, names, threads=1, each=False):
        """Seconds for all names of a list, or microseconds for each."""
        out, _ = self.start([self.layers.loops, "-t", str(threads), operation, self.layers.list(names)], stdout=subprocess.PIPE)
        nano, cpu, count = (int(x) for x in out.split())
        self.own_cpu = cpu / 1e9
        return nano / 1e3 / max(count, 1) if each else nano / 1e9

    def fio(self, path, *args, loops=1):
        self.need("fio")
        argv = ["fio", "--name=j", "--filename=" + path, "--invalidate=0", "--fallocate=none", "--output-format=json",
                "--randseed=1", "--disk_util=0", "--clocksource=clock_gettime", "--eta=never", f"--loops={loops}", *args]
        if not any(a.startswith("--size") for a in args):
            argv.append(f"--size={self.size['big']}M")
        if not any(a.startswith("--ioengine") for a in args):
            argv.append("--ioengine=psync")
        out, _ = self.start(argv, stdout=subprocess.PIPE)
        try:
            job = json.loads(out[out.index(b"{"):])["jobs"][0]
        except ValueError:
            raise PeerError("fio: " + out.decode(errors="replace").strip()[:200]) from None
        wall = job["job_runtime"] / 1000
        # fio's clock has milliseconds; the runtime of the direction that moved data is that of all jobs together.
        for way in ("read", "write"):
            if job[way]["io_bytes"]:
                wall = job[way]["io_bytes"] / max(job[way]["bw_bytes"], 1)
        self.own_cpu = job["job_runtime"] / 1000 * (job["usr_cpu"] + job["sys_cpu"]) / 100 / loops
        return wall / loops

    def page_cache(self, path):
        """Bytes in the page cache, of the file seen and of the file below it, for each byte read."""
        self.start(["dd", "if=" + path, "of=/dev/null", "bs=1M"])
        paths = [os.path.join(self.target, path)]
        if self.peer.name != "native":
            paths.append(os.path.join(self.place.upper, path))
        with open(self.layers.list("pages"), "w", encoding="utf-8") as f:
            f.writelines(p + "\n" for p in paths)
        try:
            out, _ = self.start([self.layers.loops, "cached", self.layers.list("pages")], stdout=subprocess.PIPE)
        except PeerError as e:
            if "cachestat" in str(e) and os.strerror(errno.ENOSYS) in str(e):
                raise Missing("this kernel has no cachestat()") from None
            raise
        return int(out.split()[0]) / os.stat(paths[0]).st_size

    def memory_per_inode(self, path, names):
        """Private bytes of the daemon for each inode that the kernel knows of."""
        pid = self.peer.pid()
        if pid is None:
            raise PeerError("no process of which the memory is known")
        before = private_bytes(pid)
        # -size makes find look at each
        self.start(["find", path, "-size", "+9"])
        self.settle()
        with open(self.layers.list(names), encoding="ascii") as f:
            count = sum(1 for _ in f)
        return (private_bytes(pid) - before) / count


def reflink_place(layers):
    """A filesystem with reflinks in a file, with a copy of the lower layers that the scenario needs."""
    top = layers.path("reflink")
    image = layers.path("reflink.img")
    os.makedirs(top)
    # sparse; mkfs.xfs wants 300 MiB at least
    with open(image, "wb") as f:
        f.truncate((layers.size["copyup"] * 3 + 512) << 20)
    why = []
    for kind, argv in (("xfs", ["mkfs.xfs", "-q", "-m", "reflink=1", image]), ("btrfs", ["mkfs.btrfs", "-q", image])):
        try:
            if not shutil.which(argv[0]):
                raise Missing(f"{argv[0]} is not installed")
            run(argv)
            run(["mount", "-o", "loop", image, top])
            break
        except Missing as e:
            why.append(f"{kind}: {e}")
    else:
        raise Missing("no filesystem with reflinks: " + "; ".join(why))
    for layer in LOWERS:
        os.mkdir(os.path.join(top, layer))
    run(["cp", "-a", layers.path("l3", "copyup"), os.path.join(top, "l3")])
    return kind
