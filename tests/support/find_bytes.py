#!/usr/bin/env python3
"""Look for byte strings in files and in the memory of processes.

usage: find_bytes.py NEEDLES [--pid PID]... FILE-OR-DIRECTORY...

NEEDLES is a JSON object {name: hex}.  Each is looked for as it is, in base64 (all three alignments)
and in hex of either case.  Prints a line for each find; exit status 0 when something was found, 1 when
nothing was, 2 when a place could not be read at all."""
import base64
import json
import os
import re
import sys


SHADOW = (0x7FFF8000, 0x10007FFF8000)


def forms(needle):
    found = {needle, needle.hex().encode(), needle.hex().upper().encode()}
    for shift in range(3):
        # the characters that depend on the needle alone, whatever stands around it
        text = base64.b64encode(b"\0" * shift + needle)
        start = (shift * 8 + 5) // 6
        whole = (shift + len(needle)) * 8 // 6
        found.add(text[start:whole])
    return [f for f in found if len(f) >= 8]


def chunks_of_file(path):
    with open(path, "rb") as f:
        yield f.read()


def chunks_of_process(pid):
    read = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            start, end = int(match.group(1), 16), int(match.group(2), 16)
            if "r" not in match.group(3) or match.group(4) in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            # what is mapped read-only from a file holds what the file holds, and files are searched as files
            if "w" not in match.group(3) and match.group(4).startswith("/"):
                continue
            # AddressSanitizer's shadow holds a byte about each eight, never the bytes themselves
            if SHADOW[0] <= start < SHADOW[1]:
                continue
            for part in resident(pid, start, end):
                try:
                    mem.seek(part[0])
                    data = mem.read(part[1] - part[0])
                except (OSError, ValueError, OverflowError):
                    continue
                read += len(data)
                if data.strip(b"\0"):
                    yield data
    if read == 0:
        raise PermissionError(f"nothing of process {pid} could be read")


def resident(pid, start, end):
    """The ranges of [start, end) that have pages, by pagemap; small mappings are taken whole."""
    page = os.sysconf("SC_PAGE_SIZE")
    if end - start <= 64 << 20:
        return [(start, end)]
    ranges = []
    with open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
        at = start
        while at < end:
            count = min((end - at) // page, 1 << 20)
            pagemap.seek(at // page * 8)
            entries = pagemap.read(count * 8)
            if entries.strip(b"\0"):
                for i in range(0, len(entries), 8):
                    if entries[i + 7] & 0xC0:  # present or swapped
                        low = at + i // 8 * page
                        if ranges and ranges[-1][1] == low:
                            ranges[-1] = (ranges[-1][0], low + page)
                        else:
                            ranges.append((low, low + page))
            at += count * page
    return ranges


def places(arguments):
    while arguments:
        argument = arguments.pop(0)
        if argument == "--pid":
            pid = arguments.pop(0)
            yield f"process {pid}", chunks_of_process(pid)
        elif os.path.isdir(argument):
            for folder, _, names in os.walk(argument):
                for name in names:
                    path = os.path.join(folder, name)
                    if os.path.isfile(path) and not os.path.islink(path):
                        yield path, chunks_of_file(path)
        else:
            yield argument, chunks_of_file(argument)


def main():
    with open(sys.argv[1]) as f:
        needles = {name: forms(bytes.fromhex(text)) for name, text in json.load(f).items()}
    found = False
    for place, chunks in places(sys.argv[2:]):
        names = set()
        try:
            for data in chunks:
                names.update(n for n, patterns in needles.items() if any(p in data for p in patterns))
        except OSError as e:
            print(f"{place}: {e}", file=sys.stderr)
            return 2
        for name in sorted(names):
            print(f"{name} is in {place}")
            found = True
    return 0 if found else 1


sys.exit(main())
