#!/usr/bin/env python3
"""A producer in Python (standard library and python3-cryptography): makes one PKCS job, signs it, submits it,
submits it again, and waits for the end.  docs/protocol.md says what is done here; any protobuf library can stand
in place of encode().

usage: producer.py --queue URL --tenant T --token-file F --ca-file PEM --signer-key PEM --device-key PEM
                   --profile P --user U --subject S --key IDEMPOTENCY-KEY [--job-out F] [--result-out F]
       producer.py --vectors FILE
"""
import argparse
import base64
import hashlib
import json
import ssl
import sys
import time
import urllib.error
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

JOB_TYPE = "application/vnd.certq.job.v1+protobuf"

# ---- proto/certq/v1/job.proto: (name, number, type); an enum is a dictionary, a message the name of a list here

SEAL = {"cms-auth": 1, "oaep-sha256": 2, "windows": 3}
PFX = {"modern": 1, "compat": 2}
KEY = {"rsa-2048": 1, "rsa-3072": 2, "rsa-4096": 3, "ec-p256": 4, "ec-p384": 5}
SID = {"none": 0, "extension": 1, "uri": 2}
ALT = {"email": 1, "dns": 2, "uri": 3, "ip": 4, "upn": 5}
PADDING = {"oaep-sha256": 3, "oaep-sha384": 4, "oaep-sha512": 5}
MESSAGES = {
    "job": [("version", 1, "int"), ("tenant", 2, "text"), ("audience", 3, "text"), ("idempotency_key", 4, "text"),
            ("not_before_s", 5, "int"), ("not_after_s", 6, "int"), ("correlation_id", 7, "text"),
            ("issue", 10, "issue"), ("rewrap", 11, "rewrap"), ("revoke", 12, "revoke"), ("chain", 13, "chain")],
    "holder": [("user_id", 1, "text"), ("upn", 2, "text"), ("email", 3, "text"), ("sid", 4, "text"),
               ("device_id", 5, "text")],
    "device_key": [("spki", 1, "bytes"), ("certificate_chain", 2, "bytes"), ("seal", 3, SEAL)],
    "san": [("type", 1, ALT), ("value", 2, "text")],
    "issue": [("holder", 1, "holder"), ("device_key", 2, "device_key"), ("ca_profile", 3, "text"),
              ("key_type", 4, KEY), ("subject", 5, "text"), ("san", 6, "san"), ("sid_form", 7, SID),
              ("eku", 8, "text"), ("key_usage", 9, "int"), ("validity_s", 10, "int"),
              ("smime_capabilities", 11, "int"), ("pfx_profile", 12, PFX), ("renew_percent", 13, "int"),
              ("template", 14, "text")],
    "password": [("key_id", 1, "bytes"), ("sha256", 2, "bytes")],
    "rewrap": [("holder", 1, "holder"), ("device_key", 2, "device_key"), ("record_id", 3, "text"),
               ("purpose", 4, "text"), ("pfx_sha256", 5, "bytes"), ("padding", 6, PADDING), ("binding", 7, "int"),
               ("passwords", 8, "password")],
    "revoke": [("ca_profile", 1, "text"), ("issuer", 2, "bytes"), ("serial", 3, "bytes"), ("reason", 4, "int")],
    "chain": [("ca_profile", 1, "text")],
}


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number, kind, value):
    if isinstance(kind, dict):
        value, kind = kind[value], "int"
    if kind == "int":
        return varint(number << 3) + varint(int(value))
    data = {"text": str.encode, "bytes": base64.b64decode}.get(kind, lambda v: encode(kind, v))(value)
    return varint(number << 3 | 2) + varint(len(data)) + data


def encode(message, values):
    """Fields ascending; a default value (0, false, "") is not written, a message and a list's item always is."""
    out = b""
    for name, number, kind in MESSAGES[message]:
        value = values.get(name)
        for item in value if isinstance(value, list) else [value] if value else []:
            out += field(number, kind, item)
    return out


# ---- DSSE: what is signed is "DSSEv1" SP length(type) SP type SP length(body) SP body

def pae(kind, body):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)


def sign(key, message):
    is_ec = isinstance(key, ec.EllipticCurvePrivateKey)     # P-256; the signature is DER
    return key.sign(message, ec.ECDSA(hashes.SHA256())) if is_ec else key.sign(message)


def verifies(public_key, signature, message):
    try:
        is_ec = isinstance(public_key, ec.EllipticCurvePublicKey)
        public_key.verify(signature, message, *([ec.ECDSA(hashes.SHA256())] if is_ec else []))
        return True
    except InvalidSignature:
        return False


