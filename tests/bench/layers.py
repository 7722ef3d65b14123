# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers that are measured, made from a fixed seed: the same names, sizes and bytes on every machine."""
import fcntl
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

SEED = 6021
LOWERS = ("l1", "l2", "l3")  # top first

SIZES = {
    "full": {"tree": 20000, "package": 5000, "rename": 3000, "big": 256, "writes": 64, "copyup": 1024, "git": 5000,
             "npm": 20000, "threads": 8000, "layers": 200, "names": 2000, "memory": 100000, "rows": 50000, "commits": 200,
             "deb": 3000, "sources": 60, "inner": 3},
    "quick": {"tree": 20000, "package": 5000, "rename": 3000, "big": 128, "writes": 64, "copyup": 1024, "git": 3000,
              "npm": 5000, "threads": 8000, "layers": 200, "names": 2000, "memory": 50000, "rows": 20000, "commits": 100,
              "deb": 1000, "sources": 30, "inner": 3},
    "smoke": {"tree": 200, "package": 40, "rename": 20, "big": 2, "writes": 1, "copyup": 4, "git": 40, "npm": 60,
              "threads": 80, "layers": 12, "names": 24, "memory": 2000, "rows": 100, "commits": 3, "deb": 20, "sources": 3,
              "inner": 1},
}


# linux/fs.h
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x20000
# With less than this a session may have no room: what earlier ones have left is removed.
LEAST_BYTES, LEAST_INODES = 2 << 30, 100000


class Missing(Exception):
    """A part of the layers cannot be made on this machine."""


def run(argv, **kw):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **kw)
    if done.returncode:
        last = (done.stdout.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise Missing(f"{os.path.basename(argv[0])}: {last[:200]}")
    return done.stdout


def need(*commands):
    for c in commands:
        if not shutil.which(c):
            raise Missing(f"{c} is not installed")


def drop_caches():
    """Twice: what was used since the last time is spared once."""
    os.sync()
    for _ in range(2):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")


def remove(paths):
    """Several at a time: where the disk is told of each block that is free, this is waiting."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: subprocess.run(["rm", "-rf", "--one-file-system", path], check=False), paths))


def spread(directory):
    """Have ext4 make the directories in this one far apart, where few are. Whether this filesystem knows that."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags, = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(struct.calcsize("l"))))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags | FS_TOPDIR_FL))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


GIT_ENV = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@localhost",
           "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@localhost",
           "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z", "GIT_OPTIONAL_LOCKS": "1"}


