#!/usr/bin/env python3
"""In journald's place: takes entries of its native protocol and writes each as a line of JSON.

usage: false_journald.py --socket FILE --record FILE

An entry that does not keep the protocol is recorded as {"broken": "why"}.  To the fields come _PID and
_UID of the sender, as the kernel tells them.  Ends with SIGTERM."""
import argparse
import json
import os
import socket
import struct


def fields_of(data):
    fields, at = {}, 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, equals, value = data[at:end].partition(b"=")
        at = end + 1
        if not equals:
            (size,) = struct.unpack_from("<Q", data, at)
            value = data[at + 8:at + 8 + size]
            at += 8 + size
            if len(value) != size or data[at:at + 1] != b"\n":
                raise ValueError("a value is not as long as it says")
            at += 1
        name = name.decode("ascii")
        if not name.replace("_", "A").isalnum() or name != name.upper() or name[0] in "_0123456789":
            raise ValueError("not a field's name: " + name)
        if name in fields:
            raise ValueError(f"twice: {name} in {fields}")
        fields[name] = value.decode("utf-8", "backslashreplace")
    if "MESSAGE" not in fields:
        raise ValueError("no message")
    return fields


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--record", required=True)
    options = parser.parse_args()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    server.bind(options.socket)
    os.chmod(options.socket, 0o666)
    with open(options.record, "a", encoding="utf-8") as record:
        while True:
            data, ancillary, _, _ = server.recvmsg(1 << 20, 4096)
            try:
                entry = fields_of(data)
                pid, uid, _ = struct.unpack("3i", ancillary[0][2][:12])
                entry.update({"_PID": pid, "_UID": uid})
            except (ValueError, struct.error) as why:
                entry = {"broken": str(why)}
            record.write(json.dumps(entry) + "\n")
            record.flush()


main()
