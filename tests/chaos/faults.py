"""How each fault of a schedule is done and undone, and whether it bit.

A fault bites when it was seen to have an effect: a process that was there is killed, stopped, ended; the network's
fault met a piece or a connection; the disk has no byte left; the clocks are in the process; and so on.  What was done
and what bit is counted by kind and told with the round, so that a fault that never bites is seen.
"""
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import house as houses
from house import HouseError, until
from plan import DISKS

DISK_MIB = 80  # the connector leaves 64 MiB of a disk to others
WATCH_EVERY_S, WATCHES_END_S = 0.1, 90
LOOK_S = 0.3  # a queue that is stopped is set going again by the same thread that looks


class Faults:
    """Does the faults of one house, and undoes them."""

    def __init__(self, house, ways, connectors, log):
        self.house, self.ways, self.relays, self.connectors, self.log = house, ways, ways.relays, connectors, log
        self.down_until = {}   # process -> time: the keeper leaves it alone until then
        self.later = []        # (time, function): what ends a fault
        self.watches = []      # [next look, end, test, then]: what goes on when something is seen
        self.shifts = {}       # process -> (realtime, monotonic shift, which only grows)
        self.replaced = {name: [] for name in connectors}  # journals that were taken away
        self.clones = []
        self.removed = set()   # connectors that do not come back
        self.store_went_back = False
        # in a build without such places, a crash is one more kill, and told as one
        self.has_crash_points = b"CC_CRASH" in pathlib.Path(house.program("certqueued")).read_bytes()
        self.done, self.bit = collections.Counter(), collections.Counter()

    def at(self, seconds, function):
        self.later.append((time.monotonic() + seconds, function))

    def when(self, seconds, test, then):
        """then(True) as soon as test() is true, then(False) when it was not in time."""
        now = time.monotonic()
        self.watches.append([now, now + seconds, test, then])

    def tick(self):
        """What is due, and daemons that ended are started again, as a service manager does."""
        now = time.monotonic()
        for when, function in sorted((x for x in self.later if x[0] <= now), key=lambda x: x[0]):
            self.later.remove((when, function))
            function()
        for watch in [w for w in self.watches if w[0] <= now]:
            self.look(watch, now)
        for name in ("queue", *self.connectors):
            process = self.house.queue if name == "queue" else self.house.supervisors.get(name)
            if name in self.removed or (process is not None and process.alive()):
                continue
            if name not in self.down_until:
                self.down_until[name] = now + 0.3
                self.log(f"{name} is down")
            elif self.down_until[name] <= now:
                self.start(name)

    def look(self, watch, now):
        seen = watch[2]()
        watch[0] = now + WATCH_EVERY_S
        if seen or now > watch[1]:
            self.watches.remove(watch)
            watch[3](bool(seen))

    def start(self, name):
        self.down_until.pop(name, None)
        if name == "queue":
            self.house.start_queue()
        elif name not in self.removed:
            self.house.start_connector(name)

    def do(self, kind, what):
        self.log(f"{kind} {what}")
        self.done[self.told_as(kind, what)] += 1
        getattr(self, "do_" + kind.replace("-", "_"))(**what)

    def told_as(self, kind, what):
        if kind != "crash" or self.has_crash_points:
            return kind
        return "kill-queue" if what["role"] == "queue" else "kill"

    def bite(self, kind, seen=True):
        self.bit[kind] += bool(seen)
        self.log(f"  {kind}: {'bit' if seen else 'no effect'}")

    # ---- processes ----

    def do_kill(self, name, role, down_s, kind="kill"):
        if role == "supervisor":
            self.down_until[name] = time.monotonic() + down_s
        self.bite(kind, self.house.kill(name, role))

    def do_kill_queue(self, down_s, kind="kill-queue"):
        self.down_until["queue"] = time.monotonic() + down_s
        self.bite(kind, self.house.kill("queue", None))

    def do_stall(self, name, role, for_s):
        target = self.house.queue if name == "queue" else self.house.children(name).get(role)
        if target is not None:
            target.send(signal.SIGSTOP)
            self.at(for_s, lambda: target.send(signal.SIGCONT))
        self.bite("stall", target is not None and target.stopped())

    def do_crash(self, name, word, role, count):
        """It is killed, and its next life ends at this place, in a build that has such places."""
        kind = self.told_as("crash", {"role": role})
        if role == "queue":
            self.house.crash["queue"] = f"{word}:{count}"
            self.do_kill_queue(0.1, kind)
        else:
            self.house.crash[name] = f"{role}:{word}:{count}"
            self.do_kill(name, "supervisor", 0.1, kind)

    def do_drain(self, name):
        """An orderly end, after which the service manager starts it again."""
        self.drain("drain", self.house.supervisors.get(name))

    def do_drain_queue(self):
        self.drain("drain-queue", self.house.queue)

    def drain(self, kind, process):
        if process is None or not process.alive():
            self.bite(kind, False)
            return
        process.send(signal.SIGTERM)
        self.when(15, lambda: not process.alive(), lambda ended: self.bite(kind, ended and process.popen.poll() == 0))

    def do_clock(self, name, realtime_s, monotonic_s):
        before = self.shifts.get(name, (0, 0))
        self.shifts[name] = (realtime_s, before[1] + monotonic_s)
        self.house.set_clock(name, *self.shifts[name])
        process = self.house.queue if name == "queue" else self.house.children(name).get("connector")
        self.bite("clock", self.shifts[name] != before and process is not None and process.maps(f"/clocks/{name}"))

    # ---- between connector and queue ----

    def do_network(self, name, mode, for_s):
        names = self.ways.of(name)
        before = self.relays.hurt(names)
        for relay in names:
            self.relays.set(relay, mode)
        self.at(for_s, lambda: self.end_network(names, before))

    def end_network(self, names, before):
        for relay in names:
            self.relays.set(relay, "pass")
        self.bite("network", self.relays.hurt(names) > before)

    def do_failover(self, name):
        """Nothing comes through at the first address until the connector has come in at the second."""
        first, second = self.ways.of(name)
        if self.relays.mode(first) == "blackhole":
            return
        before = self.relays.connections(second)
        self.relays.set(first, "blackhole")
        self.when(20, lambda: self.relays.connections(second) > before and name in self.house.online(LOOK_S),
                  lambda seen: self.end_failover(first, seen))

    def end_failover(self, first, seen):
        self.relays.set(first, "pass")
        self.bite("failover", seen)

    def do_proxy(self, name, for_s):
        was = self.ways.stop_proxy(name)
        before = self.relays.connections(name)
        self.at(for_s, lambda: self.ways.start_proxy(name))
        self.when(for_s + 20, lambda: self.relays.connections(name) > before, lambda seen: self.bite("proxy", was and seen))

    # ---- disks ----

    def do_disk(self, disk, for_s):
        folder = self.house.path(disk)
        if not os.path.ismount(folder):
            self.log("  left out: no small disk there")
            return
        fill(folder / "filler")
        self.at(for_s, lambda: (folder / "filler").unlink(missing_ok=True))
        self.bite("disk", os.statvfs(folder).f_bavail == 0)

    # ---- journals and stores that go back ----

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
        self.bite("restore", (kept / "data.mdb").read_bytes() != (copy / "data.mdb").read_bytes())
        for file in copy.iterdir():
            shutil.copy2(file, journal / file.name)
        self.house.own(journal)
        shutil.rmtree(copy)
        self.start(name)

    def do_store_restore(self, after_s):
        """The same of the queue's store, in the way that certqueued(8) tells."""
        self.house.kill("queue", None)
        copy = self.house.path("copy-store")
        copy_tree(self.house.path("queue/state"), copy)
        self.start("queue")
        self.at(after_s, lambda: self.put_store_back(copy))

    def put_store_back(self, copy):
        self.log("restored: the queue's store")
        self.house.kill("queue", None)
        for file in copy.iterdir():
            shutil.copy2(file, self.house.path("queue/state", file.name))
        self.house.own(self.house.path("queue/state"))
        said = self.house.run("certqueued", "--config", self.house.path("queue/queue.yaml"), "--restored", check=False)
        self.store_went_back = True
        self.bite("store-restore", said.returncode == 0 and "name=store_went_back" in said.stderr)
        self.start("queue")

    # ---- one identity twice ----

    def do_clone(self, name, for_s):
        """The same identity twice, with one CA between them: its database is where both look."""
        clone = f"{name}.clone"
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
        self.at(for_s, lambda: self.when(10, lambda: re.search("name=(connected|identity_conflict) ", self.house.since(
            f"{clone}.log", 0)), lambda spoke: self.end_clone(clone, spoke)))

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

    def end_clone(self, clone, spoke):
        self.log(f"the clone {clone} is ended")
        self.bite("clone", spoke)
        self.halt(clone)
        self.house.await_strays(clone)

    def comes_back(self, name):
        """The connection is cut, and there is a new session."""
        at = self.house.log_size("queue.log")
        for relay in self.ways.of(name):
            self.relays.set(relay, "reset")
        until(20, f"{name}: a new session", lambda: re.search(rf"name=connector_connected .*connector={name} ",
                                                             self.house.since("queue.log", at)))

    def refuse_clones(self):
        """In the end, whoever has the journal is the owner, and a clone is told so, on both sides; what was wrong."""
        wrong = []
        for clone in self.clones:
            name = clone.removesuffix(".clone")
            for _ in range(2):  # the nonce of the last connection, and the one before, are still good
                self.comes_back(name)
            at, queue_at = self.house.log_size(f"{clone}.log"), self.house.log_size("queue.log")
            self.house.start_connector(clone)
            try:
                until(20, f"{clone}: its refusal", lambda: "name=identity_conflict" in self.house.since(f"{clone}.log", at))
                until(5, f"{clone}: the queue's alarm", lambda: re.search(
                    rf"name=queue_identity_conflict .*connector={name}\b", self.house.since("queue.log", queue_at)))
            except HouseError as error:
                wrong.append(f"invariant 0: a clone is not refused: {error}")
            said = self.house.since(f"{clone}.log", at)
            if re.search(r"name=(connected|\w+_downloaded_request|job_received) ", said):
                wrong.append(f"invariant 0: {clone} was taken for {name}")
            self.halt(clone)
            self.house.await_strays(clone)
            if name not in self.house.online():
                wrong.append(f"invariant 0: {name} does not go on beside its clone")
            self.log(f"{clone} was refused: {not wrong}")
        return wrong

    # ---- owners of claims that are away ----

    def claimed(self, name):
        """Jobs that the store has as claimed by this connector, and gives to another when it stays away."""
        return [row["id"] for row in self.house.store_rows(LOOK_S) or () if row["store_state"] == "CLAIMED" and row["rows"] and row["rows"][-1]["connector"] == name]

    def taken_over(self, name):
        return [row["id"] for row in self.house.store_rows(LOOK_S) or ()
                if any(a["end"] == "taken_over" and a["connector"] == name for a in row["rows"])]

    def do_remove(self, name):
        """It goes for good, with claims if it has some soon: its CA does not answer any more."""
        runner = self.house.children(name).get("ca-runner")
        if runner is not None:
            runner.send(signal.SIGSTOP)
        self.when(4, lambda: self.claimed(name), lambda seen: self.remove(name))

    def remove(self, name):
        claims = self.claimed(name)
        self.log(f"{name} is removed for good, with {len(claims)} claims")
        self.removed.add(name)
        self.halt(name)
        self.house.await_strays(name)
        if claims:
            self.when(30, lambda: self.taken_over(name), lambda seen: self.bite("remove", seen))

    def do_away(self, name):
        """Its CA issues while the connector is stopped for so long that its claims go to another."""
        self.away("away", name, lambda others, seen: self.come_again("away", others, seen))

    def away(self, kind, name, then, all_done=True):
        runner = self.house.children(name).get("ca-runner")
        if runner is None:
            self.bite(kind, False)
            return
        runner.send(signal.SIGSTOP)
        self.when(4, lambda: self.claimed(name), lambda seen: self.go_away(name, runner, then, all_done))

    def go_away(self, name, runner, then, all_done):
        others = [child for role, child in self.house.children(name).items() if role in ("connector", "keyvault")]
        time.sleep(0.1)  # what was granted is asked of the runner
        for p in others:
            p.send(signal.SIGSTOP)
        runner.send(signal.SIGCONT)
        self.log(f"{name} is away")
        self.when(25, lambda: self.replaced_by_another(name, all_done), lambda seen: then(others, seen))

    def come_again(self, kind, others, seen):
        for p in others:
            p.send(signal.SIGCONT)
        self.bite(kind, seen)

    def replaced_by_another(self, name, all_done):
        """An operator gives what it had to others as soon as it is due (the queue's own look at it comes later), and
        all of that is done, where this is waited for."""
        for job in self.claimed(name):
            self.house.control({"op": "job_takeover", "tenant": houses.TENANT, "job": job}, LOOK_S)
        taken = self.taken_over(name)
        states = {row["id"]: row["store_state"] for row in self.house.store_rows(LOOK_S) or ()}
        return taken and (not all_done or all(states.get(job) == "DONE" for job in taken))

    def do_orphan(self, name):
        """The same, and when it comes again its keyvault has been told of another root for its CA, so that nothing of
        what the CA made meanwhile is delivered: certificates that nobody has, beside winners; or, where it is not the
        last one, of jobs that are not over yet and come again to it or to others."""
        self.away("orphan", name, lambda others, seen: self.wrong_root(name, others),
                  all_done=name == self.connectors[-1])

    def wrong_root(self, name, others):
        pins = self.house.path(name, "etc/pins.yaml")
        right, at = pins.read_text(), self.house.log_size(f"{name}.log")
        other = next(n for n in self.connectors if n != name)
        pins.write_text(self.house.path(other, "etc/pins.yaml").read_text().replace(other, name).replace(
            "ca-" + other[-1], "ca-" + name[-1]))
        self.reload(name)
        self.when(5, lambda: "name=reloaded " in self.house.since(f"{name}.log", at),
                  lambda told: self.come_with_wrong_root(name, others, pins, right, at))

    def come_with_wrong_root(self, name, others, pins, right, at):
        for p in others:
            p.send(signal.SIGCONT)
        self.log(f"{name} comes again, with a wrong root")
        self.when(10, lambda: "name=certificate_mismatch role=connector" in self.house.since(f"{name}.log", at),
                  lambda refused: self.at(0.5, lambda: self.right_root(name, pins, right, at)))

    def right_root(self, name, pins, right, at):
        """The mistake is mended before the grace is over.  What is refused meanwhile is revoked beside a winner; of a
        job that is not over it is waited for how that one ends."""
        pins.write_text(right)
        self.reload(name)
        ends = "name=orphan_revoked" if name == self.connectors[-1] else "name=certificate_mismatch role=connector"
        self.when(20, lambda: ends in self.house.since(f"{name}.log", at), lambda seen: self.bite("orphan", seen))

    def reload(self, name):
        process = self.house.supervisors.get(name)
        if process is not None:
            process.send(signal.SIGHUP)

    # ---- the end of all faults ----

    def heal(self):
        due, self.later = sorted(self.later, key=lambda x: x[0]), []
        for _, function in due:
            function()
        end = time.monotonic() + WATCHES_END_S
        while (self.watches or self.later) and time.monotonic() < end:
            self.tick()
            time.sleep(0.02)
        if self.watches or self.later:
            raise HouseError(f"a fault has not come to its end within {WATCHES_END_S} s")
        for name in self.ways.relays.relays:
            self.relays.set(name, "pass")
        for name in ("queue", *self.connectors):
            self.house.set_clock(name, 0, self.shifts.get(name, (0, 0))[1])
        for disk in DISKS:
            self.house.path(disk, "filler").unlink(missing_ok=True)
        self.house.crash.clear()
        self.down_until = {name: 0 for name in self.down_until}

    def counts(self):
        """Kind -> [done, bit]."""
        return {kind: [count, self.bit[kind]] for kind, count in sorted(self.done.items())}


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
