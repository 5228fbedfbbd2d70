"""The house that every round begins with: enrolled, devices made, some certificates issued, jobs signed.

Nothing in it is taken from outside: roots, signers and devices are made by the project's own tools, the
imported files by openssl.
"""
import base64
import json
import subprocess

import house
from house import CONNECTORS, TENANT, House

ISSUES, MANUALS, REWRAPS, OLD, CHAINS = 60, 8, 9, 9, 6

QUEUE_TIMES = """lease: 1s
takeover_after: 4s
deadline_grace: 5s
crash_delay: 1s
exclude: 2s
ping: 1s
hangup: 2s
drain_grace: 1s
"""

CONNECTOR = """state_dir: ../state
run_dir: ../run
policy: policy.yaml
pins: pins.yaml
ca_dir: ca.d
walls: allow_reduced
log: {{format: logfmt, level: info}}
connector: {{max_inflight: 8, backoff_min_ms: 50, backoff_max_ms: 500{more}}}
keyvault: {{master_key: master.key, threads: 2, pool_rsa_2048: 0}}
"""

CA = """backend: local
secret: ca.secret
poll_after: 1s
templates:
  user:
    eku: [1.3.6.1.5.5.7.3.2, 1.3.6.1.5.5.7.3.4]
    key_usage: [digitalSignature, keyEncipherment]
    max_validity: 365d
  manual:
    eku: [1.3.6.1.5.5.7.3.2]
    key_usage: [digitalSignature, keyEncipherment]
    max_validity: 365d
    approval: manual
"""

PROFILE = """  {profile}:
    cas: [{ca}]
    template: {template}
    key_types: [rsa-2048, ec-p256]
    eku: [1.3.6.1.5.5.7.3.2]
    default_eku: [1.3.6.1.5.5.7.3.2]
    key_usage: [digitalSignature, keyEncipherment]
    max_validity: 365d
    san: {{email: [contoso.com]}}
    seals: [cms-auth]
"""

POLICY = """version: 1
revision: 1
device_keys: any_signed
rewrap: {{purposes: [smimeEncryption, smimeSigning], seals: [cms-auth]}}
ca_profiles:
{profiles}"""


def ca_name(connector):
    return "ca-" + connector[-1]


def connector_settings(h):
    """Settings of the connector that shorten its waits, as far as this program has them."""
    known = h.run("certconnectord", "--keys")
    wanted = {"pending_max": "60s", "watch": "20s", "poll_min": "1s", "orphan_grace": "2s", "orphan_max_per_hour": "1000"}
    return "".join(f", {key}: {value}" for key, value in wanted.items() if f"{key}:" in known)


def write_connector(h, name):
    h.write(f"{name}/etc/connector.yaml", CONNECTOR.format(more=connector_settings(h)))
    h.write(f"{name}/etc/ca.d/{ca_name(name)}.yaml", CA)
    profiles = [PROFILE.format(profile=p, ca=ca_name(name), template=t)
                for p, t in (("corp-user", "user"), ("corp-manual", "manual"))]
    h.write(f"{name}/etc/policy.yaml", POLICY.format(profiles="".join(profiles)))
    h.own(h.path(name))


def set_up_queue(h):
    h.run("certqueuectl", "init", "--dir", h.path("queue"), "--name", house.HOST,
          "--connectors-port", h.ports["connectors"], "--producers-port", h.ports["producers"])
    with open(h.path("queue/queue.yaml"), "a", encoding="ascii") as f:
        f.write(QUEUE_TIMES)
    h.start_queue()
    h.await_queue()
    h.run("certqueuectl", "root", "new", h.path("root.key"))
    h.run("certqueuectl", "signer", "new", h.path("signer.key"))
    h.run("certqueuectl", "signer", "state", "--root", h.path("root.key"), "--signer", h.path("signer.key.pub"),
          "--tenant", TENANT, "--kinds", "issue,rewrap,revoke,chain", "--out", h.path("statement.json"))
    h.queuectl("tenant", "add", TENANT, "--job-root", h.path("root.key.pub"))
    h.queuectl("token", "producer", TENANT, "--name", "mdm", "--out", h.path("producer.token"), "--scopes",
               "jobs:write,jobs:read,pfx:write,pfx:read,signers:write,connectors:read")
    h.queuectl("signer", "put", h.path("statement.json"), *api_options(h))


def api_options(h):
    return ("--queue", f"https://{house.HOST}:{h.ports['producers']}", "--tenant", TENANT,
            "--token-file", h.path("producer.token"), "--ca-file", h.path("queue/queue-ca.pem"))


def enrol(h, name):
    token = h.path(f"{name}.token")
    token.unlink(missing_ok=True)
    h.queuectl("token", "connector", TENANT, "--id", name, "--groups", "hq", "--out", token)
    h.ctl(name, "enroll", "--token-file", token)


def set_up_connector(h, name):
    write_connector(h, name)
    h.ctl(name, "init")
    h.ctl(name, "ca", "init", ca_name(name), "--subject", f"CN=Contoso {name} CA,O=Contoso", "--key", "ec-p256")
    h.start_connector(name)
    house.until(60, f"{name}: the keyvault", lambda: h.ctl(name, "keys", check=False).returncode == 0)
    enrol(h, name)
    house.until(60, f"{name}: the queue", lambda: name in h.online())
    h.write(f"{name}/result-keys.json", h.ctl(name, "keys"))


