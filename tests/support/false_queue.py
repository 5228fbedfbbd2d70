#!/usr/bin/env python3
"""A server in the queue's place, for the tools: TLS under the certificate that it is given.

usage: false_queue.py --chain FILE --key FILE --record FILE --ready FILE [--answer FILE]

Every byte that a client sends inside TLS is appended to RECORD, so that an empty RECORD says that
nothing was sent.  With ANSWER the file's content is the JSON answer to each request.  Listens on a free
port of 127.0.0.1 and writes its number to READY; ends with SIGTERM."""
import argparse
import os
import socket
import ssl


def request_of(client, record):
    """Read a request with its body; record what came."""
    data = b""
    while True:
        part = client.recv(65536)
        if not part:
            return
        with open(record, "ab") as f:
            f.write(part)
        data += part
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            continue
        sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
                 if line.lower().startswith(b"content-length:")]
        if len(body) >= (sizes or [0])[0]:
            return


def serve(raw, context, options):
    try:
        with context.wrap_socket(raw, server_side=True) as client:
            client.settimeout(10)
            request_of(client, options.record)
            if options.answer:
                with open(options.answer, "rb") as f:
                    body = f.read()
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                               b"Content-Length: %d\r\n\r\n" % len(body) + body)
    except OSError:
        return


def main():
    parser = argparse.ArgumentParser()
    for name in ("chain", "key", "record", "ready", "answer"):
        parser.add_argument("--" + name)
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.chain, options.key)
    listener = socket.create_server(("127.0.0.1", 0))
    with open(options.record, "wb"):
        pass
    with open(options.ready + ".part", "w") as f:
        f.write(str(listener.getsockname()[1]))
    os.rename(options.ready + ".part", options.ready)
    while True:
        raw, _ = listener.accept()
        serve(raw, context, options)


main()
