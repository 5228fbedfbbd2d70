"""Makes a userPFXCertificate record as Graph's clients send it, its password encrypted by plain openssl.

Usage: make_record.py PFX CERTIFICATE PASSWORD-FILE USER-ID UPN HASH RECORD-FILE [--tenant NAME] KEY...

KEY is the file of a public key (PEM); HASH is sha256, sha384 or sha512.  The password file is one byte a
character and has no line's end.  With --tenant the record is bound: OAEP label over tenant, user, purpose
and file, with a recipient for each KEY; without it there is one KEY, and the record is as Microsoft's tool
writes it: empty label, words as .NET spells them, no member of ours.
"""
import base64
import hashlib
import json
import pathlib
import subprocess
import sys

arguments = sys.argv[1:]
tenant = None
if "--tenant" in arguments:
    at = arguments.index("--tenant")
    tenant = arguments[at + 1]
    del arguments[at : at + 2]
pfx, certificate, password, user, upn, digest, record_file, *keys = arguments
blob = pathlib.Path(pfx).read_bytes()
purpose = "smimeEncryption"


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, stdout=subprocess.PIPE, check=True).stdout


def label():
    h = hashlib.sha256()
    for item in (b"certq/pfx/1", tenant.encode(), user.encode(), purpose.encode(), hashlib.sha256(blob).digest()):
        h.update(len(item).to_bytes(4, "big") + item)
    return h.hexdigest()


def encrypted(key):
    how = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
    if tenant:
        how.append(f"rsa_oaep_label:{label()}")
    options = [word for part in how for word in ("-pkeyopt", part)]
    sealed = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", key, "-in", password, *options)
    return base64.b64encode(sealed).decode()


def key_id(key):
    return hashlib.sha256(openssl("pkey", "-pubin", "-in", key, "-outform", "DER")).hexdigest()


thumbprint = hashlib.sha1(openssl("x509", "-in", certificate, "-outform", "DER")).hexdigest()
record = {
    "id": f"{user}-{thumbprint}",
    "thumbprint": thumbprint,
    "intendedPurpose": purpose if tenant else "SmimeEncryption",
    "userPrincipalName": upn,
    "startDateTime": "2026-01-31T23:58:46.7156189-07:00",
    "expirationDateTime": "2027-12-31T23:57:57.2481234-07:00",
    "providerName": "Microsoft Software Key Storage Provider",
    "keyName": "PFXEncryptionKey",
    "paddingScheme": f"oaepSha{digest[3:]}" if tenant else f"OaepSha{digest[3:]}",
    "encryptedPfxBlob": base64.b64encode(blob).decode(),
    "encryptedPfxPassword": encrypted(keys[0]),
}
if tenant:
    record["binding"] = 1
    record["keyId"] = key_id(keys[0])
    record["recipients"] = [{"keyId": key_id(k), "encryptedPfxPassword": encrypted(k)} for k in keys[1:]]
else:
    record["createdDateTime"] = "2026-02-01T00:02:43.5775965-07:00"
    record["lastModifiedDateTime"] = "2026-02-01T00:00:35.1329464-07:00"
pathlib.Path(record_file).write_text(json.dumps(record))