def sign(h, jobs, name, kind, device, *ask, record=None, **facts):
    request, signed = h.path(f"jobs/{name}.request.json"), h.path(f"jobs/{name}.job.json")
    h.run("certdevice", "ask", kind, "--dir", h.path("devices", device), "--tenant", TENANT,
          "--idempotency-key", name, "--out", request, *ask)
    more = ("--record", record) if record else ()
    h.run("certqueuectl", "sign", "--key", h.path("signer.key"), *more, "--out", signed, request)
    jobs[name] = {"kind": kind, "device": device, **facts}


def issue_words(name, profile, key_type="ec-p256"):
    return ("--profile", profile, "--key-type", key_type, "--seal", "cms-auth", "--subject", f"CN={name}",
            "--user", f"user-{name}", "--san", f"email={name}@contoso.com")


def import_files(h):
    """One file for each connector, protected for its own key: (connector, record)."""
    made = []
    h.write("pfx.password", "a password of an imported file\n", 0o600)
    for name in CONNECTORS:
        key, cert, pfx = (h.path(f"imported/{name}.{end}") for end in ("key", "pem", "pfx"))
        key.parent.mkdir(exist_ok=True)
        for words in (["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
                       "-subj", f"/CN=Imported {name}", "-keyout", key, "-out", cert],
                      ["pkcs12", "-export", "-inkey", key, "-in", cert, "-out", pfx, "-passout",
                       f"file:{h.path('pfx.password')}"]):
            subprocess.run(["openssl", *map(str, words)], check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=house.TOOL_LIMIT_S)
        h.own(h.path("imported"))
        h.own(h.path("pfx.password"))
        h.path(f"records-{name}").mkdir()
        h.own(h.path(f"records-{name}"))
        h.ctl(name, "pfx", "import", pfx, "--upn", f"{name}@contoso.com", "--password-file", h.path("pfx.password"),
              "--out", h.path(f"records-{name}"), "--queue", f"https://{house.HOST}:{h.ports['producers']}",
              "--token-file", h.path("producer.token"))
        made.append((name, next(h.path(f"records-{name}").glob("*.json"))))
    return made


def issue_old(h, jobs):
    """Certificates that are there before the first fault: what revocations are about."""
    for i in range(OLD):
        connector = CONNECTORS[i % len(CONNECTORS)]
        sign(h, jobs, f"old-{i}", "issue", "phone", *issue_words(f"old-{i}", "corp-user"),
             "--device", "phone", "--audience", connector, old=True)
    for name in [n for n in jobs if jobs[n].get("old")]:
        status, answer = h.api("POST", "/jobs", h.path(f"jobs/{name}.job.json").read_text())
        if status not in (200, 202):
            raise house.HouseError(f"{name}: {status} {answer}")
        jobs[name]["id"] = answer["id"]
    for i in range(OLD):
        name, connector = f"old-{i}", CONNECTORS[i % len(CONNECTORS)]
        status, answer = h.api("GET", f"/jobs/{jobs[name]['id']}?wait=50", seconds=60)
        if status != 200 or answer["state"] != "done":
            raise house.HouseError(f"{name}: {status} {answer}")
        h.write(f"old/{name}.json", json.dumps(answer))
        h.path(f"old/{name}.der").write_bytes(base64.b64decode(answer["result"]["certificate"]))
        sign(h, jobs, f"revoke-{i}", "revoke", "phone", "--profile", "corp-user", "--reason", "1", "--certificate",
             h.path(f"old/{name}.der"), "--audience", connector, target=name)


def make(build, root, uid):
    """The prepared house, its processes ended."""
    h = House(build, root, uid)
    jobs = {}
    house.install(build, root)
    for folder in ("jobs", "devices", "clocks"):
        h.path(folder).mkdir()
    h.root.chmod(0o755)
    h.own(h.root)
    h.ports = dict(zip(("connectors", "producers"), house.free_ports(2)))
    for name in ("queue", *CONNECTORS):
        h.set_clock(name)
    try:
        set_up_queue(h)
        for name in CONNECTORS:
            set_up_connector(h, name)
        h.run("certdevice", "new", h.path("devices/phone"), "--key", "ec-p256")
        h.run("certdevice", "new", h.path("devices/laptop"), "--key", "rsa-2048")
        issue_old(h, jobs)
        for i in range(ISSUES):
            device, key = (("laptop", "rsa-2048") if i % 12 == 0 else ("phone", "ec-p256"))
            sign(h, jobs, f"issue-{i}", "issue", device, *issue_words(f"issue-{i}", "corp-user", key),
                 "--device", device)
        for i in range(MANUALS):
            sign(h, jobs, f"manual-{i}", "issue", "phone", *issue_words(f"manual-{i}", "corp-manual"),
                 "--device", "phone", manual=True)
        for i, (connector, record) in enumerate(import_files(h) * (REWRAPS // len(CONNECTORS))):
            sign(h, jobs, f"rewrap-{i}", "rewrap", "phone", "--user", f"{connector}@contoso.com", "--device", "phone",
                 "--seal", "cms-auth", record=record, holder=connector)
        for i in range(CHAINS):
            connector = CONNECTORS[i % len(CONNECTORS)]
            sign(h, jobs, f"chain-{i}", "chain", "phone", "--profile", "corp-user", "--audience", connector, holder=connector)
        for name in CONNECTORS:
            h.stop(name)
        h.stop("queue")
    finally:
        h.end()
    h.write("jobs.json", json.dumps(jobs))
    if "pending_max:" in h.run("certconnectord", "--keys"):
        h.write("pending", "")  # this program carries jobs that wait at their CA
    return h
