# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured: rows of the table, and the scenarios that fill them.

A scenario is mounted afresh for each peer in each round; its steps follow each other in one mount. c.row() measures one.
"""
from dataclasses import dataclass, field


@dataclass
class Row:
    name: str
    title: str
    goal: float = None      # at most; None: none set
    unit: str = "s"         # s: seconds; us: microseconds an operation; B: bytes an inode; ratio: bytes a byte
    absolute: bool = False  # the goal is for the value, not for the ratio to overlay


@dataclass
class Scenario:
    name: str
    run: object
    rows: list
    parts: tuple = ()
    extra: tuple = ()                               # peers that matter here and nowhere else
    writes: bool = False                            # it changes what it is given: a plain directory is copied for it
    without: tuple = ()                             # peers for which it makes no sense
    options: dict = field(default_factory=dict)     # peer -> mount options
    stack: str = ""                                 # the directory of a stack of layers, in place of the three
    flat: str = "flat"                              # the same as one plain directory
    place: str = ""                                 # "reflink": on a filesystem of its own
    weight: int = 1                                 # its share of the time


def tree(c):
    c.row("find-cold", lambda: c.cmd("find", "tree"), cold=("find",))
    c.row("find-warm", lambda: c.cmd("find", "tree"), warm=True)
    c.row("stat-cold", lambda: c.loops("stat", "tree"), cold=())
    c.row("stat-warm", lambda: c.loops("stat", "tree"), warm=True)
    c.row("tar-cold", lambda: c.pipe("tar -cf - tree | cat >/dev/null"), cold=("tar", "cat", "bash"))
    c.row("tar-warm", lambda: c.pipe("tar -cf - tree | cat >/dev/null"), warm=True)
    c.row("open-warm", lambda: c.loops("read", "tree"), warm=True)
    c.row("t8-stat-cold", lambda: c.loops("stat", "tree", threads=8), cold=())
    c.row("t8-open", lambda: c.loops("open", "tree", threads=8), warm=True)


def io(c):
    big, new = "io/big", "io/new"
    c.row("write-fsync", lambda: c.fio(new, "--rw=write", "--bs=1M", "--end_fsync=1"), needed=True)
    c.row("write-4k", lambda: c.fio("io/small", "--rw=write", "--bs=4k", f"--size={c.size['writes']}M"))
    c.row("randwrite", lambda: c.fio(new, "--rw=randwrite", "--bs=4k"))
    for where, path in (("", big), ("-upper", new)):
        c.row("read-cold" + where, lambda p=path: c.fio(p, "--rw=read", "--bs=1M"), cold=("fio",))
        # Reads the file into the caches; the rows after it find it there.
        c.do("cat", path)
        c.row("read-warm" + where, lambda p=path: c.fio(p, "--rw=read", "--bs=1M", loops=4))
        c.row("randread" + where, lambda p=path: c.fio(p, "--rw=randread", "--bs=4k"))
        c.row("randread-4" + where, lambda p=path: c.fio(p, "--rw=randread", "--bs=4k", "--numjobs=4", "--group_reporting"))
        c.row("mmap" + where, lambda p=path: c.fio(p, "--rw=randread", "--bs=4k", "--ioengine=mmap"))
    c.row("pagecache", lambda: c.page_cache(new), cold=())


def fresh(c):
    c.row("cp-in", lambda: c.cmd("cp", "-a", c.layers.path("src", "copyin"), "."), needed=True)
    c.row("rename", lambda: c.loops("rename", "rename"))
    if c.wants("t8-create"):
        c.do("mkdir", "-p", *(f"new/t{i}" for i in range(8)))
        c.row("t8-create", lambda: c.loops("create", "create", threads=8))


def remove_new(c):
    c.do("cp", "-a", c.layers.path("src", "copyin"), ".")
    c.row("rm-new", lambda: c.cmd("rm", "-rf", "copyin"))


def npm(c):
    c.do("mkdir", "app")
    c.row("npm-unpack", lambda: c.cmd("tar", "-xf", c.layers.path("src", "npm.tar"), "-C", "app"))


def npm_remove(c):
    c.do("mkdir", "app")
    c.do("tar", "-xf", c.layers.path("src", "npm.tar"), "-C", "app")
    c.row("npm-rm", lambda: c.cmd("rm", "-rf", "app/node_modules"))


def rm_lower(c):
    c.row("rm-lower", lambda: c.cmd("rm", "-rf", "pkga"))


def metadata(c):
    c.row("chmod", lambda: c.cmd("chmod", "-R", "g-w,o=", "pkgb"))
    c.row("chown", lambda: c.cmd("chown", "-R", "1:1", "pkgc"))


def copyup(c):
    c.row("copyup", lambda: c.loops("openw", "copyup"))


def copyup_reflink(c):
    c.row("copyup-reflink", lambda: c.loops("openw", "copyup"))


def git(c):
    status = ("git", "-C", "git", "status", "--porcelain")
    # The inode numbers of this mount are new to git's index: the first one reads every file.
    c.do(*status)
    c.row("git-cold", lambda: c.cmd(*status), cold=("git",))
    c.row("git-warm", lambda: c.cmd(*status), warm=True)


def build(c):
    c.row("c-build", lambda: c.cmd("make", "-s", "-j2", "-C", "project"))


def dpkg(c):
    c.row("dpkg", lambda: c.cmd(*c.layers.dpkg(c.target + "/root")))


def sqlite(c):
    rows, commits = c.size["rows"], c.size["commits"]
    script = ("CREATE TABLE t (k INTEGER PRIMARY KEY, a INTEGER, b TEXT); CREATE INDEX ta ON t(a); BEGIN;"
              f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
              "INSERT INTO t SELECT i, i * 7919 % 100003, hex(i * 2654435761) FROM n; COMMIT;")
    script += "".join(f"INSERT INTO t VALUES ({10000000 + i}, {i}, 'one');" for i in range(commits))
    c.row("sqlite-write", lambda: c.cmd("sqlite3", "db/new.db", stdin=script))
    query = "".join(f"SELECT count(*), max(b) FROM t WHERE a BETWEEN {i * 97} AND {i * 97 + 400};" for i in range(commits))
    c.row("sqlite-read", lambda: c.cmd("sqlite3", "db/read.db", stdin=query), warm=True)


def many_layers(c):
    # What is below is in the caches, the union is fresh: each name is looked up once.
    c.row("layers-stat", lambda: c.loops("stat", "layers", each=True))
    c.row("layers-absent", lambda: c.loops("absent", "layers-absent", each=True))


def memory(c):
    c.row("memory", lambda: c.memory_per_inode("many", "memory"))


ROWS = [
    Row("read-cold", "sequential read of a lower file, cold", 1.0),
    Row("read-warm", "sequential read of a lower file, warm", 1.0),
    Row("read-cold-upper", "sequential read of an upper file, cold", 1.0),
    Row("read-warm-upper", "sequential read of an upper file, warm", 1.0),
    Row("write-fsync", "sequential write + fsync", 1.0),
    Row("write-4k", "{writes} MiB in 4 KiB writes", 1.0),
    Row("randwrite", "random write, 4 KiB", 1.0),
    Row("randread", "random read of a lower file, 4 KiB, 1 job", 1.0),
    Row("randread-4", "random read of a lower file, 4 KiB, 4 jobs", 1.0),
    Row("randread-upper", "random read of an upper file, 4 KiB, 1 job", 1.0),
    Row("randread-4-upper", "random read of an upper file, 4 KiB, 4 jobs", 1.0),
    Row("mmap", "random read of a mapped lower file", 1.0),
    Row("mmap-upper", "random read of a mapped upper file", 1.0),
    Row("find-cold", "find, {tree} files, cold", 1.0),
    Row("find-warm", "find, {tree} files, warm", 0.7),
    Row("stat-cold", "stat of {tree} files, cold", 1.0),
    Row("stat-warm", "stat of {tree} files, warm", 0.7),
    Row("tar-cold", "tar of the tree, cold", 1.2),
    Row("tar-warm", "tar of the tree, warm", 2.0),
    Row("open-warm", "open + read + close of {tree} files, warm", 2.5),
    Row("cp-in", "cp -a of {package} files in", 1.3),
    Row("rm-new", "rm -rf of {package} new files", 1.0),
    Row("rename", "rename of {rename} files", 2.0),
    Row("rm-lower", "rm -rf of {package} lower files", 1.0),
    Row("chmod", "chmod -R of {package} lower files (plyfs: metacopy=on)", 0.05),
    Row("chown", "chown -R of {package} lower files (plyfs: metacopy=on)", 0.05),
    Row("copyup", "copy-up on open, {copyup} MiB", 0.35),
    Row("copyup-reflink", "copy-up on open, {copyup} MiB, reflink", 2.0),
    Row("git-cold", "git status, {git} files, cold", 1.2),
    Row("git-warm", "git status, {git} files, warm", 1.0),
    Row("c-build", "C build of {sources} sources in lower", 1.0),
    Row("dpkg", "dpkg -i of {deb} files over themselves"),
    Row("npm-unpack", "unpack a node_modules of {npm} files"),
    Row("npm-rm", "rm -rf of that node_modules"),
    Row("sqlite-write", "sqlite: {rows} rows, {commits} commits"),
    Row("sqlite-read", "sqlite: {commits} queries of a lower database"),
    Row("layers-stat", "stat of a name under {layers} layers", 0.03, "us"),
    Row("layers-absent", "stat of an absent name under {layers} layers", 0.03, "us"),
    Row("t8-stat-cold", "8 threads: stat of {tree} files, cold", 1.0),
    Row("t8-open", "8 threads: open + close of {tree} files, warm", 2.5),
    Row("t8-create", "8 threads: create {threads} files", 1.2),
    Row("memory", "daemon memory per cached inode", 140, "B", True),
    Row("pagecache", "page cache per byte read, upper file", 1.0, "ratio", True),
]

SCENARIOS = [
    Scenario("io", io, ["write-fsync", "write-4k", "randwrite", "read-cold", "read-warm", "randread", "randread-4", "mmap",
                        "read-cold-upper", "read-warm-upper", "randread-upper", "randread-4-upper", "mmap-upper", "pagecache"],
             weight=5, parts=("io",), extra=("plyfs-full", "plyfs-off"), writes=True),
    Scenario("tree", tree, ["find-cold", "find-warm", "stat-cold", "stat-warm", "tar-cold", "tar-warm", "open-warm",
                            "t8-stat-cold", "t8-open"], weight=4, parts=("tree",)),
    Scenario("fresh", fresh, ["cp-in", "rename", "t8-create"], weight=2, parts=("copyin", "threads"), writes=True),
    Scenario("metadata", metadata, ["chmod", "chown"], weight=2, parts=("pkgb", "pkgc"), writes=True,
             extra=("overlay-metacopy",), options={"plyfs": "metacopy=on"}),
    Scenario("copyup", copyup, ["copyup"], weight=2, parts=("copyup",), writes=True, extra=("plyfs-nosync",),
             without=("native", "mergerfs")),
    Scenario("copyup-reflink", copyup_reflink, ["copyup-reflink"], parts=("copyup",), writes=True, place="reflink",
             without=("native", "mergerfs")),
    Scenario("git", git, ["git-cold", "git-warm"], weight=2, parts=("git",)),
    Scenario("build", build, ["c-build"], weight=2, parts=("project",), writes=True),
    Scenario("npm", npm, ["npm-unpack"], weight=2, parts=("npm",), writes=True),
    Scenario("sqlite", sqlite, ["sqlite-write", "sqlite-read"], parts=("db",), writes=True),
    Scenario("layers", many_layers, ["layers-stat", "layers-absent"], parts=("layers",), without=("native",),
             stack="layers"),
    Scenario("memory", memory, ["memory"], parts=("memory",), without=("native", "overlay", "overlay-metacopy")),
    # What frees many inodes comes last: see Layers.
    Scenario("dpkg", dpkg, ["dpkg"], weight=2, parts=("root",), writes=True),
    Scenario("rm-lower", rm_lower, ["rm-lower"], parts=("pkga",), writes=True),
    Scenario("rm-new", remove_new, ["rm-new"], parts=("copyin",), writes=True),
    Scenario("npm-rm", npm_remove, ["npm-rm"], parts=("npm",), writes=True),
]

# Rows that tests/bench/floor serves: what plyfs is asked for there, answered with the least work.
FLOOR = {"write-fsync", "write-4k", "randwrite", "read-cold", "read-warm", "randread", "randread-4", "mmap",
         "read-cold-upper", "read-warm-upper", "randread-upper", "randread-4-upper", "mmap-upper",
         "find-cold", "find-warm", "stat-cold", "stat-warm", "tar-cold", "tar-warm", "open-warm", "t8-stat-cold", "t8-open",
         "cp-in", "rename", "rm-new", "t8-create", "rm-lower", "chmod", "chown", "copyup", "copyup-reflink", "git-cold", "git-warm",
         "c-build", "layers-stat", "layers-absent"}

# Peers of runs that ask for them, and peers of some scenarios only.
ASKED = {"floor-stat", "floor-threads"}
SPECIAL = {p for s in SCENARIOS for p in s.extra} | ASKED
