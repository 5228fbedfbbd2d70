"""A TCP relay on loopback that can be told to misbehave, while connections are open and for new ones.

Modes: pass; delay (each piece, by a fixed time); jitter (each piece, by a random time); split (pieces of 1 to 7
bytes); half (one direction is shut down, the other goes on); reset (RST to both sides, once); blackhole (all that
comes is held, nobody is told); refuse (new connections are reset).
"""
import asyncio
import random
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
MODES = ("delay", "jitter", "split", "half", "reset", "blackhole", "refuse")


class Relay:
    """One listening port; all of it runs in the loop of `Relays`."""

    def __init__(self, target, seed):
        self.target, self.mode, self.random = target, "pass", random.Random(seed)
        self.pairs, self.server, self.changed = set(), None, asyncio.Event()
        self.connections = self.hurt = 0  # hurt: pieces and connections that the mode met

    async def listen(self, port):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", port)

    async def accept(self, reader, writer):
        self.connections += 1
        if self.mode == "refuse":
            self.hurt += 1
            return abort(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            return abort(writer)
        pair = (writer, far_writer)
        self.pairs.add(pair)
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        self.pairs.discard(pair)
        for w in pair:
            w.close()

    async def pump(self, reader, writer):
        try:
            while piece := await reader.read(16384):
                await self.hold()
                for part in self.parts(piece):
                    writer.write(part)
                    await writer.drain()
                    if len(part) < 8:
                        await asyncio.sleep(0)
            await self.hold()
            writer.write_eof()
        except (OSError, RuntimeError):
            abort(writer)

    def parts(self, piece):
        if self.mode != "split":
            return [piece]
        parts, at = [], 0
        while at < len(piece):
            size = self.random.randint(1, 7)
            parts.append(piece[at:at + size])
            at += size
        return parts

    async def hold(self):
        self.hurt += self.mode != "pass"
        while self.mode == "blackhole":
            self.changed.clear()
            await self.changed.wait()
        if self.mode == "delay":
            await asyncio.sleep(0.2)
        elif self.mode == "jitter":
            await asyncio.sleep(self.random.random() * 0.3)

    def set(self, mode):
        self.mode = mode
        self.changed.set()
        for near, far in list(self.pairs):
            self.hurt += mode in ("reset", "half")
            if mode == "reset":
                abort(near)
                abort(far)
            elif mode == "half":
                try:
                    self.random.choice((near, far)).write_eof()
                except (OSError, RuntimeError):
                    pass
        if mode in ("reset", "half"):
            self.mode = "pass"


def abort(writer):
    """RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except (OSError, AttributeError):
        pass
    writer.transport.abort()


class Relays:
    """The relays of a house and the thread in which they run."""

    def __init__(self):
        self.loop, self.relays = asyncio.new_event_loop(), {}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def add(self, name, port, target, seed):
        async def make():
            self.relays[name] = Relay(target, seed)
            await self.relays[name].listen(port)
        self.call(make())

    def set(self, name, mode):
        async def do():
            self.relays[name].set(mode)
        self.call(do())

    def hurt(self, names):
        return sum(self.relays[name].hurt for name in names)

    def mode(self, name):
        return self.relays[name].mode

    def connections(self, name):
        return self.relays[name].connections

    def stop(self):
        async def end():
            for relay in self.relays.values():
                relay.server.close()
                relay.set("reset")
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
