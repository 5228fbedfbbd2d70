"""The producer and the devices of a round: jobs are submitted until they are accepted, results are opened.

What was accepted and what a device has got is written down here, as it happens: these are sources of their own
for the checker, which asks the queue for the same things later.
"""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import threading
import time

from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from house import HouseError

RETRY_S = 0.15
ACCEPTED = (200, 202)
FINAL = ("done", "failed", "dead", "cancelled")


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


def await_final(house, ids, seconds):
    """The last answer for each id that was final in time."""
    end, found = time.monotonic() + seconds, {}

    def wait(job_id):
        while time.monotonic() < end:
            try:
                status, answer = house.api("GET", f"/jobs/{job_id}?wait=5", seconds=15)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(RETRY_S)
                continue
            if status == 200 and answer["state"] in FINAL:
                found[job_id] = answer
                return
            if status != 200:
                time.sleep(RETRY_S)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(wait, ids))
    return found


def result_digest(answer):
    """Of the result as the API tells it, in one form."""
    return hashlib.sha256(json.dumps(answer.get("result"), sort_keys=True).encode()).hexdigest()


def install(house, job_id, name, job, answer):
    """The device opens the result; what it has then.  None when there is nothing to open."""
    if answer["state"] != "done" or job["kind"] == "revoke":
        return None
    connector = answer["connector"]
    folder = house.path("results")
    folder.mkdir(exist_ok=True)
    folder.joinpath(job_id + ".json").write_text(json.dumps(answer))
    house.own(folder)
    out = house.path("opened", name)
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
