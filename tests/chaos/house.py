"""A house: one queue and three connectors, each with its own local CA, as real processes on loopback.

It is prepared once (enrolled, devices made, jobs signed) and copied for every round.  Every process that is
started here is ended here, by its own id; the roles of a connector are found as children of their supervisor.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import http.client

TENANT = "contoso"
HOST = "127.0.0.1"
CONNECTORS = ("hq-1", "hq-2", "hq-3")
CHAOS = pathlib.Path(__file__).resolve().parent
PROGRAMS = ("connector/certconnectord", "ctl/certconnectorctl", "cloud-queue/certqueued",
            "cloud-queue/certqueuectl", "cloud-queue/certdevice", "tests/chaos_journal_dump")
TOOL_LIMIT_S = 60
RESERVED = []  # sockets
WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()  # no daemon outlives its round


SENT = (signal.SIGKILL, signal.SIGTERM)  # what the harness, or a crash point, ends a daemon with


class HouseError(Exception):
    """Something that has nothing to do with the invariants: a tool failed, a daemon did not start."""


def until(seconds, what, test, every=0.05):
    """The first true answer of test(); a HouseError when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = test()
        if answer:
            return answer
        if time.monotonic() > end:
            raise HouseError(f"{what}: not within {seconds} s")
        time.sleep(every)


def free_uid():
    """A numeric uid that no account and no process has; our own when we are not root."""
    if os.geteuid() != 0:
        return os.geteuid()
    used = set()
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            used.update(re.search(r"^Uid:\s(.*)$", status.read_text(), re.M).group(1).split())
        except OSError:
            continue
    return random.choice([u for u in range(63000, 64000) if str(u) not in used])


def free_ports(count):
    """Ports that are ours while this process runs, from below the range that the kernel gives to clients: they are bound
    here, so that no other round takes them, and a daemon that sets SO_REUSEADDR can still listen there."""
    ports = []
    while len(ports) < count:
        port, s = random.randrange(20000, 32000), socket.socket()
        try:
            s.bind((HOST, port))
        except OSError:
            s.close()
            continue
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        RESERVED.append(s)
        ports.append(port)
    return ports


def listens(port):
    with socket.socket() as s:
        return s.connect_ex((HOST, port)) == 0


def start_time(pid):
    """When this process was started, so that a pid that was given again is not taken for it; None: it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class Process:
    """A process that we started, or a child of one.  Signals go to it only while it is still that one."""

    def __init__(self, pid, popen=None):
        self.pid, self.popen, self.started = pid, popen, start_time(pid)

    def alive(self):
        if self.popen is not None:
            return self.popen.poll() is None
        return self.started is not None and start_time(self.pid) == self.started

    def send(self, number):
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def stopped(self, seconds=0.5):
        """Whether SIGSTOP has reached it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                    return True
            except OSError:
                return False
            time.sleep(0.005)
        return False

    def maps(self, word):
        """Whether a file of this name is in its memory."""
        try:
            return word in pathlib.Path(f"/proc/{self.pid}/maps").read_text()
        except OSError:
            return False

    def ended(self, seconds):
        try:
            until(seconds, f"the end of {self.pid}", lambda: not self.alive(), 0.01)
            return True
        except HouseError:
            return False


