#!/usr/bin/env python3
"""openapi.json against the schema of those who define OpenAPI, and a queue's answers against openapi.json.

usage: openapi_check.py document SCHEMA DOCUMENT
       openapi_check.py answers DOCUMENT QUEUE-URL TENANT TOKEN-FILE CA-FILE JOBS

The judge is python3-jsonschema.  `answers` wants a queue with room for three open jobs, and in the folder JOBS the
signed jobs a, b, c, d, other-a (the key of a, other bytes), r1, r2, other-r1 and the records record-1, record-2."""
import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.request

from jsonschema import Draft4Validator, Draft202012Validator, RefResolver


def complaints(validator, instance):
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(instance)]


def in_words_of_3_0(document):
    """Debian has the schema of OpenAPI 3.0: the few things that 3.1 says otherwise are said as 3.0 does, client
    certificates as the nearest that it knows.  All else has to fit as it is."""
    if not document["openapi"].startswith("3.1."):
        sys.exit(f"OpenAPI {document['openapi']}, not 3.1")

    def said(value):
        if isinstance(value, list):
            return [said(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {name: said(part) for name, part in value.items()}
        if value.pop("contentEncoding", None) == "base64":
            value["format"] = "byte"
        if isinstance(value.get("const"), str):
            value["enum"] = [value.pop("const")]
        if isinstance(value.get("examples"), list):
            value["example"] = value.pop("examples")[0]
        if value.get("type") == "mutualTLS":
            value.update(type="http", scheme="x-mutual-tls")
        return value

    return said(dict(document, openapi="3.0.3"))


class Queue:
    def __init__(self, document, url, tenant, token, ca):
        self.document, self.url, self.token = document, url, token
        self.tenant = f"/v1/tenants/{tenant}"
        self.context = ssl.create_default_context(cafile=ca)
        self.resolver = RefResolver.from_schema(document)
        self.seen = 0

    def ask(self, method, path, body):
        request = urllib.request.Request(self.url + path, method=method, headers={
            "Authorization": "Bearer " + self.token, "Content-Type": "application/json"})
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            answer = urllib.request.urlopen(request, context=self.context)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        return answer.status, answer.headers.get_content_type(), answer.read()

    def judge(self, operation, status, kind, body):
        responses = operation["responses"]
        response = responses.get(str(status)) or responses.get("default")
        if response is None:
            return [f"{status} is not described"]
        if "$ref" in response:
            response = self.resolver.resolve(response["$ref"])[1]
        if "content" not in response:
            return ["a body that is not described"] if body else []
        if kind not in response["content"]:
            return [f"{kind} is not described"]
        # a member that is not described is as wrong as one that is missing; only a later JSON Schema can say so
        schema = {"allOf": [response["content"][kind]["schema"]], "unevaluatedProperties": False}
        return complaints(Draft202012Validator(schema, resolver=self.resolver), json.loads(body))

    def expect(self, status, code, method, template, body=None, **names):
        """One request; its answer, which has this status (and code) and is as described."""
        template = template.replace("~", "/v1/tenants/{tenant}")
        path = template.replace("/v1/tenants/{tenant}", self.tenant)
        for name, value in names.items():
            path = path.replace("{" + name + "}", value)
        got, kind, answer = self.ask(method, path, body)
        parsed = json.loads(answer) if answer else {}
        if got != status or (code and parsed.get("code") != code):
            sys.exit(f"{method} {path}: {got} {parsed.get('code', '')}, not {status} {code or ''}")
        operation = self.document["paths"][template.split("?")[0]][method.lower()]
        found = self.judge(operation, got, kind, answer)
        if code and str(status) in operation["responses"]:
            described = operation["responses"][str(status)]["description"]
            if code not in described:
                found.append(f"the code {code} is not described, but: {described}")
        elif code and status in (409, 412, 422, 507):
            found.append(f"{status} is described by nothing but the default")
        if found:
            sys.exit(f"{method} {path}: {got}:\n  " + "\n  ".join(found))
        self.seen += 1
        return parsed


def many(*jobs):
    return {"jobs": list(jobs), "batch_id": "batch-1"}


def submit(q, load):
    jobs = "~/jobs"
    a = q.expect(202, None, "POST", jobs, load("a.job"))["id"]
    q.expect(200, None, "POST", jobs, load("a.job"))
    q.expect(409, "idempotency_conflict", "POST", jobs, load("other-a.job"))
    q.expect(400, "malformed_json", "POST", jobs, b"{")
    wrong = load("b.job")
    wrong["signatures"][0]["signature"] = load("a.job")["signatures"][0]["signature"]
    q.expect(422, "signature_invalid", "POST", jobs, wrong)
    q.expect(404, "not_found", "POST", jobs, load("r1.job"))
    answer = q.expect(200, None, "POST", "~/jobs:batch", many(*map(load, ("a.job", "other-a.job", "b.job", "c.job", "d.job"))))
    items = [(item["status"], item.get("code")) for item in answer["jobs"]]
    wanted = [(200, None), (409, "idempotency_conflict"), (202, None), (202, None), (507, "store_full")]
    if items != wanted:
        sys.exit(f"jobs:batch: {items}, not {wanted}")
    q.expect(507, "store_full", "POST", jobs, load("d.job"))
    q.expect(400, "malformed_json", "POST", "~/jobs:batch", {"jobs": []})
    for item in answer["jobs"][2:4]:
        q.expect(202, None, "POST", "~/jobs/{job}:cancel", {}, job=item["id"])
    q.expect(409, "too_late", "POST", "~/jobs/{job}:retry", {}, job=a)
    q.expect(200, None, "GET", "~/jobs/{job}", job=a)
    q.expect(404, None, "GET", "~/jobs/{job}/result", job=a)
    q.expect(404, None, "GET", "~/jobs/{job}", job="job_" + "a" * 26)


def deliver(q, load):
    path = "~/user-pfx:deliver"
    q.expect(404, "not_found", "POST", path, many(load("r1.job"), load("r2.job")))
    for name in "record-1", "record-2":
        q.expect(201, None, "POST", "~/user-pfx", load(name))
    q.expect(409, "duplicate_record", "POST", "~/user-pfx", load("record-1"))
    q.expect(200, None, "POST", "~/jobs", load("b.job"))  # cancelled, and known
    d = q.expect(202, None, "POST", "~/jobs", load("d.job"))["id"]
    q.expect(507, "store_full", "POST", path, many(load("r1.job"), load("r2.job")))
    q.expect(202, None, "POST", "~/jobs/{job}:cancel", {}, job=d)
    q.expect(202, None, "POST", path, many(load("r1.job"), load("r2.job")))
    q.expect(202, None, "POST", path, many(load("r1.job"), load("r2.job")))
    q.expect(409, "idempotency_conflict", "POST", path, many(load("other-r1.job")))
    q.expect(422, "key_mismatch", "POST", path, many(load("r1.job"), load("a.job")))
    q.expect(400, "malformed_json", "POST", path, {"jobs": []})


def read(q, load):
    for path in "~/jobs", "~/events?after=0", "~/user-pfx", "~/import-keys", "~/connectors", "/v1/health":
        q.expect(200, None, "GET", path)
    record = load("record-1")["id"]
    q.expect(200, None, "GET", "~/user-pfx/{record}", record=record)
    q.expect(403, "scope_missing", "GET", "~/user-pfx/{record}/content", record=record)
    q.expect(204, None, "DELETE", "~/user-pfx/{record}", record=record)
    q.expect(404, "not_found", "GET", "~/user-pfx/{record}", record=record)
    q.expect(400, "malformed_document", "POST", "/v1/enroll", {})
    q.token = "of-nobody"
    q.expect(401, "unauthenticated", "GET", "~/jobs")


def main(command, *arguments):
    if command == "document":
        schema, document = (json.loads(pathlib.Path(name).read_text()) for name in arguments)
        found = complaints(Draft4Validator(schema), in_words_of_3_0(document))
        if found:
            sys.exit("\n".join(found))
        return
    document, url, tenant, token, ca, folder = arguments
    q = Queue(json.loads(pathlib.Path(document).read_text()), url, tenant, pathlib.Path(token).read_text().strip(), ca)

    def load(name):
        return json.loads((pathlib.Path(folder) / f"{name}.json").read_text())

    for part in submit, deliver, read:
        part(q, load)
    print(f"{q.seen} answers are as described")


main(*sys.argv[1:])
