#!/usr/bin/python3
"""The checker is checked: a clean finished house has no violation, and each seeded falsehood in one of its sources is
found, by the invariant that it breaks.

    tests/chaos/checker_test.py --build DIR
"""
import argparse
import copy
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
CHAOS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(CHAOS))
os.umask(0o022)

import checker
import house
import prepare

OTHER = "5a" * 32
FALSEHOODS = []


def falsehood(invariant):
    """Registers a function that falsifies the sources; the checker has to say this invariant's number."""
    def register(function):
        FALSEHOODS.append((invariant, function))
        return function
    return register


def issue_row(s, at=0):
    """A job that issued a certificate, and no revocation is about it."""
    revoked = set(s["revoke_jobs"].values())
    return [r for r in s["rows"] if r["kind"] == "issue" and r["store_state"] == "DONE"
            and r["certificate_sha256"] not in revoked][at]


def winner_claim(row):
    return next(c for a in row["rows"] for c in a["claims"] if c["settlement"] == "winner")


def certificate_of(s, row):
    return next(c for k in s["cas"].values() for c in k["issued"] if c["cert_sha256"] == row["certificate_sha256"])


def ca_of(s, row):
    return s["cas"][winner_claim(row)["ca"]]


def device_of(s, row):
    return next(d for d in s["devices"] if d["job"] == row["id"])


def issue_more(known, certificate):
    known["issued"].append(certificate)
    known["database"]["issued"].append({k: certificate[k] for k in ("serial", "cert_sha256")})


def revoke(known, serial):
    known["revoked"].append(serial)
    known["database"]["revoked"].append({"serial": serial, "time_s": 0, "reason": 0})


@falsehood(1)
def a_lost_job(s):
    s["rows"].remove(issue_row(s))


@falsehood(1)
def a_job_that_is_not_final(s):
    issue_row(s)["store_state"] = "LEASED"


@falsehood(1)
def a_job_that_nobody_submitted(s):
    del s["accepted"][issue_row(s)["id"]]


@falsehood(2)
def a_certificate_that_nobody_claimed(s):
    row = issue_row(s)
    issue_more(ca_of(s, row), dict(certificate_of(s, row), serial="1", cert_sha256=OTHER, spki_sha256=OTHER))


@falsehood(2)
def a_second_certificate_for_a_key(s):
    row = issue_row(s)
    issue_more(ca_of(s, row), dict(certificate_of(s, row), serial="1", cert_sha256=OTHER))


@falsehood(2)
def a_claim_that_denies_its_certificate(s):
    winner_claim(issue_row(s))["settlement"] = "not_issued"


@falsehood(2)
def one_key_claimed_for_two_jobs(s):
    winner_claim(issue_row(s, 1)).update(ca=winner_claim(issue_row(s))["ca"],
                                         spki_sha256=winner_claim(issue_row(s))["spki_sha256"])


@falsehood(2)
def a_file_that_the_database_does_not_know(s):
    ca_of(s, issue_row(s))["database"]["issued"].pop()


@falsehood(3)
def an_unsettled_claim(s):
    winner_claim(issue_row(s))["settlement"] = "unsettled"


@falsehood(3)
def an_orphan_that_does_not_exist(s):
    winner_claim(issue_row(s)).update(settlement="orphan_kept", certificate_sha256=OTHER)


@falsehood(3)
def an_orphan_that_was_not_revoked(s):
    winner_claim(issue_row(s))["settlement"] = "orphan_revoked"


@falsehood(4)
def a_second_winner(s):
    row = issue_row(s)
    row["rows"].append(copy.deepcopy(row["rows"][-1]))


@falsehood(4)
def a_result_with_another_certificate(s):
    s["stored"][issue_row(s)["id"]]["cert_sha256"] = OTHER


@falsehood(4)
def a_winner_of_a_job_that_is_dead(s):
    issue_row(s)["store_state"] = "DEAD"


@falsehood(4)
def a_winner_that_no_ca_issued(s):
    row = issue_row(s)
    certificate_of(s, row)["cert_sha256"] = OTHER


@falsehood(5)
def a_wrong_revocation(s):
    row = issue_row(s)
    revoke(ca_of(s, row), certificate_of(s, row)["serial"])


