"""The producer and the devices of a round: jobs are submitted until they are accepted, results are opened.

What was accepted and what a device has got is written down here, as it happens: these are sources of their own
for the checker, which asks the queue for the same things later.
"""
import base64
import hashlib
import http.client
import json
import shutil
import threading
import time

from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from house import HouseError

RETRY_S, LOOK_S = 0.15, 0.3
ACCEPTED = (200, 202)
FINAL = ("done", "failed", "dead", "cancelled")
TERMINAL = ("DONE", "DEAD", "CANCELLED")


class Producer(threading.Thread):
    """Submits jobs one after the other, each at its time, each until it is accepted."""

    def __init__(self, house, jobs, plan):
        super().__init__(daemon=True)
        self.house, self.jobs, self.plan = house, jobs, plan  # plan: (seconds from the start, name)
        self.accepted, self.refused = {}, []                  # id -> name; what was told instead
        self.stopping = False
        self.problem = None

    def run(self):
        try:
            self.submit_all()
        except Exception as error:  # whatever it is, the round is told
            self.problem = f"the producer failed: {error!r}"

    def submit_all(self):
        begin = time.monotonic()
        for at, name in self.plan:
            time.sleep(max(0.0, begin + at - time.monotonic()))
            if not self.submit(name):
                return

    def submit(self, name):
        text = self.house.path(f"jobs/{name}.job.json").read_text()
        path = "/user-pfx:deliver" if self.jobs[name]["kind"] == "rewrap" else "/jobs"
        if path != "/jobs":
            text = json.dumps({"jobs": [json.loads(text)]})
        while not self.stopping:
            try:
                status, answer = self.house.api("POST", path, text)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(RETRY_S)
                continue
            if status in ACCEPTED:
                answer = answer["jobs"][0] if path != "/jobs" else answer
                if "id" in answer:
                    self.accepted[answer["id"]] = name
                    return True
                self.refused.append((name, answer))  # of a batch, each item has its own answer
            elif status < 500 and status != 429:
                self.problem = f"{name}: the queue answers {status}: {answer}"
                return False
            time.sleep(RETRY_S)
        return False


class Devices(threading.Thread):
    """Each result is opened by its device as soon as it can be had; the first final answer for each id is kept."""

    def __init__(self, house, jobs, accepted):
        super().__init__(daemon=True)
        self.house, self.jobs, self.accepted = house, jobs, accepted  # accepted(): id -> name
        self.final, self.installed, self.lock = {}, [], threading.Lock()
        self.stopping, self.problem = threading.Event(), None

    def run(self):
        try:
            while not self.stopping.wait(LOOK_S):
                self.look()
        except Exception as error:  # whatever it is, the round is told
            self.problem = f"the devices failed: {error!r}"

    def look(self):
        """The store's word is only a hint of what to ask the API for."""
        accepted = self.accepted()
        for row in self.house.store_rows() or ():
            if row["store_state"] in TERMINAL and row["id"] in accepted and row["id"] not in self.final:
                self.fetch(row["id"], accepted[row["id"]])

    def fetch(self, job_id, name):
        try:
            status, answer = self.house.api("GET", f"/jobs/{job_id}", seconds=15)
        except (OSError, http.client.HTTPException, ValueError):
            return
        if status == 200 and answer["state"] in FINAL:
            device = install(self.house, job_id, name, self.jobs[name], answer)
            with self.lock:
                self.installed.append(device)
                self.final[job_id] = answer

    def forget_remade(self):
        """A store that went back may have these done again, with other bytes: what has no claim is sealed anew, and what
        failed has a second chance.  Certificates that were issued are never made again."""
        accepted = self.accepted()
        with self.lock:
            again = {job_id for job_id, answer in self.final.items() if job_id in accepted and (
                self.jobs[accepted[job_id]]["kind"] != "issue" or answer["state"] != "done")}
            self.final = {job_id: answer for job_id, answer in self.final.items() if job_id not in again}
            self.installed = [d for d in self.installed if d is None or d["job"] not in again]

    def missing(self):
        if self.problem:
            raise HouseError(self.problem)
        return [job_id for job_id in self.accepted() if job_id not in self.final]

    def stop(self):
        self.stopping.set()
        if self.is_alive():
            self.join(60)


def result_digest(answer):
    """Of the result as the API tells it, in one form."""
    return hashlib.sha256(json.dumps(answer.get("result"), sort_keys=True).encode()).hexdigest()


def install(house, job_id, name, job, answer):
    """The device opens the result; what it has then.  None when there is nothing to open."""
    if answer["state"] != "done" or job["kind"] == "revoke":
        return None
    if job["kind"] == "chain":
        return {"job": job_id, "name": name, "result_sha256": result_digest(answer), "pfx_sha256": "",
                "cert_sha256": hashlib.sha256(base64.b64decode(answer["result"]["chain"][-1])).hexdigest()}
    connector = answer["connector"]
    folder = house.path("results")
    folder.mkdir(exist_ok=True)
    folder.joinpath(job_id + ".json").write_text(json.dumps(answer))
    house.own(folder)
    out = house.path("opened", name)
    shutil.rmtree(out, ignore_errors=True)
    try:
        house.run("certdevice", "open", "--dir", house.path("devices", job["device"]), "--job",
                  house.path(f"jobs/{name}.job.json"), "--result", folder / (job_id + ".json"), "--result-keys",
                  house.path(connector, "result-keys.json"), "--out", out)
    except HouseError as error:
        return {"job": job_id, "name": name, "failure": str(error), "result_sha256": result_digest(answer)}
    pfx = out.joinpath("result.pfx").read_bytes()
    _, leaf, _ = pkcs12.load_key_and_certificates(pfx, out.joinpath("password").read_bytes())
    return {"job": job_id, "name": name, "result_sha256": result_digest(answer),
            "pfx_sha256": hashlib.sha256(pfx).hexdigest(),
            "cert_sha256": hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
            "issuer": leaf.issuer.rfc4514_string(), "serial": f"{leaf.serial_number:x}"}


def stored_pfx_digest(answer):
    pfx = (answer.get("result") or {}).get("pfx")
    return hashlib.sha256(base64.b64decode(pfx)).hexdigest() if pfx else ""
