#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
#   snapshotter.py SOCKET DIR
#
# A snapshotter for containerd, as a proxy plugin, that gives the mounts of containerd's fuse-overlayfs snapshotter: which Debian
# does not package. Snapshots are DIR/N/fs and DIR/N/work; what is known of them lives as long as this process. The few
# messages of containerd.services.snapshots.v1 are coded by hand: length-delimited fields and varints.
import os
import shutil
import sys
from concurrent import futures

import grpc

VIEW, ACTIVE, COMMITTED = 1, 2, 3


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """{number: [value...]}"""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            length = number()
            value = data[at:at + length]
            at += length
        else:
            raise ValueError("wire type %d" % (key & 7))
        found.setdefault(key >> 3, []).append(value)
    return found


class Missing(Exception):
    pass


class Exists(Exception):
    pass


class Snapshotter:
    def __init__(self, root):
        self.root, self.known, self.made = root, {}, 0

    def get(self, key):
        if key not in self.known:
            raise Missing("snapshot %s does not exist" % key)
        return self.known[key]

    def mount(self, kind, source, options):
        return field(1, field(1, kind) + field(2, source) + b"".join(field(4, o) for o in options))

    def mounts(self, s):
        own, parents = s["dir"], []
        parent = s["parent"]
        while parent:
            parents.append(self.get(parent)["dir"] + "/fs")
            parent = self.get(parent)["parent"]
        if s["kind"] == ACTIVE and not parents:
            return self.mount("bind", own + "/fs", ["rw", "rbind"])
        if s["kind"] == VIEW and len(parents) == 1:
            return self.mount("bind", parents[0], ["ro", "rbind"])
        options = []
        if s["kind"] == ACTIVE:
            options = ["workdir=%s/work" % own, "upperdir=%s/fs" % own]
        return self.mount("fuse3.fuse-overlayfs", "overlay", options + ["lowerdir=" + ":".join(parents)])

    def make(self, request, kind):
        f = fields(request)
        key, parent = f[2][0].decode(), f.get(3, [b""])[0].decode()
        if key in self.known:
            raise Exists("snapshot %s exists" % key)
        self.made += 1
        own = "%s/%d" % (self.root, self.made)
        os.makedirs(own + "/fs", 0o755)
        os.mkdir(own + "/work", 0o711)
        if parent:
            st = os.stat(self.get(parent)["dir"] + "/fs")
            os.chown(own + "/fs", st.st_uid, st.st_gid)
            os.chmod(own + "/fs", st.st_mode & 0o7777)
        self.known[key] = s = {"name": key, "dir": own, "parent": parent, "kind": kind, "labels": f.get(4, [])}
        return self.mounts(s)

    def info(self, s):
        return field(1, s["name"]) + field(2, s["parent"]) + field(3, s["kind"]) + b"".join(field(6, x) for x in s["labels"])

    def Prepare(self, request):
        return self.make(request, ACTIVE)

    def View(self, request):
        return self.make(request, VIEW)

    def Mounts(self, request):
        return self.mounts(self.get(fields(request)[2][0].decode()))

    def Commit(self, request):
        f = fields(request)
        name, key = f[2][0].decode(), f[3][0].decode()
        s = self.get(key)
        if name in self.known:
            raise Exists("snapshot %s exists" % name)
        del self.known[key]
        s.update(name=name, kind=COMMITTED, labels=f.get(4, []))
        self.known[name] = s
        return b""

    def Remove(self, request):
        s = self.get(fields(request)[2][0].decode())
        del self.known[s["name"]]
        shutil.rmtree(s["dir"])
        return b""

    def Stat(self, request):
        return field(1, self.info(self.get(fields(request)[2][0].decode())))

    def Update(self, request):
        f = fields(fields(request)[2][0])
        s = self.get(f[1][0].decode())
        s["labels"] = f.get(6, [])
        return field(1, self.info(s))

    def Usage(self, request):
        self.get(fields(request)[2][0].decode())
        return field(1, 0) + field(2, 0)

    def Cleanup(self, request):
        return b""

    def List(self, request):
        yield b"".join(field(1, self.info(s)) for s in self.known.values())


class Handler(grpc.GenericRpcHandler):
    def __init__(self, snapshotter):
        self.snapshotter = snapshotter

    def service(self, details):
        name = details.method.rsplit("/", 1)[-1]
        call = getattr(self.snapshotter, name, None)
        if call is None:
            return None
        if name == "List":
            return grpc.unary_stream_rpc_method_handler(lambda request, context: call(request))

        def run(request, context):
            try:
                return call(request)
            except Missing as e:
                context.abort(grpc.StatusCode.NOT_FOUND, str(e))
            except Exists as e:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, str(e))
            except OSError as e:
                context.abort(grpc.StatusCode.INTERNAL, str(e))
        return grpc.unary_unary_rpc_method_handler(run)


def main():
    path, root = sys.argv[1:]
    # One thread: nothing is locked.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    server.add_generic_rpc_handlers((Handler(Snapshotter(root)),))
    server.add_insecure_port("unix://" + path)
    server.start()
    server.wait_for_termination()


main()
