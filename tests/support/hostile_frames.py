#!/usr/bin/env python3
"""WebSocket frames as no honest peer sends them, over real TLS, to either end of certq.v1.

usage: hostile_frames.py gateway --port PORT --chain FILE --key FILE --log FILE --ready FILE
       hostile_frames.py connector --port PORT --chain FILE --key FILE --log FILE

`gateway` stands in the queue's place: each time the connector dials it does the next thing of its list.
`connector` dials the queue with a connector's certificate, once for each thing of its list.  After each,
the other side must have ended the connection (with the close status of the list, where it says one) and
must have written a new line into its log that has the words of the list.  Nothing of the project is
used: the frames are made here (RFC 6455 section 5.2).  Exit status 1 when one of them was not so."""
import argparse
import base64
import hashlib
import os
import re
import socket
import ssl
import struct
import sys
import time

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WAIT_S = 12
NOT_WS = "what came is not WebSocket"


def frame(payload=b"", op=BINARY, fin=True, rsv=0, mask=False, size=None):
    """One frame; `size` is a length to claim instead of the true one, always in its 64-bit form."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    bit = 0x80 if mask else 0
    if size is not None:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    elif len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", len(payload))
    if mask:
        key = os.urandom(4)
        head += key
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
    return head + payload


class Peer:
    """The other side of one connection."""

    def __init__(self, tls, masks):
        self.tls, self.masks, self.data = tls, masks, b""
        self.pongs, self.messages, self.close = [], [], None

    def send(self, data):
        """False when the other side has gone, which a refusal may do in the middle."""
        try:
            self.tls.sendall(data)
            return True
        except OSError:
            return False

    def frame(self, *args, **more):
        return self.send(frame(*args, mask=more.pop("mask", self.masks), **more))

    def take(self):
        """One frame out of what has come; None: more is needed."""
        if len(self.data) < 2:
            return None
        size, at = self.data[1] & 127, 2
        if size == 126 and len(self.data) >= 4:
            size, at = struct.unpack(">H", self.data[2:4])[0], 4
        elif size == 127 and len(self.data) >= 10:
            size, at = struct.unpack(">Q", self.data[2:10])[0], 10
        elif size > 125:
            return None
        key = b""
        if self.data[1] & 128:
            key, at = self.data[at:at + 4], at + 4
        if len(self.data) < at + size:
            return None
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(self.data[at:at + size])) if key \
            else self.data[at:at + size]
        op, self.data = self.data[0] & 15, self.data[at + size:]
        return op, payload

    def read_to_the_end(self, until=None):
        """Everything that comes until the connection ends, or until `until` says so."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            got = self.take()
            if got is None:
                try:
                    self.tls.settimeout(max(0.1, end - time.monotonic()))
                    more = self.tls.recv(65536)
                except (ConnectionError, ssl.SSLError):
                    return True
                except OSError:
                    return False
                if not more:
                    return True
                self.data += more
                continue
            op, payload = got
            if op == CLOSE:
                self.close = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                return True
            elif op == PONG:
                self.pongs.append(payload)
            elif op in (BINARY, CONT):
                self.messages.append(payload)
            if until is not None and until(self):
                return True
        return False


# ---- what is done, and what is expected: (name, act, close status or None, words of the log)

def text(p): p.frame(b"{}", op=TEXT)
def reserved_bit(p): p.frame(b"x", rsv=4)
def reserved_data_opcode(p): p.frame(b"x", op=3)
def reserved_control_opcode(p): p.frame(b"x", op=11)
def continuation_without_start(p): p.frame(b"x", op=CONT)
def long_ping(p): p.frame(b"x" * 126, op=PING)
def fragmented_ping(p): p.frame(b"x", op=PING, fin=False)
def top_bit_of_the_length(p): p.frame(b"x" * 8, size=1 << 63)
def a_terabyte(p): p.frame(b"x" * 40000, size=1 << 40)
def over_the_limit(p): p.frame(b"x" * (256 * 1024 + 1))
def no_message_at_all(p): p.frame(b"\xff" * 100)
def an_empty_message(p): p.frame(b"")
def a_close_with_words(p): p.frame(struct.pack(">H", 1001) + b"come again later", op=CLOSE)
def cut(p): p.tls.close()
def not_websocket(p): p.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
def wrongly_masked(p): p.frame(b"\x08\x01", mask=not p.masks)


