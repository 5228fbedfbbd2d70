"""A plain TCP relay on loopback in a process of its own, to be stopped and killed: relay_main.py PORT TARGET

Prints `ready` when it listens.  SIGSTOP makes of its connections what a silent network makes of them: nothing comes,
nothing is told.
"""
import pathlib
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "chaos"))

from relay import Relays

relays = Relays()
relays.add("relay", int(sys.argv[1]), int(sys.argv[2]), "")
print("ready", flush=True)
threading.Event().wait()
