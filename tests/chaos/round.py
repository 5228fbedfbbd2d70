"""One round: a copy of the prepared house, jobs and faults by the seed, healing, and what the checker says.

    round.py --seed N --prepared DIR --root DIR --build DIR --jobs N [--disks]

Writes ROOT/round.json: jobs, violations, and what is to be known of the run; ROOT/round.log is its log.
"""
import argparse
import base64
import json
import pathlib
import re
import shutil
import signal
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from cryptography import x509

import checker
import faults
import house
import prepare
import sources
import traffic
from house import CONNECTORS, House, HouseError, until
from plan import SECONDS, plan, ways
from ways import Ways

WARM = "issue-1"
FINAL_S, SETTLE_S, REST_S, ONLINE_S = 90, 60, 30, 8
DONE_SHARE = 0.5  # of a round's jobs, at least, end well whatever happens
ORPHANS_S = 15  # for orphans to be told of: one that ends while the house is stopped looks like a claim that is open
BAD_WORDS = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer|Assertion .* failed|"
                       r"name=child_exited .*reason=\"signal (?!9\"|15\")")


class Log:
    def __init__(self, path):
        self.file, self.begin = open(path, "a", encoding="utf-8"), time.monotonic()

    def __call__(self, text):
        self.file.write(f"{time.monotonic() - self.begin:7.2f} {text}\n")
        self.file.flush()


def hex_id(job_id):
    """The 16 bytes of a job id, as the journals have them."""
    text = job_id.removeprefix("job_").upper()
    return base64.b32decode(text + "=" * (-len(text) % 8)).hex()


def is_denied(name):
    """By the person at the CAs: every third of those that wait there."""
    number = re.search(r"manual-(\d+)", name)
    return number is not None and int(number[1]) % 3 == 2


class Approver(threading.Thread):
    """The person at the CAs: approves what waits, and denies every third."""

    def __init__(self, h, connectors):
        super().__init__(daemon=True)
        self.house, self.connectors, self.stopping, self.decided = h, connectors, threading.Event(), {}

    def waiting(self, name):
        folder = self.house.path(name, "state/ca", prepare.ca_name(name), "local/requests")
        if not folder.is_dir() or not any(folder.iterdir()):
            return []  # the tool would say the same
        done = self.house.ctl(name, "ca", "requests", check=False)
        try:
            return json.loads(done.stdout) if done.returncode == 0 else []
        except ValueError:
            return []

    def run(self):
        while not self.stopping.wait(0.2):
            for name in self.connectors:
                for request in self.waiting(name):
                    words = ("deny", request["reference"], "--reason", "not this one") \
                        if is_denied(request["subject"]) else ("approve", request["reference"])
                    if self.house.ctl(name, "ca", *words, check=False).returncode == 0:
                        self.decided[request["reference"]] = words[0]


