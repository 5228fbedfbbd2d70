"""How the connectors of a house come to its queue: each through a relay of its own that can be told to misbehave, some
with a second address behind a second relay, some through a proxy (squid where it is installed, else ours).
"""
import pathlib
import shutil
import signal
import sys

import house as houses
from house import HOST, until
from relay import Relays

ODD_PROXY = pathlib.Path(__file__).resolve().parents[1] / "support" / "odd_proxy.py"

SQUID = """http_port {host}:{port}
http_access allow all
cache deny all
memory_cache_shared off
access_log stdio:{folder}/access.txt
cache_log {folder}/cache.txt
coredump_dir {folder}
pid_filename none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname proxy.test
"""


def squid():
    return shutil.which("squid", path="/usr/sbin:/usr/bin")


class Ways:
    def __init__(self, house, connectors, kinds, seed):
        self.house, self.seed, self.kinds = house, seed, {name: kinds.get(name, "straight") for name in connectors}
        self.relays, self.proxies, self.ports = Relays(), {}, {}

    def of(self, name):
        """The relays of a connector."""
        return (name, name + "/2") if self.kinds[name] == "two" else (name,)

    def build(self, target, ports):
        """Relays and proxies, and what the connectors' configurations say of them; the ports of the identities."""
        ports, first = list(ports), {}
        for name, kind in self.kinds.items():
            for relay in self.of(name):
                first.setdefault(name, ports[0])
                self.ports[relay] = ports[0]
                self.relays.add(relay, ports.pop(0), target, f"{self.seed} {relay}")
            if kind == "two":
                self.configure(name, f'queue: {{addresses: ["{HOST}:{self.ports[name + "/2"]}"]}}')
            elif kind == "proxy":
                self.ports[name + "/proxy"] = ports.pop(0)
                self.configure(name, f'proxy: {{kind: http, address: "{HOST}:{self.ports[name + "/proxy"]}"}}')
                self.start_proxy(name)
        for name, kind in self.kinds.items():
            if kind == "proxy":
                until(20, f"the proxy of {name}", lambda: houses.listens(self.ports[name + "/proxy"]))
        return first

    def count(self):
        """Ports that it takes."""
        return sum(len(self.of(name)) + (kind == "proxy") for name, kind in self.kinds.items())

    def configure(self, name, line):
        with open(self.house.path(name, "etc/connector.yaml"), "a", encoding="ascii") as f:
            f.write(line + "\n")

    def start_proxy(self, name):
        port, folder = self.ports[name + "/proxy"], self.house.path(f"{name}-proxy")
        folder.mkdir(exist_ok=True)
        words = [sys.executable, "-u", str(ODD_PROXY), str(port)]
        if squid():
            folder.joinpath("squid.conf").write_text(SQUID.format(host=HOST, port=port, folder=folder))
            words = [squid(), "-N", "-n", f"chaos{port}", "-f", str(folder / "squid.conf")]
        self.house.own(folder)
        self.proxies[name] = self.house.spawn(f"{name}-proxy.txt", words)

    def stop_proxy(self, name):
        """Whether it was there."""
        process = self.proxies[name]
        was = process.alive()
        process.send(signal.SIGKILL)
        process.ended(10)
        for left in pathlib.Path("/dev/shm").glob(f"chaos{self.ports[name + '/proxy']}-*"):
            left.unlink(missing_ok=True)  # squid names its shared memory after itself, and finds it in its way
        return was

    def end(self):
        for name in self.proxies:
            self.stop_proxy(name)
        self.relays.stop()
