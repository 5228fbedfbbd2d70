#!/usr/bin/env python3
"""Many jobs made of a few signed ones: each copy has an idempotency key of its own and is signed anew; a window of them
is open at a time, until all are final.

usage: many_jobs.py --queue URL --tenant T --token-file F --ca-file PEM --signer-key PEM --prefix P --count N JOB.json ...

Prints how many were done and how long it took; ends with 1 when one was not done.
"""
import argparse
import base64
import collections
import http.client
import json
import ssl
import sys
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

JOB_TYPE = "application/vnd.certq.job.v1+protobuf"
KEY_FIELD = 4  # idempotency_key of JobDocument
WINDOW, BATCH = 150, 10


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def with_key(body, key):
    """The same document under another idempotency key."""
    out, at = b"", 0
    while at < len(body):
        start = at
        tag, at = read_varint(body, at)
        if tag & 7 == 2:
            size, at = read_varint(body, at)
            at += size
        else:
            _, at = read_varint(body, at)
        out += varint(tag) + varint(len(key)) + key if tag >> 3 == KEY_FIELD else body[start:at]
    return out


class Producer:
    def __init__(self, options):
        url = urllib.parse.urlsplit(options.queue)
        with open(options.token_file, encoding="ascii") as file:
            self.headers = {"Authorization": "Bearer " + file.read().strip(), "Content-Type": "application/json"}
        with open(options.signer_key, "rb") as file:
            self.key = serialization.load_pem_private_key(file.read(), None)
        self.prefix = "/v1/tenants/" + options.tenant
        self.connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=120,
                                                      context=ssl.create_default_context(cafile=options.ca_file))
        self.templates = []
        for path in options.jobs:
            with open(path, encoding="utf-8") as file:
                job = json.load(file)
            self.templates.append((base64.b64decode(job["document"]), job["signatures"][0]["key_id"]))

    def ask(self, method, path, body=None):
        self.connection.request(method, self.prefix + path, json.dumps(body) if body else None, self.headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def signed(self, number, prefix):
        body, key_id = self.templates[number % len(self.templates)]
        body = with_key(body, f"{prefix}-{number}".encode())
        said = b"DSSEv1 %d %s %d %s" % (len(JOB_TYPE), JOB_TYPE.encode(), len(body), body)
        is_ec = isinstance(self.key, ec.EllipticCurvePrivateKey)
        signature = self.key.sign(said, ec.ECDSA(hashes.SHA256())) if is_ec else self.key.sign(said)
        return {"document": base64.b64encode(body).decode(), "document_type": JOB_TYPE, "signatures": [
            {"key_id": key_id, "signature": base64.b64encode(signature).decode()}]}

    def submit(self, numbers, prefix):
        status, answer = self.ask("POST", "/jobs:batch", {"jobs": [self.signed(n, prefix) for n in numbers]})
        if status not in (200, 202, 207) or any("id" not in job for job in answer["jobs"]):
            sys.exit(f"error: {status} {json.dumps(answer)[:400]}")
        return [job["id"] for job in answer["jobs"]]

    def final(self, job_id):
        while True:
            status, answer = self.ask("GET", f"/jobs/{job_id}?wait=60")
            if status != 200:
                sys.exit(f"error: {status} {answer}")
            if answer["state"] in ("done", "failed", "dead", "cancelled"):
                return answer


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    for name in ("queue", "tenant", "token-file", "ca-file", "signer-key", "prefix"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("jobs", nargs="+")
    options = parser.parse_args()
    producer, open_ids, done, begin = Producer(options), collections.deque(), 0, time.monotonic()
    for first in range(0, options.count, BATCH):
        open_ids += producer.submit(range(first, min(first + BATCH, options.count)), options.prefix)
        while len(open_ids) > WINDOW or (open_ids and first + BATCH >= options.count):
            answer = producer.final(open_ids.popleft())
            if answer["state"] != "done":
                sys.exit(f"error: {answer['id']} is {answer['state']}: {answer.get('error')}")
            done += 1
    print(f"{done} jobs in {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    main()
