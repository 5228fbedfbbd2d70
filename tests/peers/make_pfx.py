"""Makes a key, a certificate and a PFX with python3-cryptography.

Usage: make_pfx.py rsa-2048|ec-p256 aes|3des USER PASSWORD-FILE PFX-FILE CERTIFICATE-FILE [DAYS]

DAYS below 0: the certificate expired so many days ago.
"""
import datetime
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)

kind, cipher, user, password, pfx, certificate = sys.argv[1:7]
days = int(sys.argv[7]) if len(sys.argv) > 7 else 365
key = rsa.generate_private_key(65537, 2048) if kind == "rsa-2048" else ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, user)])
now = datetime.datetime.utcnow()
leaf = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(days=1 if days > 0 else 365 - days))
    .not_valid_after(now + datetime.timedelta(days=days))
    .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(f"{user}@contoso.com")]), False)
    .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    .sign(key, hashes.SHA256())
)
words = pathlib.Path(password).read_bytes().rstrip(b"\n")
how = BestAvailableEncryption(words)
if cipher == "3des":
    how = (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())
        .build(words)
    )
pathlib.Path(pfx).write_bytes(pkcs12.serialize_key_and_certificates(user.encode(), key, leaf, None, how))
pathlib.Path(certificate).write_bytes(leaf.public_bytes(Encoding.PEM))
