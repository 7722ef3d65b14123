#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal overlayfs userns nopassthrough threads1 asan tsan
# timeout: 300
#
# The programs that a union breaks first: a database in a lower layer that somebody holds open for reading while
# somebody else writes to it for the first time.

load lib/common

prepare()
{
	PYTHON=
	for p in /usr/bin/python3 "$(command -v python3)"; do
		if [ -x "$p" ] && "$p" -c 'import sqlite3' 2>/dev/null; then
			PYTHON=$p
			break
		fi
	done
	[ -n "$PYTHON" ] || skip "no python3 with sqlite3"
	cat >"$R/words.py" <<'END'
import fcntl, mmap, os, sqlite3, sys

def connect(path, **kw):
    # autocommit: a transaction is what says BEGIN
    return sqlite3.connect(path, isolation_level=None, timeout=60, **kw)

def one(c, sql):
    return c.execute(sql).fetchone()[0]

def intact(c):
    assert one(c, "PRAGMA integrity_check") == "ok", one(c, "PRAGMA integrity_check")

def make(path, mode, rows=3000):
    c = connect(path)
    assert one(c, "PRAGMA journal_mode=" + mode) == mode
    c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
    c.execute("CREATE INDEX i ON t(v)")
    c.execute("BEGIN")
    for n in range(rows):
        c.execute("INSERT INTO t VALUES(?, ?)", (n, "lower %d %s" % (n, "x" * (n % 90))))
    c.execute("COMMIT")
    c.close()

class Peer:
    """A process of its own that runs SQL on a connection of its own: locks between processes are real ones."""
    ends = []
    def __init__(self, path, **kw):
        self.r, w = os.pipe()
        r, self.w = os.pipe()
        Peer.ends += [self.r, self.w]
        self.pid = os.fork()
        if self.pid == 0:
            # The others' ends too: a peer ends when its input does.
            for fd in Peer.ends:
                os.close(fd)
            c = connect(path, **kw)
            for sql in os.fdopen(r):
                try:
                    out = repr(c.execute(sql).fetchone())
                except Exception as e:
                    out = "error: %s" % e
                os.write(w, (out + "\n").encode())
            c.close()
            os._exit(0)
        os.close(r)
        os.close(w)
        self.out = os.fdopen(self.r)

    def sql(self, text):
        os.write(self.w, (text + "\n").encode())
        line = self.out.readline().strip()
        assert not line.startswith("error"), (text, line)
        return None if line == "None" else eval(line)[0]

    def end(self):
        Peer.ends.remove(self.w)
        os.close(self.w)
        assert os.waitpid(self.pid, 0)[1] == 0
END
}

py()
{
	(cat "$R/words.py"; cat) >"$R/test.py"
	"$PYTHON" "$R/test.py" "$@"
}

# A reader (in this process, and in another) is open over a writer's first write and its checkpoint.
reader_over_writer()
{
	local mode=$1
	py "$L/db" "$mode" <<'END'
make(sys.argv[1], sys.argv[2])
END
	union_mount
	py "$M/db" <<'END'
path = sys.argv[1]
far = Peer(path)
readonly = Peer("file:%s?mode=ro" % path, uri=True)
assert far.sql("SELECT count(*) FROM t") == 3000
assert readonly.sql("SELECT count(*) FROM t") == 3000
reader = connect(path)
assert one(reader, "SELECT count(*) FROM t") == 3000
cursor = reader.execute("SELECT id FROM t ORDER BY id")
cursor.fetchone()
cursor.close()

writer = Peer(path)
writer.sql("BEGIN IMMEDIATE")
writer.sql("UPDATE t SET v = 'upper ' || id WHERE id % 3 = 0")
writer.sql("INSERT INTO t VALUES(5000, 'new')")
writer.sql("COMMIT")
for who in (far, readonly):
    assert who.sql("SELECT v FROM t WHERE id = 5000") == "new"
    assert who.sql("SELECT count(*) FROM t WHERE v LIKE 'upper %'") == 1000
    assert who.sql("PRAGMA integrity_check") == "ok"
assert one(reader, "SELECT v FROM t WHERE id = 5000") == "new"
intact(reader)

writer.sql("PRAGMA wal_checkpoint(TRUNCATE)")
writer.sql("DELETE FROM t WHERE id % 7 = 0")
writer.sql("VACUUM")
count = writer.sql("SELECT count(*) FROM t")
for who in (far, readonly):
    assert who.sql("SELECT count(*) FROM t") == count
    assert who.sql("PRAGMA integrity_check") == "ok"

# Now the one that was a reader writes, and the writer reads.
far.sql("INSERT INTO t VALUES(6000, 'far')")
assert writer.sql("SELECT v FROM t WHERE id = 6000") == "far"
assert one(reader, "SELECT v FROM t WHERE id = 6000") == "far"
intact(reader)
reader.close()
for who in (far, readonly, writer):
    who.end()
c = connect(path)
intact(c)
assert one(c, "SELECT count(*) FROM t") == count + 1
c.close()
END
	union_remount
	py "$M/db" <<'END'
c = connect(sys.argv[1])
intact(c)
assert one(c, "SELECT v FROM t WHERE id = 6000") == "far"
c.close()
END
}