@falsehood(5)
def an_installed_certificate_that_is_revoked(s):
    row = issue_row(s)
    revoke(ca_of(s, row), certificate_of(s, row)["serial"])
    row.update(store_state="DEAD", certificate_sha256="")


@falsehood(5)
def a_revocation_that_was_not_done(s):
    job_id = next(j for j in s["revoke_jobs"] if any(r["id"] == j and r["store_state"] == "DONE" for r in s["rows"]))
    digest = s["revoke_jobs"][job_id]
    for known in s["cas"].values():
        for c in known["issued"]:
            if c["cert_sha256"] == digest:
                known["revoked"].remove(c["serial"])
                known["database"]["revoked"] = [r for r in known["database"]["revoked"] if r["serial"] != c["serial"]]


@falsehood(5)
def a_list_that_is_not_the_cas(s):
    next(iter(s["cas"].values()))["crl_is_signed"] = False


@falsehood(6)
def two_certificates_without_a_record(s):
    row = issue_row(s)
    claim = dict(winner_claim(row), spki_sha256=OTHER, csr_sha256=OTHER, txid="5a" * 16, certificate_sha256=OTHER,
                 settlement="orphan_kept", epoch=9)
    row["rows"].insert(0, dict(row["rows"][-1], end="expired", epoch=9, claims=[claim]))
    issue_more(ca_of(s, row), dict(certificate_of(s, row), serial="1", cert_sha256=OTHER, spki_sha256=OTHER))


@falsehood(7)
def a_device_with_other_bytes(s):
    device_of(s, issue_row(s))["pfx_sha256"] = OTHER


@falsehood(7)
def a_device_with_another_certificate(s):
    row = next(r for r in s["rows"] if r["kind"] == "rewrap")
    device_of(s, row)["cert_sha256"] = OTHER


@falsehood(7)
def a_device_that_could_not_open(s):
    device_of(s, issue_row(s))["failure"] = "it does not open"


@falsehood(7)
def a_device_that_got_nothing(s):
    s["devices"].remove(device_of(s, issue_row(s)))


@falsehood(8)
def a_lost_audit_record(s):
    journal = s["journals"]["hq-1"][-1]
    del journal["audit"][1]


@falsehood(8)
def a_changed_audit_record(s):
    s["journals"]["hq-2"][-1]["audit"][0]["sha256"] = OTHER


@falsehood(8)
def a_certificate_without_an_audit_record(s):
    row = issue_row(s)
    spki = winner_claim(row)["spki_sha256"]
    for record in s["journals"][row["connector"]][-1]["audit"]:
        if record["spki_sha256"] == spki:
            record["spki_sha256"] = OTHER


@falsehood(8)
def a_winner_without_an_audit_record(s):
    row = issue_row(s)
    for record in s["journals"][row["connector"]][-1]["audit"]:
        if record["cert_sha256"] == row["certificate_sha256"]:
            record["cert_sha256"] = OTHER


def finished_house(build, top):
    """The sources of a round without faults."""
    uid = house.free_uid()
    prepare.make(build, top / "prepared", uid)
    words = [sys.executable, str(CHAOS / "round.py"), "--seed", "1", "--prepared", str(top / "prepared"), "--root",
             str(top / "round"), "--build", str(build), "--jobs", "30", "--uid", str(uid), "--faults", ""]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=180)
    return json.loads((top / "round/sources.json").read_text())


def main():
    p = argparse.ArgumentParser(description="see the head of this file")
    p.add_argument("--build", default=str(CHAOS.parents[1] / "build" / "asan"))
    build = pathlib.Path(p.parse_args().build).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    top = pathlib.Path(tempfile.mkdtemp(prefix="checker."))
    top.chmod(0o755)
    failed = 0
    try:
        clean = finished_house(build, top)
        violations = checker.check(copy.deepcopy(clean))
        print(f"{'ok' if not violations else 'FAIL'}: a clean house", *violations, sep="\n  ")
        failed += len(violations)
        for invariant, falsify in FALSEHOODS:
            false = copy.deepcopy(clean)
            falsify(false)
            found = [v for v in checker.check(false) if v.startswith(f"invariant {invariant}:")]
            failed += not found
            print(f"{'ok' if found else 'FAIL'}: {falsify.__name__.replace('_', ' ')}"
                  f"{': ' + found[0][:100] if found else f' was not found by invariant {invariant}'}")
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(f"checker: {len(FALSEHOODS)} falsehoods, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