class Round:
    def __init__(self, options, connectors=CONNECTORS):
        self.options, self.connectors, self.approving = options, connectors, connectors
        self.house = House(options.build, options.root, options.uid)
        self.log = Log(self.house.path("round.log"))
        self.jobs = json.loads(self.house.path("jobs.json").read_text())
        self.ways = Ways(self.house, connectors, self.kinds_of_ways(), options.seed)
        self.faults = faults.Faults(self.house, self.ways, connectors, self.log)
        self.producer = self.approver = self.devices = None
        self.notes, self.busy, self.first, self.wrong, self.submitted = {}, {}, {}, [], []
        self.cancelled = set()  # job ids

    def kinds_of_ways(self):
        return ways(self.options.seed)

    def present(self):
        return set(self.connectors) - self.faults.removed

    # ---- start ----

    def start(self):
        ports = house.free_ports(2 + self.ways.count())
        if self.options.disks:
            faults.mount_disks(self.house)
        first = self.ways.build(ports[0], ports[2:])
        self.house.assign_ports({"connectors": ports[0], "producers": ports[1]}, first)
        self.log(f"ways: {self.ways.kinds}")
        self.armed = dict(self.house.crash)
        self.house.start_queue()
        if not "queue" in self.armed:
            self.house.await_queue()
        for name in self.connectors:
            self.house.start_connector(name)

    def plan(self):
        new = [n for n, job in self.jobs.items() if not job.get("old") and n != WARM]
        if not self.house.path("pending").exists():
            new = [n for n in new if not self.jobs[n].get("manual")]
        asked = None if self.options.faults is None else self.options.faults.split(",")
        planned, submitted = plan(self.options.seed, new, self.options.jobs, asked)
        self.log(f"seed {self.options.seed}: {len(submitted)} jobs, {len(planned)} faults")
        for at, kind, what in planned:
            self.log(f"planned {at:5.2f} {kind} {what}")
        return planned, submitted

    def warm_up(self):
        """Until a first job is done: a store that was copied takes its connectors back before it gives out work."""
        self.producer = traffic.Producer(self.house, self.jobs, ())
        if not self.producer.submit(WARM):
            raise HouseError(self.producer.problem)
        self.first = self.producer.accepted
        self.devices = traffic.Devices(self.house, self.jobs, self.accepted)
        self.devices.start()
        until(30, "the first job", lambda: not self.devices.missing())
        until(10, "the connectors", lambda: set(self.connectors) <= self.house.online())
        self.log("up")

    # ---- faults, then none ----

    def suffer(self, planned):
        begin = time.monotonic()
        for at, kind, what in planned:
            while time.monotonic() < begin + at:
                self.faults.tick()
                time.sleep(0.02)
            self.faults.do(kind, what)
        while time.monotonic() < begin + SECONDS:
            self.faults.tick()
            time.sleep(0.02)

    def conflict(self, name):
        """Since its last start this connector was told that another has its identity."""
        return b"name=identity_conflict" in self.house.path(f"{name}.log").read_bytes()[self.house.log_at[name]:]

    def superseded(self, name):
        """It was told last that another connection has its place, and leaves it there for a minute."""
        said = self.house.path(f"{name}.log").read_bytes()[self.house.log_at[name]:]
        return said.rfind(b"a newer connection of this connector") > said.rfind(b"name=connected")

    def recover(self, name):
        """What an operator does after an identity conflict."""
        self.log(f"{name}: identity conflict; an operator adopts the journal")
        self.notes.setdefault("conflicts", []).append(name)
        until(30, f"{name}: its journal to be adopted", lambda: self.adopt(name), 0.2)

    def adopt(self, name):
        """Whether it was taken; a process with an armed crash point may end just then."""
        self.faults.tick()
        self.house.queuectl("connector", "adopt", house.TENANT, name)
        self.house.log_at[name] = self.house.path(f"{name}.log").stat().st_size
        return self.house.ctl(name, "journal", "adopt", "--yes", check=False).returncode == 0

    def restart(self, name):
        self.log(f"{name}: restarted")
        self.house.stop(name)
        self.house.start_connector(name)

    def heal(self):
        self.log("healing")
        self.faults.heal()
        until(30, "the daemons", self.all_run, 0.1)
        self.house.await_queue()
        end, restarted = time.monotonic() + ONLINE_S, set()
        while missing := self.present() - self.house.online():
            self.faults.tick()
            for name in missing:
                if self.conflict(name):
                    self.recover(name)
                elif name not in restarted and self.superseded(name):
                    self.restart(name)
                    restarted.add(name)
            if time.monotonic() > end:
                if missing <= restarted:
                    raise HouseError(f"not connected after healing: {sorted(missing)}")
                for name in missing - restarted:
                    self.restart(name)
                    restarted.add(name)
                end = time.monotonic() + ONLINE_S
            time.sleep(0.1)
        self.log("healed")

    def all_run(self):
        self.faults.tick()
        return self.house.queue.alive() and all(self.house.supervisors[n].alive() for n in self.present())

    # ---- quiescence ----

    def await_rest(self):
        self.producer.join(30)
        if self.producer.is_alive() or self.producer.problem:
            self.producer.stopping = True
            raise HouseError(self.producer.problem or "the producer's jobs were not accepted in time")
        self.log("all accepted")
        if self.faults.store_went_back:
            self.submit_again()
        if self.faults.removed:
            self.mourn()
        self.orphans_until = None
        for what, test, seconds in (("jobs that are final", lambda: not self.devices.missing(), FINAL_S),
                                    ("claims that are settled", self.settled, SETTLE_S),
                                    ("journals at rest", self.at_rest, REST_S)):
            try:
                until(seconds, what, test, 0.1)
            except HouseError as error:
                self.wrong.append(f"invariant 0: {error} {self.busy}")
            self.log(what)
        self.log("at rest")

    def submit_again(self):
        """What a producer does when the queue went back: the same signed bytes are the same job."""
        again = traffic.Producer(self.house, self.jobs, [(0, name) for name in self.producer.accepted.values()])
        again.run()
        if again.problem or not again.accepted.items() <= self.producer.accepted.items():
            raise HouseError(again.problem or "the same bytes got another id")
        self.devices.forget_remade()

    def mourn(self):
        """What an operator does when a connector is gone for good: it is shut out, what is parked with it goes to
        others, and what only it could do is cancelled."""
        gone = self.faults.removed
        for name in gone:
            self.house.queuectl("connector", "disable", house.TENANT, name)

        def over():
            for row in self.house.store_rows() or ():
                name = self.producer.accepted.get(row["id"])
                owner = row["rows"][-1]["connector"] if row["rows"] else None
                if row["store_state"] == "PARKED" and owner in gone:
                    self.house.control({"op": "job_takeover", "tenant": house.TENANT, "job": row["id"]})
                elif row["store_state"] == "READY" and name and self.only_for(name) in gone:
                    self.cancel(row["id"])
            return not self.devices.missing()
        try:
            until(FINAL_S, "the end of what a removed connector had", over, 0.3)
        except HouseError as error:
            self.wrong.append(f"invariant 0: {error}")

    def cancel(self, job_id):
        self.cancelled.add(job_id)
        self.house.control({"op": "job_cancel", "tenant": house.TENANT, "job": job_id})

    def only_for(self, name):
        """The connector that alone can do this job: it has the file's key, the CA that issued, or was named."""
        job = self.jobs[name]
        if job["kind"] == "revoke":
            return CONNECTORS[int(job["target"].removeprefix("old-")) % len(CONNECTORS)]
        return job.get("holder")

    def settled(self):
        rows = self.house.store_rows()
        return rows is not None and all(c["settlement"] in checker.SETTLED for row in rows for a in row["rows"]
                                        for c in a["claims"] if row["store_state"] != "PARKED")

    def at_rest(self):
        if self.orphans_until is None:
            self.orphans_until = time.monotonic() + ORPHANS_S
        for name in self.present():
            done = self.house.ctl(name, "status", check=False)
            try:
                jobs = json.loads(done.stdout)["jobs"]
            except (ValueError, KeyError):
                return False
            self.busy = {name: {s: n for s, n in jobs.items() if s not in checker.AT_REST}}
            if self.busy[name]:
                return False
            if jobs.get("orphan") and time.monotonic() < self.orphans_until:
                return False
        return True

    # ---- what is found ----

    def stored(self, ids):
        found = {}
        for job_id in ids:
            status, answer = self.house.api("GET", f"/jobs/{job_id}")
            if status == 200:
                certificate = (answer.get("result") or {}).get("certificate")
                found[job_id] = {"state": answer["state"], "result_sha256": traffic.result_digest(answer),
                                 "pfx_sha256": traffic.stored_pfx_digest(answer),
                                 "cert_sha256": sources.sha256(base64.b64decode(certificate)) if certificate else "",
                                 "error": answer.get("error")}
        return found

    def given(self, accepted):
        """What was there before has to arrive: the certificate of an imported file, which the store does not show, and
        the root at which a CA's chain ends."""
        files = {j: self.house.path(f"imported/{self.jobs[n]['holder']}.pem") if self.jobs[n]["kind"] == "rewrap" else
                 self.house.path(self.jobs[n]["holder"], "state/ca", prepare.ca_name(self.jobs[n]["holder"]), "local/root.pem")
                 for j, n in accepted.items() if self.jobs[n]["kind"] in ("rewrap", "chain")}
        return {j: sources.describe(x509.load_pem_x509_certificate(path.read_bytes()))["cert_sha256"]
                for j, path in files.items()}

    def accepted(self):
        return dict(self.producer.accepted)

    def gather(self):
        accepted = {job["id"]: name for name, job in self.jobs.items() if "id" in job} | self.producer.accepted
        self.devices.stop()
        devices, told = list(self.devices.installed), {j: a["state"] for j, a in self.devices.final.items()}
        for name, job in self.jobs.items():
            if job.get("old"):
                answer = json.loads(self.house.path(f"old/{name}.json").read_text())
                devices.append(traffic.install(self.house, job["id"], name, job, answer))
                told[job["id"]] = answer["state"]
        found = {"accepted": accepted, "jobs": self.jobs, "hex_ids": {j: hex_id(j) for j in accepted},
                 "submitted": self.submitted, "told": told, "removed": sorted(self.faults.removed),
                 "denied": [n for n in self.jobs if is_denied(n)], "cancelled": sorted(self.cancelled),
                 "faults": sorted(self.faults.done),
                 "devices": [d for d in devices if d], "rows": self.house.store_rows(), "stored": self.stored(accepted),
                 "pending": [], "ca_of": {c: prepare.ca_name(c) for c in CONNECTORS}}
        for job_id, digest in self.given(accepted).items():
            found["stored"].setdefault(job_id, {})["cert_sha256"] = digest
        self.log("asked")
        if found["rows"] is None:
            raise HouseError("the queue does not tell its rows")
        self.stop_all()
        self.log("stopped")
        found["journals"] = {c: sources.read_journals(self.house, c, self.faults.replaced.get(c, ()))
                             for c in (*CONNECTORS, *self.faults.clones)}
        found["vaults"] = {c: sources.read_vault(self.house, c) for c in found["journals"]}
        found["cas"] = {prepare.ca_name(c): sources.read_ca(
            self.house, self.house.path(c, "state/ca", prepare.ca_name(c), "local")) for c in CONNECTORS}
        digests = {n: sources.sha256(self.house.path(f"old/{n}.der").read_bytes())
                   for n, job in self.jobs.items() if job.get("old")}
        found["revoke_jobs"] = {j: digests[self.jobs[n]["target"]] for j, n in accepted.items()
                                if self.jobs[n]["kind"] == "revoke"}
        return found

    def stop_all(self):
        """In an orderly way, all at once."""
        names = sorted(self.present())
        for name in names:
            self.house.supervisors[name].send(signal.SIGTERM)
        for name in names:
            self.house.stop(name, told=True)
        self.house.stop("queue")

    def bad_ends(self):
        for end in self.house.bad_ends():
            yield f"invariant 0: {end}"
        for log in self.house.root.glob("*.log"):
            for line in log.read_text(errors="replace").splitlines():
                if BAD_WORDS.search(line):
                    yield f"invariant 0: {log.name}: {line}"

    def run(self):
        self.start()
        planned, submitted = self.plan()
        self.warm_up()
        self.begin(submitted)
        self.suffer(planned)
        return self.conclude()

    def begin(self, submitted):
        """The jobs; what came before them counts too."""
        self.approver = Approver(self.house, self.approving)
        self.approver.start()
        self.submitted = [*self.first.values(), *(name for _, name in submitted)]
        self.producer = traffic.Producer(self.house, self.jobs, submitted)
        self.producer.accepted.update(self.first)
        self.producer.start()
        if self.devices is None:
            self.devices = traffic.Devices(self.house, self.jobs, self.accepted)
            self.devices.start()

    def conclude(self):
        """(jobs, violations) after healing."""
        self.heal()
        self.wrong += self.faults.refuse_clones()
        self.await_rest()
        self.notes["faults"] = self.faults.counts()
        found = self.gather()
        self.house.path("sources.json").write_text(json.dumps(found))
        states = {}
        for row in found["rows"]:
            states[row["store_state"]] = states.get(row["store_state"], 0) + 1
        self.notes["states"], self.notes["dead"] = states, {}
        for row in found["rows"]:
            if row["store_state"] == "DEAD":
                code = (row.get("error") or {}).get("code", "")
                self.notes["dead"][code] = self.notes["dead"].get(code, 0) + 1
        self.notes["settled"] = {}
        for row in found["rows"]:
            for c in (c for a in row["rows"] for c in a["claims"]):
                self.notes["settled"][c["settlement"]] = self.notes["settled"].get(c["settlement"], 0) + 1
        self.log("judged")
        done = sum(1 for state in found["told"].values() if state == "done")
        if done < DONE_SHARE * len(found["told"]):
            self.wrong.append(f"invariant 0: only {done} of {len(found['told'])} jobs were done")
        return len(self.producer.accepted), checker.check(found) + self.wrong + list(self.bad_ends())

    def end(self):
        try:
            if self.producer is not None:
                self.producer.stopping = True
            if self.approver is not None:
                self.approver.stopping.set()
                self.approver.join(house.TOOL_LIMIT_S)
            if self.devices is not None:
                self.devices.stop()
        finally:  # a SIGTERM may come while it waits
            self.house.end()
            self.ways.end()