def spki_of(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def envelope(key, body, kind=JOB_TYPE):
    """The JSON body of POST .../jobs."""
    key_id = hashlib.sha256(spki_of(key.public_key())).hexdigest()
    return {"document": base64.b64encode(body).decode(), "document_type": kind, "signatures": [
        {"key_id": key_id, "signature": base64.b64encode(sign(key, pae(kind, body))).decode()}]}


def job_id(tenant, idempotency_key):
    items = [b"certq-job-v1", tenant.encode(), idempotency_key.encode()]
    digest = hashlib.sha256(b"".join(len(i).to_bytes(4, "big") + i for i in items)).digest()[:16]
    return "job_" + base64.b32encode(digest).decode().rstrip("=").lower()


# ---- a job from beginning to end

def ask(o, method, path, body=None):
    with open(o.token_file, encoding="ascii") as file:
        headers = {"Authorization": "Bearer " + file.read().strip(), "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request("%s/v1/tenants/%s%s" % (o.queue, o.tenant, path), data, headers, method=method)
    try:
        tls = ssl.create_default_context(cafile=o.ca_file)
        with urllib.request.urlopen(request, context=tls, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:     # problem+json: code is stable, detail is for people
        problem = json.load(error)
        sys.exit("error: %d %s: %s" % (error.code, problem["code"], problem.get("detail", "")))


def save(path, value):
    if path:
        with open(path, "w", encoding="ascii") as file:
            json.dump(value, file)


def produce(o):
    with open(o.signer_key, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    with open(o.device_key, "rb") as file:
        device = serialization.load_pem_public_key(file.read())
    now = int(time.time())
    body = encode("job", {      # made once; sent again it must be the same bytes
        "version": 1, "tenant": o.tenant, "idempotency_key": o.key, "not_before_s": now, "not_after_s": now + 86400,
        "issue": {"holder": {"user_id": o.user}, "device_key": {"spki": base64.b64encode(spki_of(device)).decode()},
                  "ca_profile": o.profile, "key_type": "rsa-2048", "subject": o.subject}})
    job = envelope(key, body)
    save(o.job_out, job)
    status, accepted = ask(o, "POST", "/jobs", job)
    print("submitted: %d %s %s" % (status, accepted["id"], accepted["state"]))
    status, again = ask(o, "POST", "/jobs", job)     # a repeat is harmless: 200, the same job
    print("again: %d %s" % (status, again["id"]))
    while True:
        _, answer = ask(o, "GET", "/jobs/%s?wait=30" % accepted["id"])
        print("state: " + answer["state"])
        if answer["state"] in ("done", "failed", "dead", "cancelled"):
            break
    save(o.result_out, answer)
    if answer["state"] != "done":
        sys.exit("error: " + answer.get("error", {}).get("code", answer["state"]))


# ---- the golden vectors, proto/vectors/jobs.json

def check_vectors(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    keys = {name: serialization.load_der_private_key(base64.b64decode(s["private_key"]), None)
            for name, s in vectors["signers"].items()}
    for vector in vectors["jobs"] + vectors["refused"]:
        name, key, submit = vector["name"], keys[vector["signer"]], vector["submit"]
        body, given = base64.b64decode(submit["document"]), submit["signatures"][0]
        valid = verifies(key.public_key(), base64.b64decode(given["signature"]), pae(JOB_TYPE, body))
        assert valid == vector["signature_valid"], name + ": signature"
        if "job" not in vector:
            continue
        assert encode("job", vector["job"]) == body, name + ": other bytes"
        assert job_id(vector["job"]["tenant"], vector["job"]["idempotency_key"]) == vector["job_id"], name + ": job id"
        made = envelope(key, body)
        assert made["signatures"][0]["key_id"] == given["key_id"], name + ": key id"
        assert made == submit or isinstance(key, ec.EllipticCurvePrivateKey), name + ": signature is not the same"
    print("vectors: %d jobs and %d refused agree" % (len(vectors["jobs"]), len(vectors["refused"])))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    for name in ("vectors", "queue", "tenant", "token-file", "ca-file", "signer-key", "device-key", "profile", "user",
                 "subject", "key", "job-out", "result-out"):
        parser.add_argument("--" + name)
    o = parser.parse_args()
    check_vectors(o.vectors) if o.vectors else produce(o)


if __name__ == "__main__":
    main()
