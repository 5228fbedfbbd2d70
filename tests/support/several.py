"""Several connectors on one tenant, as real processes: `several.py BUILD`

The house is the one of the chaos rounds (a queue, three connectors, each with its own local CA), its times are set
here.  Each check prints a line; the exit status is 0 only when all held.
"""
import collections
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "chaos"))

import house
import prepare
import traffic
from house import CONNECTORS, until

LEASE_S, GRACE_S, TAKEOVER_S = 24, 1, 8  # a lease is extended when half of it is over
BURST = 24


def expect(what, holds, known=""):
    print(f"{'ok' if holds else 'FAIL'}: {what}{'' if holds else f': {known}'}", flush=True)
    if not holds:
        raise SystemExit(1)


class Several:
    def __init__(self, h):
        self.house, self.jobs, self.number, self.ids = h, {}, 0, {}

    def set_up(self):
        h = self.house
        house.install(h.build, h.root)
        h.path("jobs").mkdir()
        h.path("devices").mkdir()
        h.root.chmod(0o755)
        h.own(h.root)
        h.ports = dict(zip(("connectors", "producers"), house.free_ports(2)))
        prepare.set_up_queue(h)
        for name in CONNECTORS:
            prepare.set_up_connector(h, name)
        h.run("certdevice", "new", h.path("devices/phone"), "--key", "ec-p256")
        self.set_times()

    def set_times(self):
        """Leases so long that what moves does so for another reason."""
        h = self.house
        h.stop("queue")
        config = h.path("queue/queue.yaml")
        text = config.read_text().replace("lease: 1s", f"lease: {LEASE_S}s\nreconnect_grace: {GRACE_S}s")
        config.write_text(text.replace("takeover_after: 4s", f"takeover_after: {TAKEOVER_S}s"))
        h.start_queue()
        self.begun = time.monotonic()
        h.await_queue()
        until(30, "the connectors", lambda: set(CONNECTORS) <= h.online())

    def submit(self, count):
        """Signed first, so that they come as one burst; their ids."""
        names = [f"issue-{self.number + i}" for i in range(count)]
        self.number += count
        for name in names:
            prepare.sign(self.house, self.jobs, name, "issue", "phone", *prepare.issue_words(name, "corp-user"),
                         "--device", "phone")
        ids = []
        for name in names:
            status, answer = self.house.api("POST", "/jobs", self.house.path(f"jobs/{name}.job.json").read_text())
            expect(f"{name} is accepted", status in traffic.ACCEPTED, answer)
            ids.append(answer["id"])
            self.ids[answer["id"]] = name
        return ids

    def rows(self, ids):
        return [r for r in until(20, "the queue's rows", self.house.store_rows) if r["id"] in ids]

    def in_hand(self, ids, name, state):
        """Those that this connector has in this state."""
        return [r for r in self.rows(ids) if r["store_state"] == state and r["rows"][-1]["connector"] == name]

    def done(self, ids, seconds):
        end, found = time.monotonic() + seconds, []
        for job_id in ids:
            answer = {"state": ""}
            while answer["state"] not in traffic.FINAL and time.monotonic() < end:
                answer = self.house.api("GET", f"/jobs/{job_id}?wait=2", seconds=15)[1]
            found.append(answer)
        expect(f"{len(ids)} jobs are done", all(a["state"] == "done" for a in found), [a["state"] for a in found])
        return collections.Counter(a["connector"] for a in found)

    # ---- what is tested ----

    def share(self):
        by = self.done(self.submit(2 * BURST), 120)
        expect("all three took part", set(by) == set(CONNECTORS), dict(by))

    def fill(self, name, role, state):
        """A burst while a role of this connector stands still; the jobs that stay in its hand."""
        self.house.children(name)[role].send(signal.SIGSTOP)
        ids = self.submit(BURST)
        until(60, f"jobs that are {state} at {name}", lambda: self.in_hand(ids, name, state) and
              all(r["store_state"] == "DONE" or r["rows"] and r["rows"][-1]["connector"] == name for r in self.rows(ids)))
        held = [r["id"] for r in self.in_hand(ids, name, state)]
        expect(f"{name} holds {len(held)} of {BURST}, {state}", 0 < len(held) < BURST)
        return held

    def kill(self, name):
        self.house.kill(name, "supervisor")
        self.house.await_strays(name)
        return time.monotonic()

    def unclaimed_move_at_once(self):
        held = self.fill("hq-2", "keyvault", "LEASED")
        # for one lease time after its start the queue lets nothing expire
        until(LEASE_S, "the queue's own grace", lambda: time.monotonic() > self.begun + LEASE_S)
        self.kill("hq-2")
        by = self.done(held, LEASE_S // 2 - 3)
        expect("others did them", "hq-2" not in by, dict(by))
        self.house.start_connector("hq-2")
        until(30, "hq-2", lambda: "hq-2" in self.house.online())

    def claimed_move_after_takeover(self):
        held = self.fill("hq-1", "ca-runner", "CLAIMED")
        at = self.kill("hq-1")
        until(TAKEOVER_S + 30, "the takeover", lambda: not self.in_hand(held, "hq-1", "CLAIMED"))
        expect("they stayed until the takeover time was over", time.monotonic() - at >= TAKEOVER_S - 1)
        by = self.done(held, 60)
        expect("others did them", "hq-1" not in by, dict(by))
        ends = [a["end"] for r in self.rows(held) for a in r["rows"] if a["connector"] == "hq-1"]
        expect("each takeover is on record", ends == ["taken_over"] * len(held), ends)
        self.house.start_connector("hq-1")
        until(60, "every claim's settlement", lambda: not self.unsettled())
        # the request never reached the CA of the one that was killed, and its runner knows that
        issued = sum(1 for _ in self.house.root.glob("hq-*/state/ca/*/local/issued/*.pem"))
        expect("the CAs have one certificate for each job", issued == self.number, f"{issued} for {self.number}")

    def unsettled(self):
        return [c for r in self.rows(self.ids) for a in r["rows"] for c in a["claims"]
                if c["settlement"] not in ("winner", "not_issued", "orphan_kept", "orphan_revoked", "in_doubt")]


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    root = pathlib.Path(tempfile.mkdtemp(prefix="certconnector-several."))
    test = Several(house.House(build, root, house.free_uid()))
    failed = True
    try:
        test.set_up()
        test.share()
        test.unclaimed_move_at_once()
        test.claimed_move_after_takeover()
        failed = False
    finally:
        test.house.end()
        if failed:
            for log in sorted(root.glob("*.log")):
                print(f"--- last lines of {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        shutil.rmtree(root)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