class Layers:
    """What stands in `top`: l1 l2 l3 (lower layers), flat (the same as one directory), lists (names for loops), src, and a
    place for each session.

    ext4 without a journal does not take an inode again that was freed within the last minute, or six if that is not written yet,
    as long as it has its block in memory (recently_deleted()). It looks at each again at every creation near them: where a tree
    was removed a file takes up to 250 microseconds more to make, whoever makes it. So each session has its place in a part of
    the disk of its own, what it leaves is removed at the end of the run or when the room is needed, and what is removed for
    the clock's sake is so in the last scenarios."""

    def __init__(self, top, mode, srcdir, builddir, loops, native):
        self.top, self.srcdir, self.builddir, self.loops, self.native = top, srcdir, builddir, loops, native
        self.size = SIZES[mode]
        self.mode = mode
        self.made, self.failed = set(), {}
        self.retired = []
        self.spreads = spread(top)
        self.forget()
        self.env = dict(os.environ, HOME=top, LC_ALL="C", **GIT_ENV)
        self.env.pop("MAKEFLAGS", None)
        self.env.pop("MAKELEVEL", None)
        rnd = random.Random(SEED)
        self.pool = rnd.randbytes(1 << 20)
        for d in (*LOWERS, "flat", "lists", "src"):
            os.makedirs(self.path(d), exist_ok=True)

    def path(self, *parts):
        return os.path.join(self.top, *parts)

    def make(self, parts, flat):
        """Make these parts, if asked for in the plain directory too; raises Missing where one cannot be made, each time."""
        for part in parts:
            if part in self.failed:
                raise Missing(self.failed[part])
            if part not in self.made:
                try:
                    getattr(self, "make_" + part)()
                except Missing as e:
                    self.failed[part] = str(e)
                    raise
                if self.native and flat:
                    self.flatten(part, self.path("flat"))
                self.made.add(part)

    def flatten(self, part, to):
        for layer in reversed(LOWERS):
            if os.path.exists(self.path(layer, part)):
                run(["cp", "-a", self.path(layer, part), to])

    def new_place(self):
        """An empty directory where no inode was freed a short time ago."""
        room = os.statvfs(self.top)
        # No inodes at all: they are not counted (btrfs).
        if room.f_bavail * room.f_frsize < LEAST_BYTES or 0 < room.f_files and room.f_favail < LEAST_INODES:
            self.sweep()
        # By the name ext4 chooses where it is: the next run is to be elsewhere.
        place = tempfile.mkdtemp(prefix="s", dir=self.top)
        os.chmod(place, 0o755)
        return place

    def retire(self, path):
        """It is of no use any more: only the room of large files is given back now, where removing it would be felt later."""
        self.retired.append(path)
        if not self.spreads:
            self.sweep()
        elif os.path.exists(path):
            subprocess.run(["find", path, "-xdev", "-type", "f", "-size", "+256k", "-exec", "truncate", "-s", "0", "{}", "+"],
                           check=False)

    def sweep(self):
        if not self.retired:
            return
        remove(self.retired)
        self.retired = []
        self.forget()

    def forget(self):
        """Have ext4 forget what was freed, here or by others before."""
        if self.spreads and self.mode != "smoke":
            drop_caches()

    def write_list(self, name, names):
        with open(self.path("lists", name), "w", encoding="ascii") as f:
            f.writelines(n + "\n" for n in names)

    def list(self, name):
        return self.path("lists", name)

    def small_file(self, rnd, path):
        """Most are of some kilobytes, a few of some tens."""
        size = rnd.randrange(64, 6000) if rnd.random() < 0.97 else rnd.randrange(16384, 65536)
        at = rnd.randrange(0, len(self.pool) - size)
        with open(path, "wb") as f:
            f.write(self.pool[at:at + size])

    def files(self, seed, count, per_dir, top_of, name):
        """count small files below NAME/dNNN; top_of(directory number, file number) is the directory that holds NAME."""
        rnd = random.Random(f"{SEED} {seed}")
        names = []
        made = set()
        for i in range(count):
            d, f = divmod(i, per_dir)
            rel = f"{name}/d{d:03}"
            top = top_of(d, f)
            if (top, rel) not in made:
                os.makedirs(os.path.join(top, rel), exist_ok=True)
                made.add((top, rel))
            self.small_file(rnd, os.path.join(top, rel, f"file{f:03}"))
            names.append(f"{rel}/file{f:03}")
        return names

    # --- the parts ---

    def make_tree(self):
        """A tree of which every tenth directory is merged from three layers."""
        def top_of(d, f):
            if d % 10 == 0:
                return self.path("l1" if f % 10 == 0 else "l2" if f % 10 < 3 else "l3")
            return self.path("l3")
        self.write_list("tree", self.files("tree", self.size["tree"], 100, top_of, "tree"))

    def make_io(self):
        os.makedirs(self.path("l3", "io"))
        self.data_file(self.path("l3", "io", "big"), self.size["big"])

    def data_file(self, path, mib):
        with open(path, "wb") as f:
            for i in range(mib):
                # no two blocks alike, so that nothing can be shared or compressed away
                f.write(bytes(str(i), "ascii").ljust(16) + self.pool[16:])
            f.flush()
            os.fsync(f.fileno())

    def package(self, name):
        self.write_list(name, self.files(name, self.size["package"], 100, lambda d, f: self.path("l3"), name))

    def make_pkga(self):
        self.package("pkga")

    def make_pkgb(self):
        self.package("pkgb")

    def make_pkgc(self):
        self.package("pkgc")

    def make_copyin(self):
        """The source of cp -a, and the names of its copy."""
        names = self.files("copyin", self.size["package"], 100, lambda d, f: self.path("src"), "copyin")
        self.write_list("rename", names[:self.size["rename"]])

    def make_threads(self):
        """Names to create, for eight threads: each has its own directory."""
        self.write_list("create", (f"new/t{i % 8}/f{i}" for i in range(self.size["threads"])))

    def make_copyup(self):
        os.makedirs(self.path("l3", "copyup"))
        self.data_file(self.path("l3", "copyup", "big"), self.size["copyup"])
        self.write_list("copyup", ["copyup/big"])

    def make_npm(self):
        """A tarball like an installed node_modules: packages in packages, many small files."""
        rnd = random.Random(f"{SEED} npm")
        top = self.path("src", "npm")
        done = 0
        package = 0
        while done < self.size["npm"]:
            parent = "node_modules"
            if rnd.random() < 0.2 and package:
                parent = f"node_modules/pkg{rnd.randrange(package)}/node_modules"
            base = os.path.join(top, parent, f"pkg{package}")
            for d in ("", "lib", "dist/cjs", "dist/esm"):
                os.makedirs(os.path.join(base, d), exist_ok=True)
                for i in range(rnd.randrange(2, 12)):
                    self.small_file(rnd, os.path.join(base, d, f"module{i}.js"))
                    done += 1
            package += 1
        run(["tar", "-cf", self.path("src", "npm.tar"), "-C", top, "node_modules"])
        self.retire(top)

    def make_git(self):
        need("git")
        self.files("git", self.size["git"], 50, lambda d, f: self.path("l3"), "git")
        repo = self.path("l3", "git")
        for argv in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            run(["git", "-C", repo, "-c", "gc.auto=0", "-c", "init.defaultBranch=main", *argv], env=self.env)

    def make_project(self):
        """This project's own sources, as far as they need no library but libc and libcap: the tiers 0 to 5."""
        need("make", "gcc")
        src = os.path.join(self.srcdir, "src")
        config = os.path.join(self.builddir, "config.h")
        if not os.path.exists(config):
            raise Missing(f"there is no {config}")
        modules = []
        with open(os.path.join(src, "ORDER"), encoding="ascii") as f:
            for line in f:
                if re.match(r"[0-5] ", line):
                    modules += line.split()[1:]
        sources = [m for m in modules if os.path.exists(os.path.join(src, m + ".c"))][:self.size["sources"]]
        top = self.path("l3", "project")
        os.makedirs(top)
        shutil.copytree(src, os.path.join(top, "src"), ignore=shutil.ignore_patterns("*.o", ".*"))
        shutil.copytree(os.path.join(self.srcdir, "kernel", "uapi"), os.path.join(top, "uapi"))
        shutil.copy(config, top)
        with open(os.path.join(top, "Makefile"), "w", encoding="ascii") as f:
            f.write("OBJS = " + " ".join(f"obj/{m}.o" for m in sources) + "\n"
                    "all.a: $(OBJS)\n\tar rcs $@ $(OBJS)\n"
                    "obj/%.o: src/%.c\n\t@mkdir -p obj\n"
                    "\tgcc -std=gnu11 -O0 -w -MMD -D_GNU_SOURCE= -I. -include config.h -Isrc -Iuapi -c -o $@ $<\n")

    def make_root(self):
        """A root with packages made of what is installed here, and the packages, to be installed over themselves."""
        need("dpkg", "dpkg-deb", "dpkg-query")
        root = self.path("l3", "root")
        for d in ("info", "updates", "triggers"):
            os.makedirs(os.path.join(root, "var/lib/dpkg", d))
        for f in ("status", "available"):
            with open(os.path.join(root, "var/lib/dpkg", f), "w", encoding="ascii"):
                pass
        left = self.size["deb"]
        debs = []
        for name in ("git", "perl-modules-5.36", "perl-modules-5.40", "perl-base", "python3-minimal", "libc6-dev", "cmake-data",
                     "coreutils", "util-linux", "dpkg", "bash", "tar", "libc-bin"):
            if left <= 0:
                break
            listed = subprocess.run(["dpkg-query", "-L", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
            files = [f for f in listed.stdout.decode().splitlines() if os.path.isfile(f) and not os.path.islink(f)][:left]
            if listed.returncode or not files:
                continue
            left -= len(files)
            stage = self.path("src", "deb-" + name)
            os.makedirs(os.path.join(stage, "DEBIAN"))
            with open(os.path.join(stage, "DEBIAN", "control"), "w", encoding="ascii") as f:
                f.write(f"Package: bench-{name}\nVersion: 1\nArchitecture: all\nMaintainer: bench <bench@localhost>\n"
                        "Description: what is measured\n")
            for f in files:
                to = stage + f
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copy2(f, to)
            deb = self.path("src", name + ".deb")
            run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", stage, deb])
            self.retire(stage)
            debs.append(deb)
        if not debs:
            raise Missing("no package of which to make one")
        self.debs = debs
        run(self.dpkg(root), env=self.env)

    def dpkg(self, root):
        return ["dpkg", "--root=" + root, "--force-depends", "--force-not-root", "-i", *self.debs]

    def make_db(self):
        need("sqlite3")
        os.makedirs(self.path("l3", "db"))
        run(["sqlite3", self.path("l3", "db", "read.db"),
             "CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT);"
             f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {self.size['rows']}) "
             "INSERT INTO t SELECT i, i * 7919 % 100003, hex(i * 2654435761) FROM n; CREATE INDEX ta ON t(a);"])

    def make_memory(self):
        """Many names, each for one inode of the union, in a lower of their own."""
        self.empty_files("many", self.size["memory"], 500, "memory")

    def empty_files(self, name, count, per_dir, list_name):
        names = [f"{name}/d{i // per_dir:04}/f{i}" for i in range(count)]
        for d in range((count + per_dir - 1) // per_dir):
            os.makedirs(self.path("l3", name, f"d{d:04}"))
        self.write_list(list_name, names)
        self.create(self.path("l3"), list_name)

    def create(self, top, list_name):
        run([self.loops, "-C", top, "create", self.list(list_name)])

    def remove(self, part):
        run(["rm", "-rf", "--one-file-system", self.path(part)])

    def make_layers(self):
        self.stack("layers", self.size["layers"], self.size["names"])

    def stack(self, name, layers, names):
        """So many layers, NAME/0 on top; a merged directory d in which each layer has some of the names."""
        for i in range(layers):
            os.makedirs(self.path(name, str(i), "d"))
        there = []
        for i in range(names):
            n = f"d/name{i:05}"
            # spread evenly, whatever the number of layers
            with open(self.path(name, str(i * 7919 % layers), n), "wb"):
                pass
            there.append(n)
        self.write_list(name, there)
        self.write_list(name + "-absent", [n + ".absent" for n in there])
