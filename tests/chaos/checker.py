"""The eight invariants of delivery, each judged from the sources that sources.py gathers.

check(sources) gives a list of texts, one for each violation, with all that is known about it.  Nothing is asked of
a process here, and no word of the connector or of its runner is believed where the CA, the store or a device has
one of its own.
"""
import collections
import json

SETTLED = ("winner", "not_issued", "orphan_revoked", "orphan_kept", "in_doubt")
TERMINAL = ("DONE", "DEAD", "CANCELLED")
NO_DIGEST = "0" * 64
TOLD = {"done": "DONE", "failed": "DEAD", "dead": "DEAD", "cancelled": "CANCELLED"}
# what a connector that is at rest may have: they wait for the CA's word, or for time
AT_REST = ("orphan", "watch")
# code of a failure -> faults one of which has to be there for it; what no CA denied and no fault explains is done
DEATHS = {"certificate_mismatch": ("orphan",), "order_refused": ("clone",),
          "deadline": ("restore", "clone", "orphan", "away", "remove"),
          "pending_deadline": ("restore", "clone", "orphan", "away", "remove"),
          "poison": ("kill", "kill-queue", "crash")}
# a clock that is set forward, at the queue or at the connector, ends what waits for a person at its CA for longer than
# it may; the rounds let it wait for a minute
ENDS_BY_CLOCK = ("deadline", "pending_deadline")


