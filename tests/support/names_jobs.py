#!/usr/bin/env python3
"""Difficult names of tests/data/names.tsv as jobs, and the certificates that come of them, byte by byte.

usage: names_jobs.py write NAMES.TSV BASE.request.json DIR   DIR/NAME.request.json; prints the names
       names_jobs.py check NAMES.TSV RESULT.json NAME         what is wrong, or nothing

The DER of the table comes from python3-cryptography; a certificate is taken apart here with a reader of
tag, length and value, so that nothing is encoded again before it is compared."""
import base64
import calendar
import copy
import json
import sys
import time
import urllib.parse

SID = "S-1-5-21-666199682-1411342147-2938717855-1001"
# name: (subject's row, alternative names' row, profile, rows of extensions, percentage of the renewal hint)
CASES = {
    "custom": ("profile-custom", "san-emails", "names", ["sid-domain"], 20),
    "directory": ("profile-dn-of-directory", "san-upn-and-sid-uri", "names", [], 1),
    "specials": ("all-specials", "san-uris", "names", [], 0),
    "spaces": ("spaces-both-ends", "san-ips", "names", [], 99),
    "emoji": ("utf8-emoji", "san-upn-utf8", "names", [], 0),
    "multi-valued": ("multi-valued-sorted", "san-order-kept", "names-v1", ["template-v1-user"], 0),
    "hex": ("hex-string-printable", "san-dnses", "names-v2", ["template-v2"], 0),
    "everything": ("specials-in-every-rdn", "san-two-of-each", "names-v2",
                   ["template-v2", "smime-capabilities", "sid-domain"], 50),
    "all-types": ("utf8-german", "san-all", "names", [], 0),
    "many": ("many-rdns", "san-uri", "names", ["smime-capabilities"], 0),
    "no-subject": ("empty", "san-email", "names", [], 0),
    "no-san": ("rfc-2", None, "names-v1", ["template-v1-user"], 0),
    "mixed-hex": ("utf8-mixed-hex", "san-ip6", "names", [], 0),
}
OIDS = {"sid": "2b060104018237" + "1902", "template-name": "2b060104018237" + "1402",
        "template-id": "2b060104018237" + "1507", "smime": "2a864886f70d01090f"}
SAN = "551d11"


def table(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return {row[0]: {"kind": row[1], "input": urllib.parse.unquote(row[2]), "der": row[4]}
            for row in rows if row[3] == "ok"}


def write(path, base, folder):
    rows = table(path)
    for name, (subject, san, profile, extensions, percent) in CASES.items():
        request = copy.deepcopy(base)
        issue = request["issue"]
        request["idempotency_key"] = "names-" + name
        issue["ca_profile"] = profile
        issue["subject"] = rows[subject]["input"]
        issue["holder"]["sid"] = SID
        issue["renew_percent"] = percent
        issue["smime_capabilities"] = "smime-capabilities" in extensions
        issue["san"] = []
        if "sid-domain" in extensions:
            issue["sid_form"] = "extension"
        for item in rows[san]["input"].split(" | ") if san else []:
            kind, value = item.split(":", 1)
            if kind != "sid":
                issue["san"].append({"type": kind, "value": value})
            elif "sid_form" not in issue:
                issue["sid_form"] = "uri"
        with open("%s/%s.request.json" % (folder, name), "w", encoding="utf-8") as file:
            json.dump(request, file)
        print(name)


# ---- a certificate taken apart

def parts(data):
    """The elements of a DER sequence's content: (tag, content, whole)."""
    at = 0
    while at < len(data):
        start, tag, size = at, data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7f
            size, at = int.from_bytes(data[at:at + count], "big"), at + count
        yield tag, data[at:at + size], data[start:at + size]
        at += size


def seconds(part):
    tag, content, _ = part
    text = content.decode()
    return calendar.timegm(time.strptime(text if tag == 0x18 else "20" + text, "%Y%m%d%H%M%SZ"))


def take_apart(der):
    tbs = list(parts(list(parts(list(parts(der))[0][1]))[0][1]))
    times = [seconds(p) for p in parts(tbs[4][1])]
    extensions = {}
    for _, content, _ in parts(list(parts(tbs[-1][1]))[0][1]):
        fields = list(parts(content))
        oid = fields[0][1].hex()
        if oid in extensions:
            sys.exit("extension %s is there twice" % oid)
        extensions[oid] = (len(fields) == 3, fields[-1][1].hex())
    return tbs[5][2].hex(), times, extensions


def find(value, key):
    if isinstance(value, dict):
        return value[key] if key in value else next(
            (f for f in (find(v, key) for v in value.values()) if f is not None), None)
    return None


def same(what, found, expected):
    if found != expected:
        sys.exit("%s:\n  found    %s\n  expected %s" % (what, found, expected))


def check(path, result, name):
    rows = table(path)
    subject, san, _, asked, percent = CASES[name]
    der = base64.b64decode(find(result, "certificate"))
    found, (start, end), extensions = take_apart(der)
    same("subject", found, rows[subject]["der"])
    alternative = rows[san]["der"] if san else None
    same("alternative names", extensions.get(SAN, (None, None))[1], alternative)
    same("alternative names critical", extensions.get(SAN, (False,))[0], subject == "empty")
    for kind, oid in OIDS.items():
        row = next((rows[e] for e in asked if rows[e]["kind"] == kind), None)
        same(kind, extensions.get(oid), (False, row["der"]) if row else None)
    hint = find(result, "renew_at")
    same("renew_at", hint and calendar.timegm(time.strptime(hint, "%Y-%m-%dT%H:%M:%SZ")),
         end - (end - start) * percent // 100 if percent else None)


def main():
    with open(sys.argv[3], encoding="utf-8") as file:
        document = json.load(file)
    if sys.argv[1] == "write":
        write(sys.argv[2], document, sys.argv[4])
    else:
        check(sys.argv[2], document, sys.argv[4])


main()
