#!/usr/bin/env python3
"""A proxy that keeps to the letter of RFC 9110 section 9.3.6 and to nothing else: its answer comes byte by
byte; with a certificate it opens TLS instead of passing it on.  It tells of each tunnel, and of what it carried.

usage: odd_proxy.py PORT [CERTIFICATE KEY]"""
import socket
import ssl
import sys
import threading


def answer(client, text):
    for byte in text.encode():
        client.sendall(bytes([byte]))


def read_head(client):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = client.recv(1)
        if not more or len(head) > 8192:
            raise OSError("no request")
        head += more
    return head.decode("ascii", "replace")


def carry(source, to, target):
    count = 0
    try:
        while data := source.recv(65536):
            to.sendall(data)
            count += len(data)
    except OSError:
        pass
    print("carried", target, count, flush=True)
    for end in (source, to):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, inspection):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        method, target, _ = read_head(client).split(" ", 2)
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            answer(client, "HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
            return
        server = None if inspection else socket.create_connection((host.strip("[]"), int(port)), 10)
        if server:
            server.settimeout(None)  # a tunnel may be silent for as long as its ends like
        answer(client, "HTTP/1.1 200 OK\r\nX-Proxy: odd\r\n\r\n")
        print("tunnel", target, flush=True)
        if inspection:
            inspection.wrap_socket(client, server_side=True).recv(1)
            return
        threading.Thread(target=carry, args=(server, client, target), daemon=True).start()
        carry(client, server, target)
    except (OSError, ValueError) as problem:
        print("ended:", problem, flush=True)
    finally:
        client.close()


def main():
    inspection = None
    if len(sys.argv) > 2:
        inspection = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inspection.load_cert_chain(sys.argv[2], sys.argv[3])
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, inspection), daemon=True).start()


main()