@test "sqlite, rollback journal: a reader is held open over the first write" {
	reader_over_writer delete
}

@test "sqlite, truncated and persistent journals" {
	reader_over_writer truncate
}

@test "sqlite, WAL: a reader is held open over the first write and its checkpoint" {
	reader_over_writer wal
}

@test "sqlite: a database whose writer died, with its WAL in the lower layer" {
	py "$L/db" <<'END'
make(sys.argv[1], "wal", 100)
c = connect(sys.argv[1])
c.execute("PRAGMA wal_autocheckpoint=0")
c.execute("INSERT INTO t VALUES(777, 'in the WAL only')")
os._exit(0)
END
	[ -s "$L/db-wal" ]
	union_mount
	py "$M/db" <<'END'
c = connect(sys.argv[1])
assert one(c, "SELECT v FROM t WHERE id = 777") == "in the WAL only"
c.execute("INSERT INTO t VALUES(778, 'more')")
c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
intact(c)
assert one(c, "SELECT count(*) FROM t") == 102
c.close()
END
}

@test "sqlite: three processes write at the same time, and no row is lost" {
	py "$L/db" <<'END'
make(sys.argv[1], "delete", 500)
END
	union_mount
	py "$M/db" <<'END'
pids = []
for p in range(3):
    pid = os.fork()
    if pid == 0:
        c = connect(sys.argv[1])
        for n in range(40):
            c.execute("BEGIN IMMEDIATE")
            c.execute("INSERT INTO t VALUES(?, ?)", (10000 * (p + 1) + n, "process %d" % p))
            c.execute("UPDATE t SET v = v || '.' WHERE id = 1")
            c.execute("COMMIT")
        c.close()
        os._exit(0)
    pids.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
c = connect(sys.argv[1])
intact(c)
assert one(c, "SELECT count(*) FROM t") == 620
assert one(c, "SELECT v FROM t WHERE id = 1").count(".") == 120
c.close()
END
}

@test "as rpm does: open for reading, then for writing, and expect one file" {
	printf 'old content %0.s' {1..2000} >"$L/Packages"
	union_mount
	py "$M/Packages" <<'END'
path = sys.argv[1]
r = os.open(path, os.O_RDONLY)
assert os.pread(r, 11, 0) == b"old content"
view = mmap.mmap(r, 4096, mmap.MAP_SHARED, mmap.PROT_READ) if os.environ["PLY_TARGET"] == "plyfs" else None
w = os.open(path, os.O_RDWR)
a, b = os.fstat(r), os.fstat(w)
assert (a.st_dev, a.st_ino, a.st_size) == (b.st_dev, b.st_ino, b.st_size), (a, b)
os.pwrite(w, b"NEW CONTENT", 0)
assert os.pread(r, 11, 0) == b"NEW CONTENT"
assert view is None or view[:11] == b"NEW CONTENT"
end = os.lseek(w, 0, os.SEEK_END)
os.write(w, b"appended")
assert os.pread(r, 100, end) == b"appended"
assert os.fstat(r).st_size == end + 8
os.ftruncate(w, 5)
assert os.pread(r, 100, 0) == b"NEW C"
END
}

@test "a lock taken through a reader's handle holds against a writer's" {
	printf 'content' >"$L/f"
	union_mount
	py "$M/f" <<'END'
path = sys.argv[1]
r = os.open(path, os.O_RDONLY)
fcntl.lockf(r, fcntl.LOCK_SH, 4, 0)
pid = os.fork()
if pid == 0:
    w = os.open(path, os.O_RDWR)
    os.pwrite(w, b"C", 0)
    try:
        fcntl.lockf(w, fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 0)
        os._exit(1)
    except BlockingIOError:
        pass
    fcntl.lockf(w, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 4)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
END
}
