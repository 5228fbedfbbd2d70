"""The schedule of a round, and how each fault is done.

plan(seed, ...) is a pure function: the same seed gives the same jobs at the same times and the same faults at the same
times, and all of it is in the round's log.  What the faults meet depends on the machine.
"""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

from house import CONNECTORS, HouseError
from relay import MODES

SECONDS = 6.0
ROLES = ("connector", "keyvault", "ca-runner", "supervisor")
DISKS = ("hq-1/state/journal", "queue/state")
DISK_MIB = 80  # the connector leaves 64 MiB of a disk to others

# kind: weight
KINDS = {"kill": 6, "kill-queue": 2, "network": 6, "stall": 3, "disk": 2, "crash": 3, "clock": 3}
RARE = {"restore": 0.3, "clone": 0.3}


def crash_points():
    """(word, role) of every numbered place."""
    table = pathlib.Path(__file__).resolve().parents[2] / "base" / "crashpoints.def"
    return re.findall(r'^CRASH_POINT\(\w+, "([^"]+)", "([^"]+)"', table.read_text(), re.M)


def plan_fault(r, kind):
    name = r.choice(CONNECTORS)
    if kind == "kill":
        return {"name": name, "role": r.choice(ROLES), "down_s": round(r.uniform(0.1, 1.5), 2)}
    if kind == "kill-queue":
        return {"down_s": round(r.uniform(0.1, 1.2), 2)}
    if kind == "network":
        return {"name": name, "mode": r.choice(MODES), "for_s": round(r.uniform(0.3, 3.5), 2)}
    if kind == "stall":
        return {"name": r.choice((*CONNECTORS, "queue")), "role": r.choice(("ca-runner", "ca-runner", *ROLES[:2])),
                "for_s": round(r.uniform(0.3, 3.0), 2)}
    if kind == "disk":
        return {"disk": r.choice(DISKS), "for_s": round(r.uniform(0.5, 2.5), 2)}
    if kind == "crash":
        word, role = r.choice(crash_points())
        return {"name": name, "word": word, "role": role, "count": r.randint(1, 4)}
    if kind == "clock":
        return {"name": r.choice((*CONNECTORS, "queue")), "realtime_s": r.choice((0, -300, -20, 15, 200)),
                "monotonic_s": r.choice((0, 0, 3, 40))}
    if kind == "restore":
        return {"name": name, "after_s": round(r.uniform(0.5, 3.0), 2)}
    return {"name": name, "for_s": round(r.uniform(1.0, 3.0), 2)}


def plan(seed, names, jobs):
    """(faults, jobs): each a list of (seconds from the start, what)."""
    r = random.Random(f"chaos {seed}")
    kinds = r.choices(list(KINDS), list(KINDS.values()), k=r.randint(6, 14))
    kinds += [kind for kind, chance in RARE.items() if r.random() < chance]
    faults = sorted(((round(r.uniform(0.1, SECONDS), 2), kind, plan_fault(r, kind)) for kind in kinds), key=lambda f: f[:2])
    chosen = r.sample(sorted(names), min(jobs, len(names)))
    return faults, sorted((round(r.uniform(0, SECONDS * 0.9), 2), name) for name in chosen)


