#!/usr/bin/env python3
"""The golden vectors through the door of a queue that runs: each gets the status and the code that its set says.

usage: vectors_live.py URL TOKEN-FILE CA-FILE FRESH.json COMMITTED.json

URL ends in /v1/tenants/golden.  FRESH was made for this hour (proto/vectors/make --at), COMMITTED is the golden
file, whose jobs are of the past: what was good is told to be expired, and nothing else changes."""
import http.client
import json
import ssl
import sys
import urllib.parse


class Door:
    def __init__(self, url, token_file, ca_file):
        self.at = urllib.parse.urlsplit(url)
        self.tls = ssl.create_default_context(cafile=ca_file)
        with open(token_file, encoding="ascii") as file:
            self.headers = {"Authorization": "Bearer " + file.read().strip(), "Content-Type": "application/json"}

    def ask(self, method, path, body=None, **headers):
        door = http.client.HTTPSConnection(self.at.hostname, self.at.port, context=self.tls, timeout=30)
        door.request(method, self.at.path + path, json.dumps(body) if body else None, {**self.headers, **headers})
        answer = door.getresponse()
        text = answer.read()
        door.close()
        return answer.status, json.loads(text) if text else {}


def expect(name, answer, expected):
    status, body = answer
    found = {"status": status, "code": body.get("code")} if status >= 400 else {"status": status}
    if found != expected:
        sys.exit("%s: %s instead of %s: %s" % (name, found, expected, body))


def main():
    door = Door(*sys.argv[1:4])
    sets = []
    for path in sys.argv[4:6]:
        with open(path, encoding="utf-8") as file:
            sets.append(json.load(file))
    fresh, committed = sets
    verdicts = 0
    for statement in fresh["statements"]:
        key_id = fresh["signers"][statement["signer"]]["key_id"]
        status, body = door.ask("PUT", "/signers/" + key_id, statement["submit"])
        if status not in (200, 201):
            sys.exit("statement of %s: %d %s" % (statement["signer"], status, body))
    for record in fresh["records"]:
        expect("record", door.ask("POST", "/user-pfx", record, **{"Idempotency-Key": "record"}), {"status": 201})
    ids = set()
    for vector in fresh["jobs"]:
        status, body = answer = door.ask("POST", "/jobs", vector["submit"])
        expect(vector["name"], answer, vector["http"])
        verdicts += 1
        if status == 202:
            ids.add(body["id"])
            if body["id"] != vector["job_id"] or body["kind"] not in vector["job"]:
                sys.exit("%s: another id or kind: %s" % (vector["name"], body))
            expect(vector["name"] + " again", door.ask("POST", "/jobs", vector["submit"]), {"status": 200})
    for vector in fresh["refused"] + fresh["requests"]:
        expect(vector["name"], door.ask("POST", "/jobs", vector["submit"]), vector["http"])
        verdicts += 1
    for vector in committed["jobs"]:
        expect(vector["name"], door.ask("POST", "/jobs", vector["submit"]), {"status": 422, "code": "expired"})
        verdicts += 1
    for vector in committed["refused"] + committed["requests"]:
        expect(vector["name"], door.ask("POST", "/jobs", vector["submit"]), vector["http"])
        verdicts += 1
    status, body = door.ask("GET", "/jobs?limit=500")
    if status != 200 or {job["id"] for job in body["jobs"]} != ids:
        sys.exit("the queue does not hold exactly what it took: %d %s" % (status, body))
    print("%d verdicts as said, %d jobs taken, each once" % (verdicts, len(ids)))


main()
