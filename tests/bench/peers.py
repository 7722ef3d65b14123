# SPDX-License-Identifier: GPL-2.0-or-later
"""The filesystems that are measured: how each is mounted, watched and taken away again."""
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

from workloads import FLOOR

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
# A daemon that has not mounted after so many seconds is reported as failed.
MOUNT_LIMIT = 60


class PeerError(Exception):
    """The peer cannot do what was asked: told as such in the results, in place of a number."""


def first_line(argv):
    try:
        out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    for line in out.decode(errors="replace").splitlines():
        # fuse-overlayfs speaks of fusermount first
        if re.search(r"\d+\.\d+", line) and not line.startswith("fusermount"):
            return line.strip()
    return ""


def is_mounted(target):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
        return any(line.split()[4] == target for line in f)


def die_with_parent():
    # If the benchmark is killed, its daemons end too, and with them its mount namespace.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def cpu_of(pid):
    """Processor seconds of a process with all its threads, those that have ended too: its own clock, clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


class Place:
    """Where one mount lives: its layers (top first), relative to cwd, which is short where there are hundreds; upper, work,
    target and the log of the daemon, absolute; flat, the same tree as a plain directory."""

    def __init__(self, cwd, lowers, upper, work, target, log, flat):
        self.cwd, self.lowers, self.upper, self.work, self.target, self.log, self.flat = cwd, lowers, upper, work, target, log, flat


class Peer:
    """A filesystem that a program serves, started in the foreground."""

    daemon = None
    version = ""

    def __init__(self, name, command, title=None, options=""):
        self.name, self.command, self.title, self.options = name, command, title or name, options

    def available(self):
        return ""

    def argv(self, place, options):
        values = {
            "lower": ":".join(place.lowers),
            "lowers": place.lowers,
            "upper": place.upper,
            "work": place.work,
            "target": place.target,
            "options": "".join("," + o for o in (self.options, options) if o),
        }
        return [word.format(**values) for word in self.command]

    def mount(self, place, options=""):
        argv = self.argv(place, options)
        with open(place.log, "wb") as log:
            # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
            self.daemon = subprocess.Popen(argv, cwd=place.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           preexec_fn=die_with_parent)
        until = time.monotonic() + MOUNT_LIMIT
        ended = None
        while not is_mounted(place.target):
            # A daemon that goes to the background by itself ends with 0 before, or just after, the mount is there.
            if ended is None:
                ended = self.daemon.poll()
                if ended == 0:
                    until = min(until, time.monotonic() + 5)
            if ended or time.monotonic() > until:
                why = self.last_words(place)
                self.stop()
                raise PeerError(f"does not mount: {why or 'no mount, no message'}")
            time.sleep(0.002)

    @staticmethod
    def last_words(place):
        with open(place.log, encoding="utf-8", errors="replace") as f:
            lines = [x.strip() for x in f if x.strip()]
        return lines[-1][:200] if lines else ""

    def stop(self):
        if self.daemon is None:
            return
        try:
            self.daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.daemon = None

    def umount(self, place):
        for _ in range(50):
            if not is_mounted(place.target):
                break
            if subprocess.run(["umount", "-i", place.target], stderr=subprocess.DEVNULL, check=False).returncode:
                time.sleep(0.1)
        else:
            subprocess.run(["umount", "-i", "-l", place.target], check=False)
        self.stop()

    def pid(self):
        """The process that serves, while it is our child."""
        return self.daemon.pid if self.daemon is not None and self.daemon.poll() is None else None

    def cpu(self):
        return cpu_of(self.pid()) if self.pid() else 0.0

    def requests(self, _place):
        """Requests so far by opcode, where the peer can tell."""
        return None

    @staticmethod
    def serves(_row):
        """Whether a row of the table can be measured with it."""
        return True


class Plyfs(Peer):
    def __init__(self, name, build, options=""):
        self.program = os.path.join(build, "plyfs")
        self.ctl = os.path.join(build, "plyctl")
        super().__init__(name, [self.program, "-f", "-o", "lowerdir={lower},upperdir={upper},workdir={work}{options}",
                                "{target}"], options=options)

    def available(self):
        if not os.access(self.program, os.X_OK):
            return f"there is no {self.program}: build it, or give --build"
        self.version = first_line([self.program, "--version"])
        return ""

    def requests(self, place):
        done = subprocess.run([self.ctl, "status", "--json", place.target], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
        try:
            return json.loads(done.stdout)[0]["requests"]
        except (ValueError, KeyError, IndexError):
            return None


class Program(Peer):
    """A peer that is a program of the system."""

    def available(self):
        if not shutil.which(self.command[0]):
            return f"{self.command[0]} is not installed"
        self.version = first_line([self.command[0], "--version"])
        return ""


class Mergerfs(Program):
    def argv(self, place, options):
        if options:
            raise PeerError(f"has no option {options}")
        branches = ":".join([f"{place.upper}=RW"] + [f"{os.path.join(place.cwd, p)}=RO" for p in place.lowers])
        # As its manual recommends for use as a root filesystem or with programs that map files.
        return [*self.command, "-f", "-o", "category.create=ff,func.getattr=newest,cache.files=auto-full,use_ino", branches,
                place.target]


class Overlay(Peer):
    """The kernel's overlayfs: what the ratios are to."""

    def __init__(self, name="overlay", options=""):
        super().__init__(name, ["mount", "-i", "-t", "overlay", "overlay", "-o",
                                "lowerdir={lower},upperdir={upper},workdir={work}{options}", "{target}"], options=options)

    def available(self):
        self.version = "Linux " + os.uname().release
        with open("/proc/filesystems", encoding="ascii") as f:
            if re.search(r"\boverlay$", f.read(), re.M):
                return ""
        if subprocess.run(["modprobe", "overlay"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return ""
        return "this kernel has no overlayfs"

    def mount(self, place, options=""):
        done = subprocess.run(self.argv(place, options), cwd=place.cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        if done.returncode:
            raise PeerError("does not mount: " + done.stdout.decode(errors="replace").strip()[:200])


class Floor(Peer):
    """What the protocol costs: floor.c. Not a filesystem to use, so it serves some rows only (workloads.FLOOR)."""

    def __init__(self, name, program, *flags):
        # A tool of the benchmark is found, or built, only when it is needed: program() is its path.
        self.program = program
        super().__init__(name, ["", *flags, "{lower}", "{upper}", "{work}", "{target}"])

    def available(self):
        self.command[0] = self.program()
        self.version = "what the protocol costs"
        return ""

    @staticmethod
    def serves(row):
        return row in FLOOR


class Native(Peer):
    """The same tree as one plain directory, bound to the target."""

    def __init__(self):
        super().__init__("native", ["mount", "--bind", "flat", "{target}"])

    def mount(self, place, options=""):
        subprocess.run(["mount", "--bind", place.flat, place.target], check=True)


def make_peers(build, wanted, extra, floor, without=()):
    """Those that were asked for; what is missing here is told, and is an error only where it was named. floor: see Floor."""
    known = [
        Native(),
        Overlay(),
        Overlay("overlay-metacopy", "metacopy=on"),
        Plyfs("plyfs", build),
        Floor("floor", floor),
        Floor("floor-stat", floor, "-s"),
        Floor("floor-threads", floor, "-t", "8"),
        Plyfs("plyfs-full", build, "passthrough=full"),
        Plyfs("plyfs-off", build, "passthrough=off"),
        Plyfs("plyfs-nosync", build, "fsync=0"),
        Program("fuse-overlayfs", ["fuse-overlayfs", "-f", "-o", "lowerdir={lower},upperdir={upper},workdir={work}{options}",
                                   "{target}"]),
        Mergerfs("mergerfs", ["mergerfs"]),
    ]
    for line in extra:
        name, _, command = line.partition("=")
        if not name or not command:
            raise SystemExit(f"run: --peer wants NAME=COMMAND, not '{line}'")
        words = shlex.split(command)
        try:
            [w.format(lower="", lowers=[], upper="", work="", target="", options="") for w in words]
        except (KeyError, IndexError, ValueError):
            raise SystemExit(f"run: --peer {name}: braces other than {{lower}} {{upper}} {{work}} {{target}} {{options}}") from None
        known.append(Program(name, words))
    names = [p.name for p in known]
    for name in wanted or []:
        if name not in names:
            raise SystemExit(f"run: no peer '{name}'; there are: {' '.join(names)}")
    peers, missing = [], {}
    for p in known:
        if p.name not in wanted if wanted else p.name in without:
            continue
        why = p.available()
        if why:
            missing[p.name] = why
            if p.name in (wanted or ["plyfs"]):
                raise SystemExit(f"run: {p.name}: {why}")
        else:
            peers.append(p)
    return peers, missing