class Faults:
    """Does the faults of one house, and undoes them."""

    def __init__(self, house, relays, connectors, log):
        self.house, self.relays, self.connectors, self.log = house, relays, connectors, log
        self.down_until = {}   # process -> time: the keeper leaves it alone until then
        self.later = []        # (time, function): what ends a fault
        self.shifts = {}       # process -> monotonic shift, which only grows
        self.replaced = {name: [] for name in connectors}  # journals that were taken away
        self.copies = {}
        self.clones = []
        self.adopt = set()     # connectors that need an operator's word

    def at(self, seconds, function):
        self.later.append((time.monotonic() + seconds, function))

    def tick(self):
        """What is due, and daemons that ended are started again, as a service manager does."""
        now = time.monotonic()
        for when, function in sorted((x for x in self.later if x[0] <= now), key=lambda x: x[0]):
            self.later.remove((when, function))
            function()
        for name in ("queue", *self.connectors):
            process = self.house.queue if name == "queue" else self.house.supervisors.get(name)
            if process is not None and process.alive():
                continue
            if name not in self.down_until:
                self.down_until[name] = now + 0.3
                self.log(f"{name} is down")
            elif self.down_until[name] <= now:
                self.start(name)

    def start(self, name):
        self.down_until.pop(name, None)
        if name == "queue":
            self.house.start_queue()
        else:
            self.house.start_connector(name)

    def do(self, kind, what):
        self.log(f"{kind} {what}")
        getattr(self, "do_" + kind.replace("-", "_"))(**what)

    # ---- each fault ----

    def do_kill(self, name, role, down_s):
        if role == "supervisor":
            self.down_until[name] = time.monotonic() + down_s
        self.log(f"  killed: {self.house.kill(name, role)}")

    def do_kill_queue(self, down_s):
        self.down_until["queue"] = time.monotonic() + down_s
        self.house.kill("queue", None)

    def do_network(self, name, mode, for_s):
        self.relays.set(name, mode)
        self.at(for_s, lambda: self.relays.set(name, "pass"))

    def do_stall(self, name, role, for_s):
        target = self.house.queue if name == "queue" else self.house.children(name).get(role)
        if target is not None:
            target.send(signal.SIGSTOP)
            self.at(for_s, lambda: target.send(signal.SIGCONT))

    def do_disk(self, disk, for_s):
        folder = self.house.path(disk)
        if not os.path.ismount(folder):
            self.log("  left out: no small disk there")
            return
        fill(folder / "filler")
        self.at(for_s, lambda: (folder / "filler").unlink(missing_ok=True))

    def do_crash(self, name, word, role, count):
        """It is killed, and its next life ends at this place."""
        if role == "queue":
            self.house.crash["queue"] = f"{word}:{count}"
            self.do_kill_queue(0.1)
        else:
            self.house.crash[name] = f"{role}:{word}:{count}"
            self.do_kill(name, "supervisor", 0.1)

    def do_clock(self, name, realtime_s, monotonic_s):
        self.shifts[name] = self.shifts.get(name, 0) + monotonic_s
        self.house.set_clock(name, realtime_s, self.shifts[name])

    def halt(self, name):
        """All of a connector, at once."""
        children = list(self.house.children(name).values())
        self.house.kill(name, "supervisor")
        for child in children:
            child.send(signal.SIGKILL)
            child.ended(10)

    def do_restore(self, name, after_s):
        """A copy of the journal is made now; later it is what the connector finds."""
        self.halt(name)
        copy = self.house.path(f"copy-{name}-{len(self.replaced[name])}")
        shutil.rmtree(copy, ignore_errors=True)
        copy_tree(self.house.path(name, "state/journal"), copy)
        self.start(name)
        self.at(after_s, lambda: self.put_back(name, copy))

    def put_back(self, name, copy):
        self.log(f"restored: {name}")
        self.halt(name)
        journal = self.house.path(name, "state/journal")
        kept = self.house.path(f"replaced-{name}-{len(self.replaced[name])}")
        copy_tree(journal, kept)
        self.house.own(kept)
        self.replaced[name].append(kept)
        for file in copy.iterdir():
            shutil.copy2(file, journal / file.name)
        self.house.own(journal)
        shutil.rmtree(copy)
        self.start(name)

    def do_clone(self, name, for_s):
        """The same identity twice, with one CA between them: its database is where both look."""
        clone = f"{name}.clone"
        if clone in self.house.supervisors:
            return
        family = [p for p in (self.house.supervisors.get(name), *self.house.children(name).values()) if p]
        for p in family:
            p.send(signal.SIGSTOP)
        try:
            self.copy_connector(name, clone)
        finally:
            for p in family:
                p.send(signal.SIGCONT)
        self.house.start_connector(clone)
        self.clones.append(clone)
        self.at(for_s, lambda: self.end_clone(clone))

    def copy_connector(self, name, clone):
        source, target = self.house.path(name), self.house.path(clone)
        shutil.copytree(source / "etc", target / "etc")
        (target / "run").mkdir()
        (target / "state").mkdir()
        for part in ("identity", "journal", "vault"):
            copy_tree(source / "state" / part, target / "state" / part)
        (target / "state" / "ca").symlink_to(source / "state" / "ca")
        for folder in (target, target / "run", target / "state"):
            shutil.copystat(source, folder)
        self.house.own(target)

    def end_clone(self, clone):
        self.log(f"the clone {clone} is ended")
        self.halt(clone)
        self.house.await_strays(clone)

    # ---- the end of all faults ----

    def heal(self):
        for _, function in sorted(self.later, key=lambda x: x[0]):
            function()
        self.later.clear()
        for name in self.connectors:
            self.relays.set(name, "pass")
        for name in ("queue", *self.connectors):
            self.house.set_clock(name, 0, self.shifts.get(name, 0))
        for disk in DISKS:
            self.house.path(disk, "filler").unlink(missing_ok=True)
        self.house.crash.clear()
        self.down_until = {name: 0 for name in self.down_until}


def copy_tree(source, target):
    """Files that may be written to, so none is expected to stay as long as it was."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("filler"))


def fill(path):
    """To the last page."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError:
                continue
    finally:
        os.close(fd)


def mount_disks(house):
    """Small file systems of their own for the stores that are filled; in a mount namespace of ours only."""
    for disk in DISKS:
        folder = house.path(disk)
        aside = folder.with_name(folder.name + ".aside")
        folder.rename(aside)
        folder.mkdir(mode=0o700)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700,uid={house.uid},gid={house.uid}",
                               "tmpfs", str(folder)], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise HouseError(f"mount: {done.stderr}")
        for file in aside.iterdir():
            shutil.copy2(file, folder / file.name)
        shutil.rmtree(aside)
        house.own(folder)


def unmount_disks(house):
    for disk in DISKS:
        if os.path.ismount(house.path(disk)):
            subprocess.run(["umount", "-l", str(house.path(disk))], check=False)
