"""The schedule of a round: a pure function of its seed and of what was asked for on the command line.

The same words give the same jobs at the same times, the same faults at the same times, and the same ways from the
connectors to the queue; all of it is in the round's log.  What the faults meet depends on the machine.
"""
import pathlib
import random
import re

from house import CONNECTORS
from relay import MODES

SECONDS = 6.0
ROLES = ("connector", "keyvault", "ca-runner", "supervisor")
DISKS = ("hq-1/state/journal", "queue/state")

# kind: weight
KINDS = {"kill": 6, "kill-queue": 2, "network": 6, "stall": 3, "disk": 2, "crash": 3, "clock": 3, "drain": 2,
         "drain-queue": 1, "failover": 1, "proxy": 2}
# kind: chance; each of a round has a connector of its own
RARE = {"restore": 0.3, "clone": 0.3, "remove": 0.15, "away": 0.15, "orphan": 0.15}
# kind: chance; of the queue's store, beside faults after which the connectors still have what it forgets
OF_STORE = {"store-restore": 0.2}
NOT_BESIDE = ("restore", "clone", "remove")
WAYS = ("straight", "straight", "two", "proxy")


def crash_points():
    """(word, role) of every numbered place."""
    table = pathlib.Path(__file__).resolve().parents[2] / "base" / "crashpoints.def"
    return re.findall(r'^CRASH_POINT\(\w+, "([^"]+)", "([^"]+)"', table.read_text(), re.M)


def ways(seed):
    """Connector -> how it comes to the queue: straight, by two addresses, or by a proxy."""
    r = random.Random(f"ways {seed}")
    return {name: r.choice(WAYS) for name in CONNECTORS}


def kinds_of(r, seed, asked):
    """(common, rare): the kinds of a round's faults."""
    common = {k: w for k, w in KINDS.items() if asked is None or k in asked}
    chosen = r.choices(list(common), list(common.values()), k=r.randint(6, 14)) if common else []
    rare = [kind for kind, chance in RARE.items() if (r.random() < chance if asked is None else kind in asked)]
    own = random.Random(f"store {seed}")
    store = [kind for kind, chance in OF_STORE.items() if (own.random() < chance if asked is None else kind in asked)]
    if store and asked is None:
        rare = [kind for kind in rare if kind not in NOT_BESIDE]
    return chosen, rare + store


def of_way(r, seed, way):
    return r.choice([name for name, its in ways(seed).items() if its == way] or [None])


def plan_fault(r, kind, name, seed):
    if kind == "kill":
        return {"name": name, "role": r.choice(ROLES), "down_s": round(r.uniform(0.1, 1.5), 2)}
    if kind == "kill-queue":
        return {"down_s": round(r.uniform(0.1, 1.2), 2)}
    if kind == "network":
        return {"name": name, "mode": r.choice(MODES), "for_s": round(r.uniform(0.3, 3.5), 2)}
    if kind == "stall":
        return {"name": r.choice((*CONNECTORS, "queue")), "role": r.choice(("ca-runner", "ca-runner", *ROLES[:2])),
                "for_s": round(r.uniform(0.3, 3.0), 2)}
    if kind == "disk":
        return {"disk": r.choice(DISKS), "for_s": round(r.uniform(0.5, 2.5), 2)}
    if kind == "crash":
        word, role = r.choice(crash_points())
        return {"name": name, "word": word, "role": role, "count": r.randint(1, 4)}
    if kind == "clock":
        return {"name": r.choice((*CONNECTORS, "queue")), "realtime_s": r.choice((0, -300, -20, 15, 200)),
                "monotonic_s": r.choice((0, 0, 3, 40))}
    if kind == "failover":
        return {"name": of_way(r, seed, "two")}
    if kind == "proxy":
        return {"name": of_way(r, seed, "proxy"), "for_s": round(r.uniform(0.3, 2.0), 2)}
    if kind == "drain":
        return {"name": name}
    if kind == "drain-queue":
        return {}
    if kind == "store-restore":
        return {"after_s": round(r.uniform(0.5, 3.0), 2)}
    if kind == "restore":
        return {"name": name, "after_s": round(r.uniform(0.5, 3.0), 2)}
    if kind == "clone":
        return {"name": name, "for_s": round(r.uniform(1.0, 3.0), 2)}
    return {"name": name}  # remove, away, orphan


def plan(seed, names, jobs, asked=None):
    """(faults, jobs): each a list of (seconds from the start, what).  `asked`: these kinds of faults and no other."""
    r = random.Random(f"chaos {seed}")
    common, rare = kinds_of(r, seed, asked)
    own = r.sample(CONNECTORS, len(CONNECTORS))
    faults = [(round(r.uniform(0.1, SECONDS), 2), kind, plan_fault(r, kind, r.choice(CONNECTORS), seed)) for kind in common]
    faults = [f for f in faults if f[2].get("name", "") is not None]  # nobody comes that way
    for kind in rare:
        name = None if kind in OF_STORE else own.pop() if own else None
        if name is not None or kind in OF_STORE:
            faults.append((round(r.uniform(0.1, SECONDS * 0.7), 2), kind, plan_fault(r, kind, name, seed)))
    chosen = r.sample(sorted(names), min(jobs, len(names)))
    return (sorted(faults, key=lambda f: f[:2]),
            sorted((round(r.uniform(0, SECONDS * 0.9), 2), name) for name in chosen))
