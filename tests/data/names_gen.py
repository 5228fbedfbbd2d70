#!/usr/bin/python3
"""Makes names.tsv, the table of subjects, alternative names and extensions with their DER.

The DER comes from python3-cryptography and, for the few bytes it has no words for, from the small
encoder below; nothing of ours takes part.  Each subject is told twice: as the RFC 4514 text of a job, and
as the list of RDNs that a reader of the RFC expects.  Without an argument the table is printed, with
--check FILE it is compared.

Columns, with tabs: id, kind, input, verdict, expected.  In `input` a byte below 0x20, 0x7f, a byte that is not
UTF-8 and the per cent sign itself are %xx.  `verdict` is ok, malformed, denied or too-large; `expected` is
the DER in hex, or words of the refusal.
"""
import ipaddress
import sys

from cryptography import x509
from cryptography.x509.name import _ASN1Type as T

OIDS = {
    "CN": "2.5.4.3", "SN": "2.5.4.4", "serialNumber": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7",
    "ST": "2.5.4.8", "STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "title": "2.5.4.12",
    "description": "2.5.4.13", "businessCategory": "2.5.4.15", "postalCode": "2.5.4.17",
    "telephoneNumber": "2.5.4.20", "name": "2.5.4.41", "givenName": "2.5.4.42", "initials": "2.5.4.43",
    "generationQualifier": "2.5.4.44", "dnQualifier": "2.5.4.46", "pseudonym": "2.5.4.65",
    "organizationIdentifier": "2.5.4.97", "DC": "0.9.2342.19200300.100.1.25",
    "UID": "0.9.2342.19200300.100.1.1", "E": "1.2.840.113549.1.9.1",
}
TYPES = {"C": T.PrintableString, "serialNumber": T.PrintableString, "dnQualifier": T.PrintableString,
         "DC": T.IA5String, "E": T.IA5String}
STRINGS = {"utf8": T.UTF8String, "printable": T.PrintableString, "ia5": T.IA5String}
rows = []


# ---- DER that python3-cryptography has no words for

def der(tag, body):
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_oid(text):
    numbers = [int(n) for n in text.split(".")]
    body = b""
    for n in [numbers[0] * 40 + numbers[1]] + numbers[2:]:
        part = [n & 0x7f]
        while n > 0x7f:
            n >>= 7
            part.insert(0, 0x80 | n & 0x7f)
        body += bytes(part)
    return der(0x06, body)


