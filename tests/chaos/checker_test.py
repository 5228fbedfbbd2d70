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
import re
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


@falsehood(1)
def a_job_that_was_told_as_failed(s):
    s["told"][issue_row(s)["id"]] = "failed"


@falsehood(1)
def a_job_that_changed_after_it_was_told(s):
    row = issue_row(s)
    row["store_state"] = "CANCELLED"


@falsehood(1)
def a_job_that_was_submitted_and_has_no_id(s):
    s["submitted"].append("issue-of-nobody")


def fail(s, row, code):
    """Everybody agrees that it failed."""
    row.update(store_state="DEAD", error={"code": code})
    row["rows"][-1]["end"] = "failed"
    s["devices"].remove(device_of(s, row))
    s["told"][row["id"]] = s["stored"][row["id"]]["state"] = "failed"


@falsehood(1)
def a_failure_that_nothing_explains(s):
    fail(s, next(r for r in s["rows"] if r["kind"] == "rewrap"), "certificate_mismatch")


@falsehood(1)
def a_deadline_that_no_clock_has_moved(s):
    fail(s, next(r for r in s["rows"] if s["accepted"][r["id"]].startswith("manual-") and r["store_state"] == "DONE"),
         "deadline")


@falsehood(1)
def a_deadline_of_a_job_that_waited_for_nobody(s):
    s["faults"].append("clock")
    fail(s, next(r for r in s["rows"] if r["kind"] == "rewrap"), "deadline")


@falsehood(1)
def a_denial_that_nobody_meant(s):
    s["denied"].clear()


@falsehood(1)
def a_cancellation_that_nobody_asked_for(s):
    row = next(r for r in s["rows"] if r["store_state"] == "DEAD")
    row["store_state"] = "CANCELLED"
    s["told"][row["id"]] = s["stored"][row["id"]]["state"] = "cancelled"


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
def a_key_that_another_job_has_at_another_ca(s):
    row = issue_row(s)
    other = next(r for r in s["rows"] if r["kind"] == "issue" and r["store_state"] == "DONE"
                 and winner_claim(r)["ca"] != winner_claim(row)["ca"])
    claim = winner_claim(other)
    other["rows"][-1]["claims"].append(dict(claim, spki_sha256=winner_claim(row)["spki_sha256"], csr_sha256=OTHER,
                                            settlement="not_issued", certificate_sha256=""))


@falsehood(2)
def a_file_that_the_database_does_not_know(s):
    ca_of(s, issue_row(s))["database"]["issued"].pop()


@falsehood(2)
def a_certificate_without_a_file_at_a_ca_that_runs(s):
    row = issue_row(s)
    certificate_of(s, row)["file"] = False


@falsehood(3)
def an_unsettled_claim(s):
    winner_claim(issue_row(s))["settlement"] = "unsettled"


@falsehood(3)
def an_orphan_that_does_not_exist(s):
    winner_claim(issue_row(s)).update(settlement="orphan_kept", certificate_sha256=OTHER)


@falsehood(3)
def a_winner_that_its_ca_does_not_have(s):
    winner_claim(issue_row(s))["certificate_sha256"] = OTHER


@falsehood(3)
def an_orphan_that_was_not_revoked(s):
    winner_claim(issue_row(s))["settlement"] = "orphan_revoked"


@falsehood(3)
def a_winner_with_another_key(s):
    winner_claim(issue_row(s, 1))["spki_sha256"] = winner_claim(issue_row(s))["spki_sha256"]


@falsehood(3)
def an_orphan_that_is_the_winner(s):
    winner_claim(issue_row(s))["settlement"] = "orphan_kept"


@falsehood(3)
def an_unsettled_claim_of_a_connector_that_is_there(s):
    row = issue_row(s)
    row["rows"][-1]["end"] = "taken_over"
    winner_claim(row)["settlement"] = "unsettled"


@falsehood(3)
def a_job_that_a_connector_forgot(s):
    s["journals"]["hq-3"][-1]["open"].append({"job": "00" * 16, "state": "issued", "ca": "ca-3", "epoch": 1})


@falsehood(3)
def a_job_in_a_state_that_is_new(s):
    s["journals"]["hq-2"][-1]["open"].append({"job": "00" * 16, "state": "lingering", "ca": "ca-2", "epoch": 1})


@falsehood(3)
def a_doubt_that_nobody_was_told_of(s):
    s["journals"]["hq-1"][-1]["doubt"].append({"job": "00" * 16, "ca": "ca-1", "spki_sha256": OTHER})


@falsehood(4)
def a_done_job_without_a_winner(s):
    issue_row(s)["rows"][-1]["end"] = "open"


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
def a_revocation_that_nobody_asked_for(s):
    row = issue_row(s)
    known = ca_of(s, row)
    issue_more(known, dict(certificate_of(s, row), serial="2", cert_sha256=OTHER, spki_sha256=OTHER))
    revoke(known, "2")