def a_message_inside_a_message(p):
    p.frame(b"x", fin=False)
    p.frame(b"x", op=BINARY)


def fragments_without_end(p):
    """More than any limit; written at once, since a refusal need not read on."""
    p.send(frame(b"x", fin=False, mask=p.masks) + frame(b"x", op=CONT, fin=False, mask=p.masks) * 5000)


def large_fragments_without_end(p):
    p.send(frame(b"x" * 16000, fin=False, mask=p.masks) + frame(b"x" * 16000, op=CONT, fin=False, mask=p.masks) * 20)


def fragments_with_pings_between(p):
    """They are put together, each ping is answered, and the whole is no message: told so."""
    p.frame(b"\xff", fin=False)
    for i in range(3):
        p.frame(b"ping %d" % i, op=PING)
        p.frame(b"\xff" * 10, op=CONT, fin=False)
    p.frame(b"\xff", op=CONT)


def another_version(p):
    """HelloAck of version 2: proto 2 and a nonce of 16 bytes, as the first message."""
    ack = b"\x08\x02" + b"\x22\x10" + b"n" * 16
    p.frame(b"\x08\x01\x10\x01\x5a" + bytes([len(ack)]) + ack)


def ack_without_nonce(p): p.frame(b"\x08\x01\x10\x01\x5a\x02\x08\x01")


def other_versions(p):
    """Hello of a connector that speaks versions 2 to 3 only."""
    hello = b"\x08\x02\x10\x03" + b"\x22\x10" + b"i" * 16 + b"\x2a\x10" + b"j" * 16
    p.frame(b"\x08\x01\x52" + bytes([len(hello)]) + hello)


def job_before_hello(p): p.frame(b"\x08\x01\x8a\x01\x00")
def sequence_gap(p): p.frame(b"\x08\x07\xfa\x01\x02\x08\x01")


TO_CONNECTOR = [
    ("a text message", text, 1003, "sent text, only binary messages"),
    ("a reserved bit", reserved_bit, None, NOT_WS),
    ("a reserved data opcode", reserved_data_opcode, None, NOT_WS),
    ("a reserved control opcode", reserved_control_opcode, None, NOT_WS),
    ("a continuation without a start", continuation_without_start, None, NOT_WS),
    ("a message inside a message", a_message_inside_a_message, None, NOT_WS),
    ("a ping of 126 bytes", long_ping, None, NOT_WS),
    ("a fragmented ping", fragmented_ping, None, NOT_WS),
    ("a length with its top bit", top_bit_of_the_length, None, NOT_WS),
    ("a length of a terabyte", a_terabyte, 1009, "over the limit of 256 KiB"),
    ("a message over the limit", over_the_limit, 1009, "over the limit of 256 KiB"),
    ("small fragments without end", fragments_without_end, 1008, "more fragments than are taken"),
    ("large fragments without end", large_fragments_without_end, 1009, "over the limit of 256 KiB"),
    ("fragments with pings between", fragments_with_pings_between, 1002, "does not decode"),
    ("bytes that are no message", no_message_at_all, 1002, "does not decode"),
    ("an empty message", an_empty_message, 1008, "a gap in the sequence"),
    ("a job before the resume", job_before_hello, 1008, "may not come now"),
    ("another version", another_version, 1008,
     "the queue chose version 2 of the protocol, only version 1 is spoken here: update the older side"),
    ("a HelloAck without a nonce", ack_without_nonce, 1002, "a HelloAck without a usable nonce"),
    ("a gap in the sequence", sequence_gap, 1008, "a gap in the sequence"),
    ("a masked message", wrongly_masked, None, "."),
    ("a close with words", a_close_with_words, 1001, "status 1001 come again later"),
    ("HTTP in the middle", not_websocket, None, "."),
    ("the end of the connection", cut, None, "was cut"),
]