class Checker:
    def __init__(self, sources):
        self.s = sources
        self.violations = []
        self.rows = collections.defaultdict(list)
        for row in sources["rows"]:
            self.rows[row["id"]].append(row)
        self.claims = [dict(claim, job=row["id"], attempt_end=attempt["end"], connector=attempt["connector"],
                            job_state=row["store_state"])
                       for row in sources["rows"] for attempt in row["rows"] for claim in attempt["claims"]]
        self.issued = [dict(certificate, ca=ca) for ca, known in sources["cas"].items()
                       for certificate in known["issued"]]

    def violation(self, number, what, **known):
        self.violations.append(f"invariant {number}: {what}: {json.dumps(known, sort_keys=True)}")

    def story(self, job_id):
        """All that the sources say of a job."""
        return {"job": job_id, "name": self.s["accepted"].get(job_id), "rows": self.rows.get(job_id),
                "journals": {c: [r for j in journals for part in ("open", "done", "doubt") for r in j[part]
                                 if r["job"] == self.s["hex_ids"].get(job_id)]
                             for c, journals in self.s["journals"].items()}}

    # (1) every accepted id is in exactly one of DONE, DEAD, CANCELLED, or parked while its CA holds it

    def accepted_are_final(self):
        for job_id in self.s["accepted"]:
            rows = self.rows.get(job_id, [])
            if len(rows) != 1:
                self.violation(1, f"an accepted job has {len(rows)} rows in the queue", **self.story(job_id))
            elif rows[0]["store_state"] not in TERMINAL and not self.waits_at_its_ca(job_id, rows[0]):
                self.violation(1, f"an accepted job is {rows[0]['store_state']}", **self.story(job_id))
        for job_id in set(self.rows) - set(self.s["accepted"]):
            self.violation(1, "the queue has a job that was never accepted", **self.story(job_id))
        names = collections.Counter(self.s["accepted"].values())
        for name in self.s["submitted"]:
            if names[name] != 1:
                self.violation(1, f"a job that was submitted has {names[name]} ids", name=name)
        for job_id, state in self.s["told"].items():
            now = [r["store_state"] for r in self.rows.get(job_id, [])]
            if now != [TOLD[state]] or (self.s["stored"].get(job_id) or {}).get("state") != state:
                self.violation(1, f"a job was told as {state}, and that is not its end", **self.story(job_id))
        for row in self.s["rows"]:
            if row["store_state"] != "DONE" and row["store_state"] in TERMINAL and not self.is_explained(row):
                self.violation(1, "a job failed, and nothing that was done explains it", **self.story(row["id"]))

    def is_explained(self, row):
        """An operator has cancelled it, the person at its CA has denied it, or it is what a fault of the round leads to."""
        code = (row.get("error") or {}).get("code")
        if row["store_state"] == "CANCELLED":
            return row["id"] in self.s["cancelled"]
        if code == "ca_rejected":
            return self.s["accepted"].get(row["id"]) in self.s["denied"]
        if code in ENDS_BY_CLOCK and "clock" in self.s["faults"] and \
                self.s["accepted"].get(row["id"], "").startswith("manual-"):
            return True
        return any(kind in self.s["faults"] for kind in DEATHS.get(code, ()))

    def waits_at_its_ca(self, job_id, row):
        return row["store_state"] == "PARKED" and self.s["hex_ids"].get(job_id) in self.s["pending"]

    # (2) every certificate of a CA maps by its key to exactly one claim

    def certificates_have_claims(self):
        by_key = collections.defaultdict(list)
        for claim in self.claims:
            by_key[claim["spki_sha256"]].append(claim)
        keys = collections.Counter((c["ca"], c["spki_sha256"]) for c in self.issued)
        for certificate in self.issued:
            key = (certificate["ca"], certificate["spki_sha256"])
            claims = by_key.get(certificate["spki_sha256"], [])
            # a claim that is made again after a new delivery is the same request of the same job; a key is nobody else's,
            # at no CA
            jobs = {(c["job"], c["ca"], c["csr_sha256"], c["txid"]) for c in claims}
            if len(jobs) != 1 or claims[0]["ca"] != certificate["ca"]:
                self.violation(2, f"a certificate has {len(jobs)} claims", certificate=certificate, claims=claims)
            elif all(c["settlement"] == "not_issued" for c in claims):
                self.violation(2, "a claim says not issued, and the CA has the certificate", certificate=certificate,
                               **self.story(claims[0]["job"]))
            if keys[key] > 1:
                self.violation(2, "two certificates for one key", certificate=certificate, claims=claims)
        removed = {self.s["ca_of"][name] for name in self.s["removed"]}
        for ca, known in self.s["cas"].items():
            files = {(c["serial"], c["cert_sha256"]) for c in known["issued"] if c.get("file", True)}
            rows = {(c["serial"], c["cert_sha256"]) for c in known["database"]["issued"]}
            # one that was removed did not start again, and could not write the file of its last one
            if files - rows or (rows - files and ca not in removed):
                self.violation(2, "the CA's files and its database differ", ca=ca, only_file=sorted(files - rows),
                               only_database=sorted(rows - files))

    # (3) every claim is settled, the CA does not say otherwise, and no connector still has work

    def claims_are_settled(self):
        winners = {row["certificate_sha256"] for row in self.s["rows"] if row.get("certificate_sha256")}
        by_digest = {(c["ca"], c["cert_sha256"]): c for c in self.issued}
        for claim in self.claims:
            word = claim["settlement"]
            certificate = by_digest.get((claim["ca"], claim["certificate_sha256"]))
            revoked = certificate and certificate["serial"] in self.s["cas"][claim["ca"]]["revoked"]
            if word not in SETTLED:
                if not (claim["job_state"] == "PARKED" and self.s["hex_ids"].get(claim["job"]) in self.s["pending"]):
                    self.violation(3, f"a claim is {word}", claim=claim, **self.story(claim["job"]))
            elif word in ("winner", "orphan_revoked", "orphan_kept") and certificate is not None and \
                    certificate["spki_sha256"] != claim["spki_sha256"]:
                self.violation(3, f"a claim is {word} with a certificate of another key", claim=claim,
                               certificate=certificate)
            elif word in ("orphan_revoked", "orphan_kept") and claim["certificate_sha256"] in winners:
                self.violation(3, f"a claim is {word}, and its certificate is a winner", **self.story(claim["job"]))
            elif word in ("orphan_revoked", "orphan_kept") and certificate is None:
                self.violation(3, f"a claim is {word}, and the CA does not have the certificate", claim=claim)
            elif word == "orphan_revoked" and not revoked:
                self.violation(3, "a claim is orphan_revoked, and the CA's list does not have it", claim=claim)
            elif word == "winner" and certificate is None:
                self.violation(3, "a claim is winner, and its CA does not have the certificate", claim=claim)
        self.journals_are_at_rest()

    def journals_are_at_rest(self):
        """Of the connectors that are still there: a clone has ended, and a journal that was taken away is nobody's."""
        for connector in set(self.s["ca_of"]) - set(self.s["removed"]):
            journal = self.s["journals"][connector][-1]
            for row in journal["open"]:
                if row["state"] not in AT_REST:
                    self.violation(3, f"a connector still has a job that is {row['state']}", connector=connector, row=row)
            for doubt in journal["doubt"]:
                if not self.is_reported(doubt):
                    self.violation(3, "a doubt was not reported", connector=connector, doubt=doubt)

    def is_reported(self, doubt):
        """The queue has settled this connector's claim: it was told."""
        return any(c["settlement"] in SETTLED for c in self.claims if self.s["hex_ids"].get(c["job"]) == doubt["job"]
                   and c["ca"] == doubt["ca"] and c["spki_sha256"] == doubt["spki_sha256"])

    # (4) at most one winner a job, and it is the certificate in the result

    def one_winner(self):
        for row in self.s["rows"]:
            winners = [a for a in row["rows"] if a["end"] == "winner"]
            claims = [c for a in row["rows"] for c in a["claims"] if c["settlement"] == "winner"]
            job_id, digest = row["id"], row.get("certificate_sha256", "")
            if len(winners) > 1 or len({(c["ca"], c["spki_sha256"]) for c in claims}) > 1:
                self.violation(4, "more than one winner", **self.story(job_id))
            if row["store_state"] == "DONE" and len(winners) != 1:
                self.violation(4, "a job is done, and no attempt is the winner", **self.story(job_id))
            if row["store_state"] != "DONE" and (winners or claims):
                self.violation(4, "a job is not done, and it has a winner", **self.story(job_id))
            if row["store_state"] != "DONE" or row["kind"] != "issue":
                continue
            stored = self.s["stored"].get(job_id) or {}
            if stored.get("cert_sha256") != digest:
                self.violation(4, "the winner is not the certificate in the result",
                               stored=stored.get("cert_sha256"), **self.story(job_id))
            if not claims or any(c["certificate_sha256"] != digest for c in claims):
                self.violation(4, "the winner's claim is not that of its certificate", **self.story(job_id))
            if not any(c["cert_sha256"] == digest for c in self.issued):
                self.violation(4, "no CA has issued the winner", **self.story(job_id))

    # (5) no revoked certificate is a winner or was installed, unless a signed revoke job names it

    def nothing_wrongly_revoked(self):
        winners = {row.get("certificate_sha256"): row["id"] for row in self.s["rows"] if row["store_state"] == "DONE"}
        installed = {d["cert_sha256"]: d for d in self.s["devices"] if d and "cert_sha256" in d}
        named = set(self.s["revoke_jobs"].values())
        revoked = {(ca, serial) for ca, known in self.s["cas"].items() for serial in known["revoked"]}
        for certificate in self.issued:
            digest = certificate["cert_sha256"]
            if (certificate["ca"], certificate["serial"]) not in revoked or digest in named:
                continue
            if digest in winners:
                self.violation(5, "a winner is revoked, and no job asked for it", certificate=certificate,
                               **self.story(winners[digest]))
            elif digest in installed:
                self.violation(5, "an installed certificate is revoked, and no job asked for it",
                               certificate=certificate, device=installed[digest])
            elif not any(c["settlement"] == "orphan_revoked" and c["certificate_sha256"] == digest
                         for c in self.claims):
                self.violation(5, "a certificate is revoked, and neither a job nor a claim says why",
                               certificate=certificate)
        for job_id, digest in self.s["revoke_jobs"].items():
            done = any(r["store_state"] == "DONE" for r in self.rows.get(job_id, []))
            certificate = next((c for c in self.issued if c["cert_sha256"] == digest), None)
            if done and (certificate is None or (certificate["ca"], certificate["serial"]) not in revoked):
                self.violation(5, "a revocation is done, and the CA's list does not have it", **self.story(job_id))
        for ca, known in self.s["cas"].items():
            if not known["crl_is_signed"]:
                self.violation(5, "the CRL is not signed by its CA", ca=ca)
            if set(known["revoked"]) != {r["serial"] for r in known["database"]["revoked"]}:
                self.violation(5, "the CA's list and its database differ", ca=ca, listed=known["revoked"],
                               database=known["database"]["revoked"])

    # (6) two certificates for one job: there is a TAKEN_OVER or an IN_DOUBT row

    def second_ones_are_recorded(self):
        job_of = {(c["ca"], c["spki_sha256"]): c["job"] for c in self.claims}
        by_job = collections.defaultdict(list)
        for certificate in self.issued:
            job_id = job_of.get((certificate["ca"], certificate["spki_sha256"]))
            if job_id:
                by_job[job_id].append(certificate)
        for job_id, certificates in by_job.items():
            recorded = any(a["end"] == "taken_over" or any(
                c["was_in_doubt"] or c["settlement"] == "in_doubt" for c in a["claims"])
                for row in self.rows[job_id] for a in row["rows"])
            if len(certificates) > 1 and not recorded:
                self.violation(6, "two certificates for one job without a record", certificates=certificates,
                               **self.story(job_id))

    # (7) what a device has is what the store has

    def devices_have_the_store_bytes(self):
        logged = {d["job"]: d for d in self.s["devices"] if d}
        for job_id, device in logged.items():
            stored = self.s["stored"].get(job_id) or {}
            if "failure" in device:
                self.violation(7, "a device could not open its result", device=device)
                continue
            for key in ("result_sha256", "pfx_sha256", "cert_sha256"):
                if device[key] != stored.get(key):
                    self.violation(7, f"a device's {key} is not the store's", device=device, stored=stored)
        for row in self.s["rows"]:
            if row["store_state"] == "DONE" and row["kind"] != "revoke" and row["id"] not in logged:
                self.violation(7, "a job is done, and its device has nothing", **self.story(row["id"]))

    # (8) the audit chain is unbroken and has a record for each certificate

    def audit_is_unbroken(self):
        for connector, journals in self.s["journals"].items():
            records = {}
            for journal in journals:
                for record in journal["audit"]:
                    other = records.setdefault(record["counter"], record)
                    if other["sha256"] != record["sha256"] or record["key"] != record["counter"]:
                        self.violation(8, "two audit records with one number", connector=connector,
                                       records=[other, record])
            before = NO_DIGEST
            for counter in range(1, max(records, default=0) + 1):
                record = records.get(counter)
                if record is None or record["previous_sha256"] != before:
                    self.violation(8, "the audit chain is broken", connector=connector, counter=counter,
                                   record=record, expected=before)
                    break
                before = record["sha256"]
            self.vault_agrees(connector, records)
        for connector in self.s["ca_of"]:
            self.certificates_have_records(connector)
        for row in self.s["rows"]:
            if row["store_state"] == "DONE" and row["connector"] not in self.s["ca_of"]:
                self.violation(8, "a job is done by a connector that has no journal", **self.story(row["id"]))

    def vault_agrees(self, connector, records):
        """The chain goes on to the keyvault's newest decision, but for those that it still keeps for its connector."""
        vault = self.s["vaults"][connector]
        last, waiting = max(records, default=0), [n for n in vault["waiting"] if n not in records]
        if waiting != list(range(last + 1, vault["decisions"] + 1)):
            self.violation(8, "the audit chain does not reach the keyvault's last decision", connector=connector,
                           last=last, vault=vault)
        elif not waiting and last and records[last]["sha256"] != vault["head_sha256"]:
            self.violation(8, "the audit chain's end is not the keyvault's", connector=connector, last=last, vault=vault)

    def certificates_have_records(self, connector):
        """What a clone decided is in the clone's journal: it was that connector too."""
        records = [r for name, journals in self.s["journals"].items() if name.split(".")[0] == connector
                   for journal in journals for r in journal["audit"]]
        keys = {r["spki_sha256"] for r in records if r["spki_sha256"]}
        digests = {r["cert_sha256"] for r in records if r["cert_sha256"]}
        for row in self.s["rows"]:
            digest = row.get("certificate_sha256")
            if row["store_state"] == "DONE" and row["kind"] == "issue" and row["connector"] == connector and \
                    digest not in digests:
                self.violation(8, "no audit record of a winner", connector=connector, **self.story(row["id"]))
        for certificate in self.issued:
            if certificate["ca"] == self.s["ca_of"][connector] and certificate["spki_sha256"] not in keys:
                self.violation(8, "no audit record of a certificate", connector=connector, certificate=certificate)
        done = {r["job"] for r in records if r["outcome"] == "done"}
        for row in self.s["rows"]:
            if row["store_state"] == "DONE" and row["connector"] == connector and \
                    self.s["hex_ids"].get(row["id"]) not in done:
                self.violation(8, f"no audit record of a job: {row['kind']}", connector=connector, **self.story(row["id"]))

    def all(self):
        self.accepted_are_final()
        self.certificates_have_claims()
        self.claims_are_settled()
        self.one_winner()
        self.nothing_wrongly_revoked()
        self.second_ones_are_recorded()
        self.devices_have_the_store_bytes()
        self.audit_is_unbroken()
        return self.violations


def check(sources):
    return Checker(sources).all()