@falsehood(5)
def a_revocation_that_only_the_database_has(s):
    row = issue_row(s)
    ca_of(s, row)["database"]["revoked"].append({"serial": "3", "time_s": 0, "reason": 0})


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
def a_device_that_was_given_another_answer(s):
    device_of(s, issue_row(s))["result_sha256"] = OTHER


@falsehood(7)
def a_device_with_another_certificate(s):
    row = next(r for r in s["rows"] if r["kind"] == "rewrap")
    device_of(s, row)["cert_sha256"] = OTHER


@falsehood(7)
def a_chain_that_ends_at_another_root(s):
    device_of(s, next(r for r in s["rows"] if r["kind"] == "chain"))["cert_sha256"] = OTHER


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
def a_lost_last_audit_record(s):
    s["journals"]["hq-3"][-1]["audit"].pop()


@falsehood(8)
def an_end_of_the_audit_that_is_not_the_keyvaults(s):
    s["vaults"]["hq-2"]["head_sha256"] = OTHER


@falsehood(8)
def a_revocation_without_an_audit_record(s):
    job_id = next(j for j in s["revoke_jobs"] if any(r["id"] == j and r["store_state"] == "DONE" for r in s["rows"]))
    for journals in s["journals"].values():
        for record in journals[-1]["audit"]:
            if record["job"] == s["hex_ids"][job_id]:
                record["job"] = "00" * 16


@falsehood(8)
def a_delivery_without_an_audit_record(s):
    row = next(r for r in s["rows"] if r["kind"] == "rewrap")
    for record in s["journals"][row["connector"]][-1]["audit"]:
        if record["job"] == s["hex_ids"][row["id"]]:
            record["job"] = "00" * 16


@falsehood(8)
def a_chain_without_an_audit_record(s):
    row = next(r for r in s["rows"] if r["kind"] == "chain")
    for record in s["journals"][row["connector"]][-1]["audit"]:
        if record["job"] == s["hex_ids"][row["id"]]:
            record["job"] = "00" * 16


@falsehood(8)
def a_job_that_a_stranger_did(s):
    next(r for r in s["rows"] if r["kind"] == "rewrap")["connector"] = "hq-9"


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
    words = [sys.executable, str(CHAOS / "round.py"), "--seed", "2", "--prepared", str(top / "prepared"), "--root",
             str(top / "round"), "--build", str(build), "--jobs", "36", "--uid", str(uid), "--faults", ""]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=180)
    said = json.loads((top / "round/round.json").read_text())
    if said["violations"]:
        raise SystemExit(f"the round without faults failed: {said}")
    return json.loads((top / "round/sources.json").read_text())


def classes(s):
    """What the jobs of a finished house are, and how they ended."""
    ends = {r["id"]: r["store_state"] for r in s["rows"]}
    return {(re.sub(r"-\d+$", "", name), ends.get(job_id)) for job_id, name in s["accepted"].items()}


def all_classes_are_there(s):
    """How many kinds of jobs the checker would not see in this house."""
    missing = {("issue", "DONE"), ("old", "DONE"), ("rewrap", "DONE"), ("revoke", "DONE"), ("chain", "DONE"),
               ("manual", "DONE"), ("manual", "DEAD")} - classes(s)
    print(f"{'FAIL' if missing else 'ok'}: every class of jobs is there", *sorted(missing))
    return len(missing)


def planned(seed, number):
    """What a process of its own, with other hashes than ours, plans for a seed."""
    program = ("import json, plan; names = [f'job-{i}' for i in range(60)]; "
               f"print(json.dumps([plan.plan({seed}, names, 28), plan.plan({seed}, names, 28, ['clone']), plan.ways({seed})]))")
    return subprocess.run([sys.executable, "-B", "-c", program], cwd=CHAOS, env=dict(os.environ, PYTHONHASHSEED=str(number)),
                          stdout=subprocess.PIPE, check=True, text=True, timeout=60).stdout


def plan_is_pure():
    """How many seeds are planned in two ways, or as other seeds are."""
    plans = [(planned(seed, 1), planned(seed, 2)) for seed in (1, 2, 3)]
    wrong = sum(a != b for a, b in plans) + len(plans) - len({a for a, _ in plans})
    print(f"{'FAIL' if wrong else 'ok'}: a seed has one plan")
    return wrong


def main():
    p = argparse.ArgumentParser(description="see the head of this file")
    p.add_argument("--build", default=str(CHAOS.parents[1] / "build" / "asan"))
    build = pathlib.Path(p.parse_args().build).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    top = pathlib.Path(tempfile.mkdtemp(prefix="checker."))
    top.chmod(0o755)
    failed = 0
    try:
        failed += plan_is_pure()
        clean = finished_house(build, top)
        failed += all_classes_are_there(clean)
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
