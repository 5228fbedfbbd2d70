#!/usr/bin/env python3
"""A tap in a TLS connection: ends TLS on both sides and records what passes, unmasked.

usage: wire_tap.py --listen PORT --to PORT --server-chain FILE --server-key FILE --ca FILE
                   [--client-chain FILE --client-key FILE] --record FILE

The test owns both ends' keys, so it can stand between them.  WebSocket frames from the client are masked
(RFC 6455 section 5.3); they are unmasked before they are recorded.  Loopback only; ends with SIGTERM."""
import argparse
import select
import socket
import ssl
import threading

LOCK = threading.Lock()


class Frames:
    """Takes a byte stream apart: an HTTP head, then WebSocket frames; gives the payloads unmasked."""

    def __init__(self):
        self.data = b""
        self.head = True

    def feed(self, more):
        self.data += more
        out = b""
        if self.head:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return b""
            out, self.data, self.head = self.data[:end + 4], self.data[end + 4:], False
        while len(self.data) >= 2:
            size, at = self.data[1] & 127, 2
            if size == 126:
                size, at = int.from_bytes(self.data[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(self.data[2:10], "big"), 10
            mask = b""
            if self.data[1] & 128:
                mask, at = self.data[at:at + 4], at + 4
            if len(self.data) < at + size:
                break
            payload = self.data[at:at + size]
            if mask:
                whole = (mask * (size // 4 + 1))[:size]
                payload = (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
            out += payload
            self.data = self.data[at + size:]
        return out


def pump(client, server, record):
    parsers = {client: Frames(), server: Frames()}
    other = {client: server, server: client}
    try:
        while True:
            ready = [s for s in (client, server) if s.pending()] or select.select([client, server], [], [])[0]
            for side in ready:
                data = side.recv(65536)
                if not data:
                    return
                with LOCK, open(record, "ab") as f:
                    f.write(parsers[side].feed(data))
                other[side].sendall(data)
    except OSError:
        return
    finally:
        client.close()
        server.close()


def serve(raw, options, inside, outside):
    try:
        client = inside.wrap_socket(raw, server_side=True)
        server = outside.wrap_socket(socket.create_connection(("127.0.0.1", options.to)),
                                     server_hostname="127.0.0.1")
    except OSError:
        raw.close()
        return
    pump(client, server, options.record)


def main():
    parser = argparse.ArgumentParser()
    for name in ("server-chain", "server-key", "ca", "client-chain", "client-key", "record"):
        parser.add_argument("--" + name)
    parser.add_argument("--listen", type=int)
    parser.add_argument("--to", type=int)
    options = parser.parse_args()
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(options.server_chain, options.server_key)
    inside.set_alpn_protocols(["http/1.1"])
    if options.client_chain:
        inside.verify_mode = ssl.CERT_REQUIRED
        inside.load_verify_locations(options.ca)
    outside = ssl.create_default_context(cafile=options.ca)
    if options.client_chain:
        outside.load_cert_chain(options.client_chain, options.client_key)
    listener = socket.create_server(("127.0.0.1", options.listen))
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=serve, args=(raw, options, inside, outside), daemon=True).start()


main()