def carry_out(one, what):
    """what() gives (jobs, violations); whatever goes wrong is a violation, and nothing is left behind."""
    jobs, violations, begin = 0, [], time.monotonic()
    try:
        jobs, violations = what()
    except Exception as error:  # whatever it is: a round that did not end well is no good round
        one.log(traceback.format_exc())
        violations = [f"the round could not be finished: {error!r}"]
    finally:
        one.end()
    for violation in violations:
        one.log(violation)
    return {"seed": one.options.seed, "jobs": jobs, "violations": violations,
            "seconds": round(time.monotonic() - begin, 1), "notes": one.notes}


def main():
    p = argparse.ArgumentParser()
    for name in ("--prepared", "--root", "--build"):
        p.add_argument(name, required=True)
    p.add_argument("--seed", required=True)
    p.add_argument("--jobs", type=int, required=True)
    p.add_argument("--uid", type=int, required=True)
    p.add_argument("--disks", action="store_true")
    p.add_argument("--faults")
    options = p.parse_args()
    shutil.copytree(options.prepared, options.root, symlinks=True)
    h = House(options.build, options.root, options.uid)
    h.own(options.root)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    one = Round(options)
    try:
        result = carry_out(one, one.run)
    finally:
        if options.disks:
            faults.unmount_disks(one.house)
    one.house.path("round.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
