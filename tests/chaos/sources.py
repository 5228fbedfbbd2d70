"""What the checker reads, gathered from its own places into one dictionary after the house was stopped.

accepted  job id -> name: the producer's log
jobs      name -> what the producer signed
rows      the queue's jobs with attempts and claims (asked while it still ran)
stored    job id -> the job as the API tells it at the end (asked while it still ran)
devices   the devices' log
denied    names of the jobs that the person at the CAs denies
cancelled job ids that an operator has cancelled
faults    the kinds that were done
told      job id -> the first final state that the API told
submitted, removed  names of the jobs that were handed in; connectors that went for good
journals  connector -> its journals, the newest last: dumped by chaos_journal_dump
vaults    connector -> how many decisions its keyvault has made
cas       CA -> certificates and revocations as its own files and its own database have them
"""
import hashlib
import json
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def describe(certificate):
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"cert_sha256": sha256(certificate.public_bytes(Encoding.DER)), "spki_sha256": sha256(spki),
            "serial": f"{certificate.serial_number:x}", "issuer": certificate.issuer.rfc4514_string(),
            "subject": certificate.subject.rfc4514_string()}


def read_ca(house, folder):
    """The CA's own list: its files of certificates, its CRL under its own key, and its database."""
    folder = pathlib.Path(folder)
    certificates = [describe(x509.load_pem_x509_certificate(p.read_bytes()))
                    for p in sorted(folder.glob("issued/*.pem"))]
    root = x509.load_pem_x509_certificate(folder.joinpath("root.pem").read_bytes())
    crl = x509.load_pem_x509_crl(folder.joinpath("crl.pem").read_bytes())
    database = json.loads(house.run("chaos_journal_dump", "ca", folder / "db"))
    for row in database["issued"] + database["revoked"]:
        row["serial"] = f"{int(row['serial'], 16):x}"
    # a CA that is killed between the two writes the file when it starts again
    filed = {c["cert_sha256"] for c in certificates}
    for row in database["issued"]:
        der = bytes.fromhex(row.pop("der"))
        if row["cert_sha256"] not in filed:
            certificates.append(describe(x509.load_der_x509_certificate(der)) | {"file": False})
    return {"issued": certificates, "revoked": sorted(f"{r.serial_number:x}" for r in crl),
            "crl_is_signed": crl.is_signature_valid(root.public_key()), "issuer": root.subject.rfc4514_string(),
            "database": database}


def read_vault(house, connector):
    """How many decisions the keyvault has recorded, and which of them its connector has not confirmed."""
    return json.loads(house.run("chaos_journal_dump", "vault", house.path(connector, "state/vault/state")))


def read_journals(house, connector, replaced):
    return [json.loads(house.run("chaos_journal_dump", "journal", folder))
            for folder in (*replaced, house.path(connector, "state/journal"))]
