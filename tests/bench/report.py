# SPDX-License-Identifier: GPL-2.0-or-later
"""Results: gathered, summed up, printed, written as JSON and as charts, and merged."""
import json
import os
import re
import shutil
import statistics
import subprocess
import time

from layers import Missing
from workloads import ROWS, SPECIAL

BASE = "overlay"
# How much the time of an operation may grow over a curve.
GROWTH = 1.3
OURS = "plyfs"
# What the protocol costs: tests/bench/floor.c
FLOOR = "floor"


def machine(top):
    """What the numbers depend on."""
    def first(path, pattern):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                m = re.search(pattern, f.read(), re.M)
            return m.group(1).strip() if m else ""
        except OSError:
            return ""
    kind = subprocess.run(["stat", "-f", "-c", "%T", top], stdout=subprocess.PIPE, check=False).stdout.decode().strip()
    cpu = first("/proc/cpuinfo", r"^(?:model name|Model|cpu model|Hardware)\s*:\s*(.*)$")
    return {
        "cpu": cpu or os.uname().machine,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int(first("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) // 1024,
        "kernel": os.uname().release,
        "system": first("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)'),
        "filesystem": "ext4" if kind == "ext2/ext3" else kind,
    }


def wake_us(turns=2000):
    """Microseconds until a process that waits on another processor has been woken: half of each request is such a thing. None
    where there is one processor only."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return None
    there, back = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.close(there[1])
        os.sched_setaffinity(0, cpus[-1:])
        while os.read(there[0], 1):
            os.write(back[1], b".")
        os._exit(0)
    os.close(there[0])
    os.close(back[1])
    try:
        os.sched_setaffinity(0, cpus[:1])
        took = []
        for _ in range(turns):
            begin = time.perf_counter_ns()
            os.write(there[1], b".")
            os.read(back[0], 1)
            took.append(time.perf_counter_ns() - begin)
    finally:
        os.sched_setaffinity(0, cpus)
        os.close(there[1])
        os.close(back[0])
        os.waitpid(pid, 0)
    return round(statistics.median(took) / 2e3, 1)


class Results:
    """One document, as it is written: see README, "Benchmark"."""

    def __init__(self, document):
        self.doc = document

    @classmethod
    def new(cls, mode, size, top, peers, missing):
        return cls({
            "format": "plyfs-bench 1",
            "mode": mode,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": machine(top),
            "load_before": round(os.getloadavg()[0], 2),
            "wake_us": wake_us(),
            "sizes": size,
            "peers": {p.name: p.version for p in peers},
            "missing": missing,
            "rows": {},
            "curves": {},
        })

    def row(self, name):
        if name not in self.doc["rows"]:
            row = next(r for r in ROWS if r.name == name)
            self.doc["rows"][name] = {
                "title": row.title.format(**self.doc["sizes"]), "unit": row.unit, "goal": row.goal,
                "goal_is": "none" if row.goal is None else "value" if row.absolute else "ratio", "results": {},
            }
        return self.doc["rows"][name]

    def add(self, name, peer, sample):
        """A sample; or the text of a failure, or what the machine lacks (Missing), which stand in place of every number of that peer
        in that row."""
        r = self.row(name)["results"].setdefault(peer, {"values": [], "cpu": []})
        if isinstance(sample, Missing):
            if "error" not in r:
                r["error"], r["missing"] = str(sample), True
            return
        if isinstance(sample, str):
            r.setdefault("error", sample)
            return
        r["values"].append(sample["value"])
        r["cpu"].append(sample["cpu"])
        if "requests" in sample:
            r["requests"] = sample["requests"]

    def sum_up(self):
        self.doc["load_after"] = round(os.getloadavg()[0], 2)
        self.doc["rows"] = {r.name: self.doc["rows"][r.name] for r in ROWS if r.name in self.doc["rows"]}
        for row in self.doc["rows"].values():
            base = row["results"].get(BASE, {})
            for peer, r in row["results"].items():
                for key in ("median", "min", "max", "ratio", "ratio_min", "ratio_max", "cpu_median", "cpu_ratio"):
                    r.pop(key, None)
                if "error" in r or not r["values"]:
                    continue
                r["median"] = statistics.median(r["values"])
                r["min"], r["max"] = min(r["values"]), max(r["values"])
                r["cpu_median"] = statistics.median(r["cpu"])
                if peer == BASE or "error" in base or not base.get("values") or row["goal_is"] == "value":
                    continue
                b = statistics.median(base["values"])
                each = [v / w for v, w in zip(r["values"], base["values"]) if w > 0]
                if b > 0 and each:
                    r["ratio"], r["ratio_min"], r["ratio_max"] = r["median"] / b, min(each), max(each)
                cpu = statistics.median(base["cpu"])
                if cpu > 0:
                    r["cpu_ratio"] = r["cpu_median"] / cpu
            row["verdict"] = verdict(row)

    def merge(self, other):
        if other.doc["sizes"] != self.doc["sizes"]:
            raise SystemExit("run: --merge: results of other sizes (full with full, quick with quick)")
        if other.doc["machine"] != self.doc["machine"]:
            raise SystemExit("run: --merge: results of another machine")
        for name, row in other.doc["rows"].items():
            for peer, r in row["results"].items():
                if "error" in r:
                    self.add(name, peer, Missing(r["error"]) if r.get("missing") else r["error"])
                for value, cpu in zip(r["values"], r["cpu"]):
                    self.add(name, peer, {"value": value, "cpu": cpu})
                if "requests" in r:
                    self.row(name)["results"][peer].setdefault("requests", r["requests"])
        self.doc["peers"].update(other.doc["peers"])
        self.doc["date"] = max(self.doc["date"], other.doc["date"])
        self.doc["load_before"] = max(self.doc["load_before"], other.doc["load_before"])
        self.doc["wake_us"] = max(self.doc.get("wake_us"), other.doc.get("wake_us"), key=lambda v: v or 0)
        self.doc["curves"].update(other.doc["curves"])

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            json.dump(self.doc, f, indent=1)
            f.write("\n")

    def line(self):
        """Date and machine, for whoever shows a number."""
        d, m = self.doc, self.doc["machine"]
        ours = d["peers"].get(OURS, "")
        wake = f", another CPU wakes in {d['wake_us']:g} us" if d.get("wake_us") else ""
        return (f"{d['date']}, {m['cpu']}, {m['cpus']} CPUs{wake}, {round(m['memory_mib'] / 1024)} GiB, {m['system']}, "
                f"Linux {m['kernel']}, layers on {m['filesystem']}; {ours or 'plyfs'}; mode {d['mode']}, load before {d['load_before']}")


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            doc = json.load(f)
        if doc["format"] != "plyfs-bench 1":
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SystemExit(f"run: {path}: no results of this program: {e}") from None
    return Results(doc)


def verdict(row):
    r = row["results"].get(OURS, {})
    if row["goal"] is None:
        return ""
    value = r.get("median" if row["goal_is"] == "value" else "ratio")
    if value is None:
        return "not measured"
    # The goals have two digits at most.
    if round(value, 3) <= row["goal"]:
        return "met"
    return "in the spread" if r.get("ratio_min", value) <= row["goal"] else "missed"


def amount(value, unit):
    if unit == "us":
        return f"{value:.3g} us"
    if unit == "B":
        return f"{value:.0f} B"
    if unit == "ratio":
        return f"{value:.2f}"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms"


def short(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def cell(row, peer, ratio=True):
    r = row["results"].get(peer)
    if r is None:
        return "n/a" if peer == FLOOR else ""
    if "error" in r:
        return "-" if r.get("missing") else "failed"
    if "median" not in r:
        return ""
    if ratio and "ratio" in r:
        return short(r["ratio"])
    return amount(r["median"], row["unit"])


def others(doc):
    """Peers beside overlay and plyfs that have a column."""
    return [p for p in doc["peers"] if p not in (BASE, OURS) and p not in SPECIAL]


def specials(doc, row):
    """What the peers have that are measured in some rows only."""
    return [(p, cell(row, p)) for p in doc["peers"] if p in SPECIAL and p in row["results"]]


def print_table(results):
    doc = results.doc
    names = others(doc)
    print(results.line())
    if not doc["rows"]:
        for title, curve in doc["curves"].items():
            print_curve(title, curve)
        return
    print("Time as a ratio to kernel overlayfs: below 1 is faster. Spread: of the rounds. cpu: processor time, programs and daemon.\n")
    head = f"{'':52} {'overlay':>9} {'plyfs':>9} {'spread':>15} {'cpu':>6} {'goal':>7} {'':14}"
    print(head + "".join(f" {n:>15}" for n in names))
    errors = []
    lacks = []
    for name, row in doc["rows"].items():
        r = row["results"].get(OURS, {})
        spread = f"{short(r['ratio_min'])} .. {short(r['ratio_max'])}" if "ratio_min" in r else ""
        goal = "" if row["goal"] is None else f"<= {row['goal']:g}"
        cpu = f"{r['cpu_ratio']:.2f}" if "cpu_ratio" in r else ""
        line = (f"{row['title'][:52]:52} {cell(row, BASE, False):>9} {cell(row, OURS):>9} {spread:>15} {cpu:>6} {goal:>7} "
                f"{row['verdict']:14}")
        print((line + "".join(f" {cell(row, n):>15}" for n in names)).rstrip())
        if specials(doc, row):
            print("    " + ", ".join(f"{p} {text}" for p, text in specials(doc, row)))
        for peer, x in row["results"].items():
            if "error" in x:
                (lacks if x.get("missing") else errors).append(f"{name}, {peer}: {x['error']}")
    if errors or lacks or doc["missing"]:
        print()
    for e in errors:
        print("failed: " + e)
    for e in lacks:
        print("not measured: " + e)
    for peer, why in doc["missing"].items():
        print(f"not measured: {peer}: {why}")
    verdicts = [row["verdict"] for row in doc["rows"].values() if row["verdict"]]
    print(f"\ngoals: {verdicts.count('met')} met, {verdicts.count('in the spread')} in the spread, {verdicts.count('missed')} missed, "
          f"{verdicts.count('not measured')} not measured")
    for title, curve in doc["curves"].items():
        print_curve(title, curve)


def print_curve(title, curve):
    print(f"\n{title}: {curve['what']}; microseconds each")
    xs = curve["x"]
    print(f"{'':30}" + "".join(f" {x:>10}" for x in xs) + "   growth")
    for series in curve["series"]:
        name = f"{series['what']}, {series['peer']}"
        if "error" in series:
            print(f"{name:30} failed: {series['error']}")
        values = [v for v in series["y"] if v is not None]
        if not values:
            continue
        text = "".join(f" {'' if v is None else format(v, '.3g'):>10}" for v in series["y"])
        goal = "" if series["peer"] != OURS else f" <= {GROWTH} " + ("met" if series["growth"] <= GROWTH else "missed")
        print(f"{name:30}{text}   {series['growth']:.2f}{goal}")


def markdown(results, path):
    """The table of the goals, for people."""
    doc = results.doc
    names = [n for n in others(doc) if any(cell(row, n) for row in doc["rows"].values())]
    with open(path, "w", encoding="utf-8") as f:
        f.write(results.line() + "\n\nRatios to kernel overlayfs, time; below 1 is faster.\n\n")
        f.write("| workload | overlay | plyfs | spread | cpu | goal | | " + " | ".join(names) + " |\n")
        f.write("|---|--:|--:|--:|--:|--:|---|" + "--:|" * len(names) + "\n")
        for row in doc["rows"].values():
            r = row["results"].get(OURS, {})
            spread = f"{short(r['ratio_min'])}–{short(r['ratio_max'])}" if "ratio_min" in r else ""
            cpu = f"{r['cpu_ratio']:.2f}" if "cpu_ratio" in r else ""
            goal = "" if row["goal"] is None else f"≤ {row['goal']:g}"
            title = row["title"] + "".join(f"<br>{p}: {text}" for p, text in specials(doc, row))
            f.write(f"| {title} | {cell(row, BASE, False)} | {cell(row, OURS)} | {spread} | {cpu} | {goal} | {row['verdict']} "
                    "| " + " | ".join(cell(row, n) for n in names) + " |\n")
        for title, curve in doc["curves"].items():
            f.write(f"\n{title}: {curve['what']}; microseconds each\n\n| | " + " | ".join(str(x) for x in curve["x"])
                    + " | growth |\n|---|" + "--:|" * (len(curve["x"]) + 1) + "\n")
            for s in curve["series"]:
                if any(v is not None for v in s["y"]):
                    values = " | ".join("" if v is None else format(v, ".3g") for v in s["y"])
                    f.write(f"| {s['what']}, {s['peer']} | {values} | {s['growth']:.2f} |\n")


def readme(results, path, chart, curves):
    """Put the charts and the line between the two marks of a text in Markdown."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    here = os.path.dirname(os.path.abspath(path))
    body = "".join(f"![{alt}]({os.path.relpath(p, here)})\n\n" for alt, p in
                   (("Time as a ratio to kernel overlayfs", chart), ("Time per operation as things grow", curves)) if p)
    body += f"Measured {results.line()}.\n"
    new, n = re.subn(r"(<!-- bench -->\n).*?(<!-- /bench -->)", lambda m: m.group(1) + body + m.group(2), text, flags=re.S)
    if n != 1:
        raise SystemExit(f"run: {path}: wants one <!-- bench --> and <!-- /bench -->")
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)


# --- charts --------------------------------------------------------------------------------------------------------

# Legible on white and on black alike.
INK = "#7d8590"
MARK = "#0969da"
COLORS = {"plyfs": "#1f9e89", "fuse-overlayfs": "#e8710a", "mergerfs": "#8d6cc9", "overlay": "#7d8590", "native": "#4a90d9"}
SPARE = ("#c2417c", "#b59f00", "#3b7dd8")


def color(peer, n):
    return COLORS.get(peer, SPARE[n % len(SPARE)])


def gnuplot(script, path):
    if not shutil.which("gnuplot"):
        raise SystemExit("run: a chart needs gnuplot (apt-get install gnuplot-nox)")
    done = subprocess.run(["gnuplot", "-"], input=script.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode or not done.stdout.rstrip().endswith(b"</svg>"):
        raise SystemExit("run: gnuplot: " + done.stderr.decode(errors="replace").strip()[:400])
    with open(path, "wb") as f:
        f.write(done.stdout)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def chart(results, path):
    """Horizontal bars from 1, which is kernel overlayfs, to the ratio, on a logarithmic axis; the goal is a mark."""
    doc = results.doc
    peers = [p for p in ("plyfs", "fuse-overlayfs", "mergerfs", *(x for x in others(doc) if x not in ("fuse-overlayfs", "mergerfs")))
             if p in doc["peers"] and p not in ("native", FLOOR)]
    rows = [r for r in doc["rows"].values() if r["goal_is"] != "value" and "ratio" in r["results"].get(OURS, {})]
    if not rows:
        raise SystemExit("run: no ratio to draw: plyfs and overlay must both have been measured")
    ratios = [r["results"][p]["ratio"] for r in rows for p in (*peers, FLOOR) if "ratio" in r["results"].get(p, {})]
    low = min([0.2, *ratios] + [r["goal"] for r in rows if r["goal"]]) / 1.5
    high = max([5, *ratios]) * 1.5
    n = len(rows)
    height = 90 + n * (10 * len(peers) + 8)
    data, plots = [], []
    thick = 0.8 / len(peers)
    for k, peer in enumerate(peers):
        data.append(f"$p{k} << END")
        for i, row in enumerate(rows):
            ratio = row["results"].get(peer, {}).get("ratio")
            if ratio is not None:
                y = n - i + 0.4 - (k + 0.5) * thick
                data.append(f"{ratio} {y} {min(1, ratio)} {max(1, ratio)} {y - thick * 0.45} {y + thick * 0.45}")
        data.append("END")
        plots.append(f"$p{k} using 1:2:3:4:5:6 with boxxyerror fs solid 1 noborder lc rgb '{color(peer, k)}' title {quoted(peer)}")
    data.append("$goal << END")
    for i, row in enumerate(rows):
        if row["goal"]:
            data.append(f"{row['goal']} {n - i - 0.42} 0 0.84")
    data.append("END")
    if any(r["goal"] for r in rows):
        plots.append("$goal using 1:2:3:4 with vectors nohead lw 2 lc rgb '#d1242f' title 'goal of plyfs'")
    floors = [(r["results"][FLOOR]["ratio"], n - i - 0.42) for i, r in enumerate(rows) if "ratio" in r["results"].get(FLOOR, {})]
    if floors:
        data += ["$floor << END", *(f"{x} {y} 0 0.84" for x, y in floors), "END"]
        plots.append(f"$floor using 1:2:3:4 with vectors nohead lw 2 lc rgb '{MARK}' title 'floor of the protocol'")
    tics = ", ".join(f"{quoted(row['title'])} {n - i}" for i, row in enumerate(rows))
    script = [
        f"set terminal svg size 900,{height} dynamic noenhanced font 'sans-serif,12'",
        *data,
        "set logscale x", f"set xrange [{low}:{high}]", f"set yrange [0.4:{n + 0.6}]",
        f"set border 1 lc rgb '{INK}'",
        f"set xtics nomirror out tc rgb '{INK}' (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, '1' 1, 2, 5, 10, 20, 50)",
        f"set ytics scale 0 nomirror tc rgb '{INK}' ({tics})",
        f"set grid xtics lc rgb '{INK}' lw 0.3 dt 3",
        f"set arrow from 1, 0.4 to 1, {n + 0.6} nohead lw 1.5 lc rgb '{INK}' back",
        "set tmargin 6",
        f"set title 'time as a ratio to kernel overlayfs (= 1); left is faster' tc rgb '{INK}'",
        f"set key at screen 0.98, screen {1 - 12 / height} right top horizontal maxcols 5 samplen 1.5 width -1 tc rgb '{INK}'",
        "plot " + ", ".join(plots),
    ]
    gnuplot("\n".join(script) + "\n", path)


def chart_curves(results, path):
    doc = results.doc
    if not doc["curves"]:
        raise SystemExit("run: no curves in these results: measure with --curves")
    curves = list(doc["curves"].items())
    script = [f"set terminal svg size 900,{320 * len(curves)} dynamic noenhanced font 'sans-serif,12'",
              f"set multiplot layout {len(curves)},1", f"set border 3 lc rgb '{INK}'", "set logscale xy",
              f"set ytics nomirror tc rgb '{INK}'", f"set key outside right samplen 3 maxrows 16 spacing 0.8 tc rgb '{INK}' font ',11'",
              f"set grid lc rgb '{INK}' lw 0.3 dt 3", "set lmargin at screen 0.08", "set rmargin at screen 0.74"]
    for c, (title, curve) in enumerate(curves):
        plots = []
        shapes = list(dict.fromkeys(s["what"] for s in curve["series"]))
        peers = list(dict.fromkeys(s["peer"] for s in curve["series"]))
        for i, s in enumerate(curve["series"]):
            points = [(x, y) for x, y in zip(curve["x"], s["y"]) if y]
            if not points:
                continue
            script += [f"$c{c}_{i} << END", *(f"{x} {y}" for x, y in points), "END"]
            kind = shapes.index(s["what"])
            plots.append(f"$c{c}_{i} using 1:2 with linespoints pt {5 + 2 * kind} ps 0.6 dt {kind + 1} lw 1.6 "
                         f"lc rgb '{color(s['peer'], peers.index(s['peer']))}' title {quoted(s['what'] + ', ' + s['peer'])}")
        if plots:
            tics = ", ".join(f"'{x:,}' {x}" for x in curve["x"])
            script += [f"set xtics nomirror tc rgb '{INK}' ({tics})", f"set xrange [{curve['x'][0] * 0.9}:{curve['x'][-1] * 1.1}]",
                       f"set title {quoted('µs: ' + curve['what'])} tc rgb '{INK}'",
                       f"set xlabel {quoted(title)} tc rgb '{INK}'", "plot " + ", ".join(plots)]
    script.append("unset multiplot")
    gnuplot("\n".join(script) + "\n", path)