TO_QUEUE = [
    ("a text message", text, 1003, "only binary messages"),
    ("a reserved bit", reserved_bit, 1002, NOT_WS),
    ("a reserved data opcode", reserved_data_opcode, 1002, NOT_WS),
    ("a reserved control opcode", reserved_control_opcode, 1002, NOT_WS),
    ("a continuation without a start", continuation_without_start, 1002, NOT_WS),
    ("a message inside a message", a_message_inside_a_message, 1002, NOT_WS),
    ("a ping of 126 bytes", long_ping, None, NOT_WS),
    ("a fragmented ping", fragmented_ping, 1002, NOT_WS),
    ("a length with its top bit", top_bit_of_the_length, None, NOT_WS),
    ("a length of a terabyte", a_terabyte, 1009, "message over the limit"),
    ("a message over the limit", over_the_limit, 1009, "message over the limit"),
    ("small fragments without end", fragments_without_end, 1008, "too many fragments"),
    ("large fragments without end", large_fragments_without_end, 1009, "message over the limit"),
    ("fragments with pings between", fragments_with_pings_between, 1002, "not an Envelope"),
    ("bytes that are no message", no_message_at_all, 1002, "not an Envelope"),
    ("an empty message", an_empty_message, 1002, "sequence numbers have a gap"),
    ("a job before Hello", job_before_hello, 1002, "this state does not allow"),
    ("a gap in the sequence", sequence_gap, 1002, "sequence numbers have a gap"),
    ("other versions only", other_versions, 1008, "version 1 is spoken here: update the older side"),
    ("an unmasked message", wrongly_masked, 1002, "."),
    ("HTTP in the middle", not_websocket, 1002, NOT_WS),
]


# ---- both ends

class Log:
    def __init__(self, path, events):
        self.path, self.events, self.at = path, re.compile(r"\bevent=(%s) " % events), 0
        self.at = os.path.getsize(path)

    def mark(self):
        self.at = os.path.getsize(self.path)

    def await_words(self, words):
        """A line since the mark of one of the events with these words; else what there was."""
        end = time.monotonic() + WAIT_S
        while True:
            with open(self.path, encoding="utf-8", errors="replace") as f:
                f.seek(self.at)
                lines = [l.strip() for l in f if self.events.search(l)]
            if any(re.search(words, l) for l in lines) or time.monotonic() > end:
                return any(re.search(words, l) for l in lines), lines
            time.sleep(0.02)


def judge(case, peer, ended, log):
    name, act, status, words = case
    good = ended and (status is None or peer.close == status)
    found, lines = log.await_words(words)
    if act is fragments_with_pings_between:
        good = good and peer.pongs == [b"ping 0", b"ping 1", b"ping 2"]
    if good and found:
        print("ok: %s: close %s" % (name, peer.close))
    else:
        print("FAIL: %s: ended %s, close %s, pongs %d, log %s" % (name, ended, peer.close, len(peer.pongs), lines))
    sys.stdout.flush()
    return good and found


def accept(listener, context):
    """The next connection that gets as far as the upgrade, and its Hello."""
    while True:
        raw, _ = listener.accept()
        raw.settimeout(WAIT_S)
        try:
            tls = context.wrap_socket(raw, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                part = tls.recv(4096)
                if not part:
                    raise ConnectionError
                head += part
            key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head).group(1)
            accepted = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            tls.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: " + accepted + b"\r\nSec-WebSocket-Protocol: certq.v1\r\n\r\n")
            return Peer(tls, False)
        except OSError:
            raw.close()


def gateway(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.chain, options.key)
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", options.port))
    with open(options.ready, "w"):
        pass
    bad = 0
    for case in TO_CONNECTOR:
        log = Log(options.log, "5001")
        peer = accept(listener, context)
        log.mark()
        greeted = peer.read_to_the_end(lambda p: p.messages)
        case[1](peer)
        ended = greeted and (case[1] is cut or peer.read_to_the_end())
        peer.tls.close()
        bad += not judge(case, peer, ended, log)
    return bad


def connector(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(options.chain, options.key)
    bad = 0
    for case in TO_QUEUE:
        log = Log(options.log, "7002|7003|21")
        tls = context.wrap_socket(socket.create_connection(("127.0.0.1", options.port), WAIT_S))
        tls.sendall(b"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Protocol: certq.v1\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += tls.recv(1)
        peer = Peer(tls, True)
        case[1](peer)
        ended = peer.read_to_the_end()
        tls.close()
        bad += not judge(case, peer, ended, log)
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("as_what", choices=("gateway", "connector"))
    parser.add_argument("--port", type=int)
    for name in ("chain", "key", "log", "ready"):
        parser.add_argument("--" + name)
    options = parser.parse_args()
    bad = gateway(options) if options.as_what == "gateway" else connector(options)
    sys.exit(1 if bad else 0)


main()