class House:
    def __init__(self, build, root, uid):
        self.build, self.root, self.uid = pathlib.Path(build), pathlib.Path(root), uid
        self.queue = None
        self.supervisors = {}  # connector (or clone) -> Process
        self.strays = []       # children whose supervisor was killed
        self.crash = {}        # process -> setting for its next start
        self.ports = {}
        self.log_at = {}       # connector -> length of its log at its last start
        self.daemons = []      # (name, popen) of all that was ever started
        self.local = threading.local()

    # ---- files and tools ----

    def path(self, *parts):
        return self.root.joinpath(*parts)

    def program(self, name):
        return str(self.path("bin", name))

    def identity(self):
        return {"user": self.uid, "group": self.uid, "extra_groups": []} if os.geteuid() == 0 else {}

    def environment(self, clock=None, crash=None):
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8",
               "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
        shim = self.path("bin", "libchaos_clock.so")
        if clock is not None and shim.exists():
            env.update(LD_PRELOAD=str(shim), CHAOS_CLOCK=str(self.path("clocks", clock)))
        if crash:
            env["CC_CRASH"] = crash
        return env

    def run(self, *words, check=True):
        """One of our tools as the house's user; its output."""
        done = subprocess.run([self.program(words[0]), *map(str, words[1:])], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.root,
                              env=self.environment(), timeout=TOOL_LIMIT_S, check=False, **self.identity())
        if check and done.returncode != 0:
            raise HouseError(f"{' '.join(map(str, words))}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
        return done if not check else done.stdout

    def queuectl(self, *words, **more):
        return self.run("certqueuectl", "--socket", self.path("queue/run/control.sock"), *words, **more)

    def ctl(self, name, *words, **more):
        return self.run("certconnectorctl", "--json", "--config", self.path(name, "etc/connector.yaml"), *words, **more)

    def own(self, path):
        """Give a file or a tree to the house's user."""
        if os.geteuid() != 0:
            return
        for folder, _, files in os.walk(path):
            os.chown(folder, self.uid, self.uid)
            for name in files:
                os.lchown(os.path.join(folder, name), self.uid, self.uid)
        os.chown(path, self.uid, self.uid)

    def write(self, path, text, mode=0o644):
        path = self.path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    # ---- start and end ----

    def spawn(self, log, words, clock=None, crash=None):
        with open(self.path(log), "ab") as out:
            popen = subprocess.Popen([*WITH_US, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     cwd=self.root, env=self.environment(clock, crash), **self.identity())
        self.daemons.append((log, popen))
        return Process(popen.pid, popen)

    def bad_ends(self):
        """Daemons that ended by a signal which nobody sends."""
        return [f"{log}: ended by signal {-popen.returncode}" for log, popen in self.daemons
                if popen.poll() is not None and popen.returncode < 0 and -popen.returncode not in SENT]

    def since(self, log, at):
        """What a log has behind this place."""
        path = self.path(log)
        return path.read_bytes()[at:].decode(errors="replace") if path.exists() else ""

    def log_size(self, log):
        path = self.path(log)
        return path.stat().st_size if path.exists() else 0

    def start_queue(self):
        if self.queue is None or not self.queue.alive():
            self.queue = self.spawn("queue.log", [self.program("certqueued"), "--config",
                                                  str(self.path("queue/queue.yaml"))],
                                    "queue", self.crash.pop("queue", None))

    def await_queue(self, seconds=30):
        until(seconds, "the queue's control socket", lambda: self.queue.alive() and self.control({"op": "ping"}))

    def start_connector(self, name):
        running = self.supervisors.get(name)
        if running is None or not running.alive():
            self.await_strays(name)
            self.log_at[name] = self.log_size(f"{name}.log")
            self.supervisors[name] = self.spawn(f"{name}.log", [self.program("certconnectord"), "--config",
                                                                str(self.path(name, "etc/connector.yaml"))],
                                                name, self.crash.pop(name, None))

    def children(self, name):
        """Role (a CA's runner: ca-runner) -> Process of a connector that runs."""
        found = {}
        supervisor = self.supervisors.get(name)
        if supervisor is None or not supervisor.alive():
            return found
        try:
            pids = pathlib.Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
        except OSError:
            return found
        for pid in pids:
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue
            if len(words) > 2 and words[1] == "--role":
                found[words[2]] = Process(int(pid))
        return found

    def kill(self, name, role):
        """SIGKILL to a role of a connector, to its supervisor, or to the queue; whether it was there."""
        if name == "queue":
            target = self.queue
        elif role == "supervisor":
            target = self.supervisors.get(name)
            self.strays += [(name, child) for child in self.children(name).values()]
        else:
            target = self.children(name).get(role)
        if target is None or not target.alive():
            return False
        target.send(signal.SIGKILL)
        if target.popen is not None:
            target.ended(10)
        return True

    def await_strays(self, name, seconds=10):
        """The roles of a killed supervisor end by themselves; the state is theirs until then."""
        mine = [child for owner, child in self.strays if owner == name]
        for child in mine:
            child.send(signal.SIGCONT)
            if not child.ended(seconds):
                child.send(signal.SIGKILL)
                child.ended(seconds)
        self.strays = [s for s in self.strays if s[0] != name]

    def stop(self, name, seconds=30, told=False):
        """An orderly end, or SIGKILL when it does not come; `told`: it has its signal, and a second one says `at once`."""
        process = self.queue if name == "queue" else self.supervisors.get(name)
        if process is None:
            return
        children = [] if name == "queue" else list(self.children(name).values())
        for p in [process, *children]:
            p.send(signal.SIGCONT)
        if not told:
            process.send(signal.SIGTERM)
        if not process.ended(seconds):
            process.send(signal.SIGKILL)
            process.ended(10)
        self.strays += [(name, child) for child in children]
        self.await_strays(name)

    def end(self):
        """Nothing of it stays."""
        for name in list(self.supervisors):
            self.strays += [(name, child) for child in self.children(name).values()]
        for p in [*self.supervisors.values(), self.queue, *(child for _, child in self.strays)]:
            if p is not None:
                p.send(signal.SIGCONT)
                p.send(signal.SIGKILL)
                p.ended(10)

    # ---- talking ----

    def control(self, request, seconds=10):
        """One line to the queue's control socket and its answer; None when the queue does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(seconds)
                s.connect(str(self.path("queue/run/control.sock")))
                s.sendall(json.dumps(request).encode() + b"\n")
                line = b""
                while not line.endswith(b"\n"):
                    part = s.recv(65536)
                    if not part:
                        return None
                    line += part
            return json.loads(line)
        except (OSError, ValueError):
            return None

    def store_rows(self, seconds=10):
        """Every job with its attempts and claims, from the store itself; None when the queue does not answer."""
        rows, cursor = [], "0"
        while cursor:
            page = self.control({"op": "check", "tenant": TENANT, "cursor": cursor}, seconds)
            if page is None or not page.get("ok"):
                return None
            rows += page["rows"]
            cursor = page.get("cursor")
        return rows

    def online(self, seconds=10):
        answer = self.control({"op": "connector_list", "tenant": TENANT}, seconds)
        return {c["id"] for c in answer["connectors"] if c["online"]} if answer and answer.get("ok") else set()

    def api(self, method, path, body=None, seconds=10):
        """(status, JSON) of the producer API; OSError or HTTPException when nothing comes."""
        if getattr(self.local, "connection", None) is not None:
            try:
                return self.api_once(method, path, body, seconds)
            except (OSError, http.client.HTTPException, ValueError):
                pass  # a connection that was kept may have ended meanwhile; every request may be made twice
        return self.api_once(method, path, body, seconds)

    def api_once(self, method, path, body, seconds):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            context = ssl.create_default_context(cafile=str(self.path("queue/queue-ca.pem")))
            connection = http.client.HTTPSConnection(HOST, self.ports["producers"], timeout=seconds, context=context)
        self.local.connection = None  # until its answer is read
        try:
            headers = {"Authorization": "Bearer " + self.path("producer.token").read_text().strip(),
                       "Content-Type": "application/json"}
            connection.request(method, f"/v1/tenants/{TENANT}{path}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if not answer.will_close:
                self.local.connection, connection = connection, None
            return answer.status, json.loads(text) if text else None
        finally:
            if connection is not None:
                connection.close()

    # ---- ports, clocks ----

    def assign_ports(self, ports, relays):
        """Write free ports into a copy: the queue's own, and the relay of each connector into its identity."""
        self.ports = ports
        config = self.path("queue/queue.yaml")
        text = config.read_text()
        for part in ("connectors", "producers"):
            text = re.sub(rf"(?m)^({part}:\n(?:  .*\n)*?  port: )\d+((?:\n  .*)*?\n  url: \"\w+://[^:]+:)\d+",
                          rf"\g<1>{ports[part]}\g<2>{ports[part]}", text)
        config.write_text(text)
        for name, port in relays.items():
            identity = self.path(name, "state/identity/identity.yaml")
            identity.write_text(re.sub(r"wss://[^:]+:\d+", f"wss://{HOST}:{port}", identity.read_text()))

    def set_clock(self, name, realtime_s=0.0, monotonic_s=0.0):
        path = self.path("clocks", name)
        path.parent.mkdir(exist_ok=True)
        with open(path, "r+b" if path.exists() else "w+b") as f:
            f.write(struct.pack("=qq", int(realtime_s * 1e9), int(monotonic_s * 1e9)))
        path.chmod(0o644)


def install(build, root):
    """The programs, where the house's user can run them."""
    target = pathlib.Path(root, "bin")
    target.mkdir(parents=True)
    for program in PROGRAMS:
        source = pathlib.Path(build, program)
        if source.exists():
            shutil.copy2(source, target / source.name)
    shim = pathlib.Path(build, "tests/libchaos_clock.so")
    if shim.exists():
        shutil.copy2(shim, target)
    target.chmod(0o755)