def der_integer(n):
    return der(0x02, n.to_bytes(n.bit_length() // 8 + 1, "big"))


# ---- rows

def shown(text):
    data = text if isinstance(text, bytes) else text.encode()
    out = ""
    for char in data.decode("utf-8", "surrogateescape"):
        if char == "%" or ord(char) < 0x20 or ord(char) == 0x7f or "\udc80" <= char <= "\udcff":
            out += "".join("%%%02x" % b for b in char.encode("utf-8", "surrogateescape"))
        else:
            out += char
    return out


def row(id, kind, text, verdict, expected):
    assert id not in (r[0] for r in rows), id
    rows.append((id, kind, shown(text), verdict, expected))


def attribute(name, value, string=None):
    oid = x509.ObjectIdentifier(OIDS.get(name, name))
    return x509.NameAttribute(oid, value, STRINGS[string] if string else TYPES.get(name, T.UTF8String))


def subject(id, text, *rdns):
    """`rdns` as they stand in the certificate: each a list of (type, value[, string])."""
    name = x509.Name([x509.RelativeDistinguishedName([attribute(*a) for a in rdn]) for rdn in rdns])
    row(id, "subject", text, "ok", name.public_bytes().hex())


def no_subject(id, text, why, verdict="malformed"):
    row(id, "subject", text, verdict, why)


OTHER = {"upn": "1.3.6.1.4.1.311.20.2.3", "sid": "1.3.6.1.4.1.311.25.2.1"}


def general(kind, value):
    if kind == "email":
        return x509.RFC822Name(value)
    if kind == "dns":
        return x509.DNSName(value)
    if kind == "uri":
        return x509.UniformResourceIdentifier(value)
    if kind == "sid":
        return x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:" + value)
    if kind == "ip":
        return x509.IPAddress(ipaddress.ip_address(value))
    return x509.OtherName(x509.ObjectIdentifier(OTHER["upn"]), der(0x0c, value.encode()))


def general_names(names):
    return x509.SubjectAlternativeName(names).public_bytes()


def san(id, *items):
    text = " | ".join("%s:%s" % item for item in items)
    row(id, "san", text, "ok", general_names([general(*item) for item in items]).hex())


def no_san(id, text, why, verdict="malformed"):
    row(id, "san", text, verdict, why)


def sid(id, text):
    name = x509.OtherName(x509.ObjectIdentifier(OTHER["sid"]), der(0x04, text.encode()))
    row(id, "sid", text, "ok", general_names([name]).hex())


def no_sid(id, text):
    row(id, "sid", text, "malformed", "not the SID of an account")


def template_name(id, text):
    row(id, "template-name", text, "ok", der(0x1e, text.encode("utf-16-be")).hex())


def template_id(id, oid, *version):
    body = der_oid(oid) + b"".join(der_integer(n) for n in version)
    row(id, "template-id", " ".join([oid] + [str(n) for n in version]), "ok", der(0x30, body).hex())


# ---- subjects

def subjects_of_profiles():
    """The subject name formats of today's profiles, their variables filled in."""
    subject("profile-cn", "CN=Alice Example", [("CN", "Alice Example")])
    subject("profile-cn-email", "CN=Alice Example,E=alice@contoso.com",
            [("E", "alice@contoso.com")], [("CN", "Alice Example")])
    subject("profile-email-as-cn", "CN=alice@contoso.com", [("CN", "alice@contoso.com")])
    subject("profile-custom",
            "CN=alice@contoso.com,E=alice@contoso.com,OU=Enterprise Users,O=Contoso Corporation,"
            "L=Redmond,ST=WA,C=US",
            [("C", "US")], [("ST", "WA")], [("L", "Redmond")], [("O", "Contoso Corporation")],
            [("OU", "Enterprise Users")], [("E", "alice@contoso.com")], [("CN", "alice@contoso.com")])
    subject("profile-imei", "CN=356938035643809", [("CN", "356938035643809")])
    subject("profile-serial", "CN=5CG9441WKR", [("CN", "5CG9441WKR")])
    subject("profile-device-id", "CN=0f3a6d3c-7d0e-4a0e-9a55-2d1b7d3f9c11",
            [("CN", "0f3a6d3c-7d0e-4a0e-9a55-2d1b7d3f9c11")])
    subject("profile-mac", "CN=00-15-5D-0A-0B-0C,OU=Devices", [("OU", "Devices")],
            [("CN", "00-15-5D-0A-0B-0C")])
    subject("profile-fqdn", "CN=pc1.corp.contoso.com", [("CN", "pc1.corp.contoso.com")])
    subject("profile-upn-uid", "CN=Alice,UID=alice@contoso.com", [("UID", "alice@contoso.com")],
            [("CN", "Alice")])
    subject("profile-dn-of-directory", "CN=Example\\, Alice,OU=Users,DC=corp,DC=contoso,DC=com",
            [("DC", "com")], [("DC", "contoso")], [("DC", "corp")], [("OU", "Users")],
            [("CN", "Example, Alice")])
    subject("profile-device-and-serial", "CN=LAPTOP-1,serialNumber=5CG9441WKR,O=Contoso",
            [("O", "Contoso")], [("serialNumber", "5CG9441WKR")], [("CN", "LAPTOP-1")])


def subjects_of_the_rfc():
    """RFC 4514 section 4."""
    subject("rfc-1", "UID=jsmith,DC=example,DC=net", [("DC", "net")], [("DC", "example")],
            [("UID", "jsmith")])
    subject("rfc-2", "OU=Sales+CN=J.  Smith,DC=example,DC=net", [("DC", "net")], [("DC", "example")],
            [("OU", "Sales"), ("CN", "J.  Smith")])
    subject("rfc-3", 'CN=James \\"Jim\\" Smith\\, III,DC=example,DC=net', [("DC", "net")],
            [("DC", "example")], [("CN", 'James "Jim" Smith, III')])
    no_subject("rfc-4", "CN=Before\\0dAfter,DC=example,DC=net", "not clean text")
    subject("rfc-5", "1.3.6.1.4.1.1466.0=Hi,O=Test", [("O", "Test")], [("1.3.6.1.4.1.1466.0", "Hi")])
    no_subject("rfc-5-octets", "1.3.6.1.4.1.1466.0=#04024869", "no character string")
    subject("rfc-6", "CN=Lu\\C4\\8Di\\C4\\87", [("CN", "Lu\u010di\u0107")])


def subjects_with_special_characters():
    for name, char in (("plus", "+"), ("semicolon", ";"), ("comma", ","), ("equals", "="),
                       ("quote", '"'), ("less", "<"), ("greater", ">"), ("hash", "#"), ("space", " "),
                       ("backslash", "\\")):
        subject("escaped-%s-first" % name, "CN=\\%sx" % char, [("CN", char + "x")])
        subject("escaped-%s-within" % name, "CN=a\\%sb,O=c" % char, [("O", "c")], [("CN", "a%sb" % char)])
        subject("escaped-%s-last" % name, "CN=x\\%s" % char, [("CN", "x" + char)])
        subject("hex-escaped-%s" % name, "CN=a\\%02xb" % ord(char), [("CN", "a%sb" % char)])
    subject("equals-bare", "CN=a=b=c", [("CN", "a=b=c")])
    subject("hash-bare-within", "CN=a#b#", [("CN", "a#b#")])
    subject("spaces-within", "CN=a  b   c", [("CN", "a  b   c")])
    subject("spaces-both-ends", "CN=\\ \\ a\\ \\ ", [("CN", "  a  ")])
    subject("space-alone", "CN=\\ ", [("CN", " ")])
    subject("space-last-by-hex", "CN=a\\20,O=b", [("O", "b")], [("CN", "a ")])
    subject("all-specials", 'CN=\\+\\;\\,\\=\\"\\<\\>\\#\\\\', [("CN", '+;,="<>#\\')])
    subject("specials-in-every-rdn", "CN=a\\,b,OU=c\\+d,O=e\\;f\\=g", [("O", "e;f=g")], [("OU", "c+d")],
            [("CN", "a,b")])
    subject("other-punctuation", "CN=a/b:c?d!e*f(g)h&i'j|k~l^m`n$o@p{q}r[s]t_u",
            [("CN", "a/b:c?d!e*f(g)h&i'j|k~l^m`n$o@p{q}r[s]t_u")])
    subject("per-cent", "CN=50% off", [("CN", "50% off")])
    subject("separators-with-spaces", "CN=a, OU=b,  O=c+ UID=d", [("O", "c"), ("UID", "d")],
            [("OU", "b")], [("CN", "a")])


def subjects_in_utf8():
    for name, value in (("german", "J\u00fcrgen Gro\u00df"), ("greek", "\u0391\u03bb\u03af\u03ba\u03b7"),
                        ("cyrillic", "\u0410\u043b\u0438\u0441\u0430"), ("arabic", "\u0623\u0644\u064a\u0633"),
                        ("japanese", "\u30a2\u30ea\u30b9"), ("emoji", "Alice \U0001f512"),
                        ("combining", "Ame\u0301lie"), ("nbsp", "\u00a0Alice\u00a0")):
        subject("utf8-" + name, "CN=%s,O=Contoso" % value, [("O", "Contoso")], [("CN", value)])
    value = "\u00dcn\u00efc\u00f6de"
    subject("utf8-by-hex", "CN=" + "".join("\\%02X" % b for b in value.encode()), [("CN", value)])
    subject("utf8-mixed-hex", "CN=\u00dc\\C3\\BC,O=x", [("O", "x")], [("CN", "\u00dc\u00fc")])
    subject("utf8-64-characters", "CN=" + "\u00fc" * 64, [("CN", "\u00fc" * 64)])


def subjects_by_type():
    for name, value in (("CN", "a b"), ("L", "Gro\u00df-Gerau"), ("ST", "Hessen"), ("O", "Contoso"),
                        ("OU", "IT"), ("C", "DE"), ("STREET", "1 Way"), ("DC", "contoso"), ("UID", "alice"),
                        ("E", "alice@contoso.com"), ("serialNumber", "AB 12-3"), ("title", "Dr."),
                        ("SN", "Example"), ("givenName", "Alice"), ("initials", "AE"),
                        ("generationQualifier", "III"), ("dnQualifier", "q1"), ("pseudonym", "al"),
                        ("description", "x y"), ("postalCode", "64521"),
                        ("organizationIdentifier", "VATDE-123456789"), ("businessCategory", "Private"),
                        ("telephoneNumber", "+49 30 1"), ("name", "Alice E")):
        text = value.replace("+", "\\+")
        subject("type-" + name, "%s=%s" % (name, text), [(name, value)])
    for alias, name, value in (("emailAddress", "E", "a@contoso.com"), ("SERIALNUMBER", "serialNumber", "1"),
                               ("cn", "CN", "a"), ("S", "ST", "WA"), ("G", "givenName", "a"),
                               ("GN", "givenName", "a"), ("I", "initials", "a"), ("T", "title", "a"),
                               ("surname", "SN", "a"), ("commonName", "CN", "a"), ("countryName", "C", "US"),
                               ("organizationName", "O", "a"), ("organizationalUnitName", "OU", "a"),
                               ("localityName", "L", "a"), ("stateOrProvinceName", "ST", "a"),
                               ("streetAddress", "STREET", "a"), ("domainComponent", "DC", "a"),
                               ("userId", "UID", "a")):
        subject("alias-" + alias, "%s=%s" % (alias, value), [(name, value)])
    subject("oid-of-cn", "2.5.4.3=a", [("CN", "a")])
    subject("oid-of-country", "2.5.4.6=DE", [("C", "DE")])
    subject("oid-of-email", "1.2.840.113549.1.9.1=a@contoso.com", [("E", "a@contoso.com")])
    subject("oid-of-nobody", "1.3.6.1.4.1.99999.1=a", [("1.3.6.1.4.1.99999.1", "a")])
    subject("oid-large-arcs", "2.999.4294967295=a", [("2.999.4294967295", "a")])
    subject("hex-string-utf8", "CN=#0c03c3bc61", [("CN", "\u00fca", "utf8")])
    subject("hex-string-printable", "CN=#1303666F6F,O=x", [("O", "x")], [("CN", "foo", "printable")])
    subject("hex-string-ia5-of-oid", "1.3.6.1.4.1.99999.1=#1603666f6f", [("1.3.6.1.4.1.99999.1", "foo", "ia5")])
    subject("hex-string-of-country", "C=#13024445", [("C", "DE")])
    subject("multi-valued", "CN=Alice+UID=a1,O=Contoso", [("O", "Contoso")], [("CN", "Alice"), ("UID", "a1")])
    subject("multi-valued-sorted", "UID=a1+serialNumber=7+CN=Alice",
            [("CN", "Alice"), ("serialNumber", "7"), ("UID", "a1")])
    subject("multi-valued-twice", "CN=a+OU=b,O=c+L=d", [("O", "c"), ("L", "d")], [("CN", "a"), ("OU", "b")])
    subject("multi-valued-escaped", "CN=a\\+b+OU=c\\,d,O=e", [("O", "e")], [("CN", "a+b"), ("OU", "c,d")])
    subject("same-type-in-two-rdns", "OU=a,OU=b,OU=a", [("OU", "a")], [("OU", "b")], [("OU", "a")])
    subject("many-rdns", ",".join("OU=u%d" % n for n in range(32)),
            *[[("OU", "u%d" % n)] for n in reversed(range(32))])
    subject("long-locality", "L=" + "l" * 128, [("L", "l" * 128)])
    subject("empty", "")


def subjects_refused():
    type_ = "no attribute type and ="
    no_subject("no-equals", "CN", type_)
    no_subject("no-type", "=a", type_)
    no_subject("space-before-equals", "CN =a", type_)
    no_subject("comma-last", "CN=a,", type_)
    no_subject("comma-first", ",CN=a", type_)
    no_subject("comma-twice", "CN=a,,O=b", type_)
    no_subject("plus-last", "CN=a+", type_)
    no_subject("type-unknown", "XYZ=a", "type that is not known")
    no_subject("type-oid-prefix", "OID.2.5.4.3=a", "type that is not known")
    no_subject("type-oid-zero", "2.5.04.3=a", "not an OID")
    no_subject("type-oid-root", "9.5.4.3=a", "not an OID")
    no_subject("value-empty", "CN=,O=x", "empty")
    no_subject("value-variable-empty", "CN=Alice,E=", "empty")
    no_subject("space-first", "CN= a", "space before a value")
    no_subject("space-last", "CN=a ", "space after a value")
    no_subject("space-before-comma", "CN=a ,O=b", "space after a value")
    for name, char in (("quote", '"'), ("semicolon", ";"), ("less", "<"), ("greater", ">")):
        no_subject("bare-" + name, "CN=a%sb" % char, "special character that is not escaped")
    no_subject("quoted-as-in-ldap-v2", 'O="a, b"', "special character that is not escaped")
    no_subject("semicolon-as-separator", "CN=a;O=b", "special character that is not escaped")
    no_subject("backslash-last", "CN=a\\", "backslash before what needs none")
    no_subject("backslash-letter", "CN=a\\x", "backslash before what needs none")
    no_subject("backslash-one-digit", "CN=a\\4", "backslash before what needs none")
    no_subject("nul-by-hex", "CN=a\\00b", "not clean text")
    no_subject("nul", b"CN=a\0b", "not clean text")
    no_subject("line-feed", "CN=a\nb", "not clean text")
    no_subject("delete", "CN=a\x7fb", "not clean text")
    no_subject("utf8-cut", b"CN=\xc3", "not clean text")
    no_subject("utf8-overlong", "CN=\\C0\\AF", "not clean text")
    no_subject("utf8-surrogate", "CN=\\ED\\A0\\80", "not clean text")
    no_subject("latin-1", b"CN=J\xfcrgen", "not clean text")
    no_subject("country-long", "C=Germany", "its type does not allow")
    no_subject("country-short", "C=D", "its type does not allow")
    no_subject("country-not-printable", "C=\u00d6E", "its type does not allow")
    no_subject("serial-number-not-printable", "serialNumber=a@b", "its type does not allow")
    no_subject("email-not-ascii", "E=\u00e4@contoso.com", "its type does not allow")
    no_subject("dc-not-ascii", "DC=\u00e4", "its type does not allow")
    no_subject("cn-65-characters", "CN=" + "a" * 65, "its type does not allow")
    no_subject("organization-65-characters", "O=" + "a" * 65, "its type does not allow")
    no_subject("locality-129-characters", "L=" + "a" * 129, "its type does not allow")
    no_subject("hash-alone", "CN=#", "empty #value")
    no_subject("hex-odd", "CN=#0c0", "not pairs of hex digits")
    no_subject("hex-cut", "CN=#0c03666f", "no character string")
    no_subject("hex-trailing", "CN=#0c01610000", "no character string")
    no_subject("hex-sequence", "CN=#30030c0161", "no character string")
    no_subject("hex-of-another-string-type", "C=#0c024445", "its type does not allow")
    no_subject("hex-of-another-length", "C=#13034445" + "55", "its type does not allow")
    no_subject("hex-too-long", "CN=#0c41" + "61" * 65, "its type does not allow")
    no_subject("hex-of-no-text", "CN=#0c03660a6f", "not clean text")
    no_subject("hex-empty-string", "CN=#0c00", "not clean text")
    no_subject("same-type-in-one-rdn", "CN=a+CN=b", "twice in one RDN")
    no_subject("same-type-in-one-rdn-by-oid", "CN=a+OU=x+2.5.4.3=b", "twice in one RDN")
    no_subject("too-many", ",".join("OU=u%d" % n for n in range(33)), "too many attributes", "too-large")


# ---- alternative names

SID = "S-1-5-21-666199682-1411342147-2938717855-1001"


def sans():
    san("san-email", ("email", "alice@contoso.com"))
    san("san-emails", ("email", "alice@contoso.com"), ("email", "a.b+c@mail.contoso.com"),
        ("email", "o'neil_x-y@contoso.com"))
    san("san-upn", ("upn", "alice@contoso.com"))
    san("san-upns", ("upn", "alice@contoso.com"), ("upn", "adm-alice@corp.contoso.com"))
    san("san-upn-utf8", ("upn", "j\u00fcrgen@contoso.com"))
    san("san-dns", ("dns", "pc1.corp.contoso.com"))
    san("san-dnses", ("dns", "pc1.corp.contoso.com"), ("dns", "pc1"), ("dns", "xn--bcher-kva.contoso.com"))
    san("san-dns-wildcard", ("dns", "*.corp.contoso.com"))
    san("san-dns-case", ("dns", "PC1.Corp.Contoso.COM"))
    san("san-dns-long-label", ("dns", "a" * 63 + ".contoso.com"))
    san("san-uri", ("uri", "https://contoso.com/users/alice?x=1#f"))
    san("san-uris", ("uri", "spiffe://contoso.com/user/alice"), ("uri", "urn:uuid:0f3a6d3c-7d0e-4a0e-9a55-2d1b7d3f9c11"),
        ("uri", "ID:Microsoft+Endpoint-Manager:GUID:x"))
    san("san-uri-escaped", ("uri", "https://contoso.com/%C3%BC%20x"))
    san("san-ip4", ("ip", "10.1.2.3"))
    san("san-ip4-edges", ("ip", "0.0.0.0"), ("ip", "255.255.255.255"))
    san("san-ip6", ("ip", "2001:db8::17"))
    san("san-ip6-forms", ("ip", "::1"), ("ip", "2001:DB8:0:0:8:800:200C:417A"), ("ip", "::ffff:10.1.2.3"))
    san("san-ips", ("ip", "10.1.2.3"), ("ip", "2001:db8::17"), ("ip", "192.168.0.1"))
    san("san-sid-uri", ("sid", SID))
    san("san-upn-and-sid-uri", ("upn", "alice@contoso.com"), ("sid", SID))
    san("san-all", ("email", "alice@contoso.com"), ("email", "a2@contoso.com"), ("dns", "pc1.corp.contoso.com"),
        ("dns", "pc2.corp.contoso.com"), ("uri", "https://contoso.com/users/alice"),
        ("uri", "https://contoso.com/users/a2"), ("ip", "10.1.2.3"), ("ip", "2001:db8::17"),
        ("upn", "alice@contoso.com"), ("upn", "a2@contoso.com"), ("sid", SID))
    san("san-two-of-each", ("email", "alice@contoso.com"), ("email", "a2@contoso.com"), ("dns", "pc1.corp.contoso.com"),
        ("dns", "pc2.corp.contoso.com"), ("uri", "https://contoso.com/users/alice"),
        ("uri", "https://contoso.com/users/a2"), ("ip", "10.1.2.3"), ("ip", "2001:db8::17"),
        ("upn", "alice@contoso.com"), ("upn", "a2@contoso.com"))
    san("san-order-kept", ("upn", "b@contoso.com"), ("email", "a@contoso.com"), ("upn", "a@contoso.com"))
    san("san-same-twice", ("email", "a@contoso.com"), ("email", "a@contoso.com"))
    # the bytes of a public dump of such certificates
    assert rows[[r[0] for r in rows].index("san-upn")][4] == "3023" + "a021060a2b060104018237140203a0130c11" + \
        b"alice@contoso.com".hex()
    assert rows[[r[0] for r in rows].index("san-sid-uri")][4] == "3050" + "864e" + \
        ("tag:microsoft.com,2022-09-14:sid:" + SID).encode().hex()


def sans_refused():
    for name, value in (("no-at", "alice"), ("two-ats", "a@b@contoso.com"), ("no-local", "@contoso.com"),
                        ("no-domain", "alice@"), ("space", "al ice@contoso.com"), ("quoted", '"a"@contoso.com'),
                        ("angle", "<alice@contoso.com>"), ("utf8", "\u00e4@contoso.com"),
                        ("utf8-domain", "a@b\u00fccher.example"), ("dot-domain", "a@contoso..com"),
                        ("literal", "a@[10.1.2.3]"), ("comma", "a@contoso.com,b@contoso.com"), ("nul", "a@contoso.com\0")):
        no_san("san-no-email-" + name, "email:" + value, "not an e-mail address")
    for name, value in (("space", "pc 1.contoso.com"), ("underscore", "pc_1.contoso.com"),
                        ("hyphen-first", "-pc.contoso.com"), ("hyphen-last", "pc-.contoso.com"),
                        ("dot-last", "contoso.com."), ("dot-first", ".contoso.com"),
                        ("long-label", "a" * 64 + ".com"), ("long", "a." * 127 + "com"), ("star-within", "a.*.contoso.com"),
                        ("star-part", "a*.contoso.com"), ("star-alone", "*."), ("utf8", "b\u00fccher.example"),
                        ("nul", "pc1\0.contoso.com")):
        no_san("san-no-dns-" + name, "dns:" + value, "not a DNS name")
    for name, value in (("no-scheme", "//contoso.com"), ("no-colon", "contoso.com"), ("scheme-only", "https:"),
                        ("scheme-digit", "+x:a"), ("space", "https://contoso.com/a b"), ("angle", "https://<x>"),
                        ("quote", 'https://"x"'), ("utf8", "https://contoso.com/\u00fc")):
        no_san("san-no-uri-" + name, "uri:" + value, "not a URI")
    for name, value in (("short", "10.1.2"), ("big", "10.1.2.256"), ("zeros", "010.1.2.3"), ("mask", "10.0.0.0/8"),
                        ("port", "10.1.2.3:80"), ("brackets", "[::1]"), ("zone", "fe80::1%eth0"),
                        ("colons", "1:2:3:4:5:6:7:8:9"), ("name", "localhost"), ("hex", "0x0a010203")):
        no_san("san-no-ip-" + name, "ip:" + value, "not an IP address")
    for name, value in (("no-at", "alice"), ("two-ats", "a@b@c"), ("no-local", "@contoso.com"),
                        ("control", "al\nice@contoso.com"), ("nul", "alice@contoso.com\0.example")):
        no_san("san-no-upn-" + name, "upn:" + value, "not a UPN")
    for name, value in (("same", "tag:microsoft.com,2022-09-14:sid:" + SID), ("other-case", "TAG:Microsoft.com,2022-09-14:sid:" + SID),
                        ("other-date", "tag:microsoft.com,2099-01-01:sid:" + SID)):
        no_san("san-smuggled-sid-" + name, "uri:" + value, "comes only from holder.sid", "denied")
    no_san("san-second-refused", "email:alice@contoso.com | dns:a b", "not a DNS name")


# ---- extensions

def extensions():
    sid("sid-domain", SID)
    # every byte as in a public dump of a certificate of AD CS
    assert rows[-1][4] == "303fa03d060a2b060104018237190201a02f042d" + SID.encode().hex()
    sid("sid-largest", "S-1-5-21-4294967295-4294967295-4294967295-4294967295")
    sid("sid-cloud", "S-1-12-1-1-2-3-4")
    for name, value in (("empty", ""), ("group", "S-1-5-32-544"), ("no-rid", "S-1-5-21-1-2-3"), ("more", "S-1-5-21-1-2-3-4-5"),
                        ("big", "S-1-5-21-1-2-3-4294967296"), ("zeros", "S-1-5-21-01-2-3-4"), ("letters", "S-1-5-21-a-2-3-4"),
                        ("sign", "S-1-5-21-1-2-3--4"), ("trailing", SID + " "), ("lower", SID.lower())):
        no_sid("sid-" + name, value)
    template_name("template-v1-user", "User")
    assert rows[-1][4] == "1e080055007300650072"
    template_name("template-v1-dc", "DomainController")
    assert len(bytes.fromhex(rows[-1][4])) == 0x22
    template_name("template-v1-utf8", "Benutzer f\u00fcr \u0391")
    row("template-v1-emoji", "template-name", "User \U0001f512", "malformed", "character above U+FFFF")
    row("template-v1-empty", "template-name", "", "malformed", "empty, too long or not clean")
    row("template-v1-control", "template-name", "Us\ner", "malformed", "empty, too long or not clean")
    row("template-v1-long", "template-name", "a" * 257, "malformed", "empty, too long or not clean")
    oid = "1.3.6.1.4.1.311.21.8.3025710.4393146.2181807.13924342.9568199.8.4253412.23540570"
    template_id("template-v2", oid, 100, 3)
    assert rows[-1][4].endswith("02016402" + "0103")
    template_id("template-v2-major", oid, 100)
    template_id("template-v2-bare", oid)
    template_id("template-v2-zero", oid, 0, 0)
    template_id("template-v2-sign-bit", oid, 128, 65535)
    template_id("template-v2-largest", oid, 4294967295, 4294967295)
    row("template-v2-too-large", "template-id", oid + " 4294967296", "malformed", "above 4294967295")
    row("template-v2-minor-alone", "template-id", oid + " - 3", "malformed", "without a major one")
    row("template-v2-no-oid", "template-id", "User 1 0", "malformed", "not an OID")
    capabilities = der(0x30, der(0x30, der_oid("2.16.840.1.101.3.4.1.42")) + der(0x30, der_oid("2.16.840.1.101.3.4.1.2")) +
                       der(0x30, der_oid("1.2.840.113549.3.7")))
    row("smime-capabilities", "smime", "", "ok", capabilities.hex())
    assert rows[-1][4] == "3026300b060960864801650304012a300b06096086480165030401023" + "00a06082a864886f70d0307"


def main():
    for part in (subjects_of_profiles, subjects_of_the_rfc, subjects_with_special_characters, subjects_in_utf8,
                 subjects_by_type, subjects_refused, sans, sans_refused, extensions):
        part()
    text = "".join("\t".join(r) + "\n" for r in rows)
    if sys.argv[1:2] != ["--check"]:
        sys.stdout.write(text)
    elif open(sys.argv[2], encoding="utf-8").read() != text:
        sys.exit("%s is not what names_gen.py makes" % sys.argv[2])
    else:
        print("%d cases" % len(rows))


main()
