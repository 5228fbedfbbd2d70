"""Opens PFX files with python3-cryptography and checks each against its certificate.

Usage: read_pfx.py DIR...   each with result.pfx, password, certificate.pem; prints one line a file.
"""
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs12


def public(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


for name in sys.argv[1:]:
    folder = pathlib.Path(name)
    key, leaf, others = pkcs12.load_key_and_certificates(
        (folder / "result.pfx").read_bytes(), (folder / "password").read_bytes()
    )
    wanted = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
    if leaf != wanted:
        sys.exit(f"{name}: another certificate than the signed one")
    if public(key.public_key()) != public(leaf.public_key()):
        sys.exit(f"{name}: the key does not belong to the certificate")
    if len(others) != 1:
        sys.exit(f"{name}: {len(others)} certificates beside the leaf, not the CA's one")
    print(f"{folder.name}: opened")
