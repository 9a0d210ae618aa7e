#!/usr/bin/env python3
"""Turns what Tasmota and Shelly plugs publish into readings that Wattline stores.

A filter: lines "<payload in hex> <topic>" come in, as `mosquitto_sub -F '%x %t'`
prints them, and one JSON envelope with a SenML pack goes out per message, for
`mosquitto_pub -l`. `run` beside this file puts the three together. (In hex, because
a payload with a line break would otherwise look like the message of another plug.)

    agent.py places.json

places.json names the place of each plug: {"<topic of the plug>": "<device id>"}.
"""

import json
import math
import sys
import time

UNITS = {"power": "W", "voltage": "V", "current": "A", "energy": "Wh", "status": "/"}
MAX_LINE = 128 * 1024  # bytes; a plug's message has some hundred, here twice that


def number(value):
    """A finite number, or None. Of a list of channels: the only one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def scaled(value, factor):
    value = number(value)
    return None if value is None else round(value * factor, 6)


def switch(value):
    return {"ON": 1, "OFF": 0, "on": 1, "off": 0, True: 1, False: 0}.get(value) if isinstance(value, (str, bool)) else None


def tasmota(kind, name, payload):
    """tele/<plug>/SENSOR and STATE, stat/<plug>/RESULT and STATUS8, STATUS10."""
    message = json.loads(payload)
    energy = message.get("ENERGY") or message.get("StatusSNS", {}).get("ENERGY") or {}
    # Total is kWh. Time is the plug's own, without a zone: of no use.
    return {
        "power": number(energy.get("Power")),
        "voltage": number(energy.get("Voltage")),
        "current": number(energy.get("Current")),
        "energy": scaled(energy.get("Total"), 1000),
        "status": switch(message.get("POWER")),
    }


def shelly_status(status):
    counter = status.get("aenergy")
    return {
        "power": number(status.get("apower")),
        "voltage": number(status.get("voltage")),
        "current": number(status.get("current")),
        "energy": number(counter.get("total")) if isinstance(counter, dict) else None,
        "status": switch(status.get("output")),
    }


def shelly_first(name, payload):
    """shellies/<plug>/relay/0 and below: bare texts, energy in watt-minutes."""
    if name == "relay/0":
        return {"status": switch(payload)}
    if name == "relay/0/power":
        return {"power": number(float(payload))}
    return {"energy": scaled(float(payload), 1 / 60)}


def read(topic, payload):
    """The plug of a message and what it measured; (None, {}) for other messages."""
    levels = topic.split("/")
    if len(levels) == 3 and (levels[0], levels[2]) in {
        ("tele", "SENSOR"), ("tele", "STATE"), ("stat", "RESULT"), ("stat", "STATUS8"), ("stat", "STATUS10"),
    }:
        return levels[1], tasmota(levels[0], levels[2], payload)
    if levels[0] == "shellies" and "/".join(levels[2:]) in ("relay/0", "relay/0/power", "relay/0/energy"):
        return levels[1], shelly_first("/".join(levels[2:]), payload)
    if levels[-2:] == ["status", "switch:0"]:
        return "/".join(levels[:-2]), shelly_status(json.loads(payload))
    if levels[-2:] == ["events", "rpc"]:
        message = json.loads(payload)
        if message.get("method") in ("NotifyStatus", "NotifyFullStatus"):
            # Partial: what did not change is not there, and is not sent again.
            return "/".join(levels[:-2]), shelly_status(message.get("params", {}).get("switch:0", {}))
    return None, {}


def pack(device, values, now):
    """A SenML pack (RFC 8428) of what is there; None where nothing is."""
    records = [{"n": n, "u": UNITS[n], "v": v} for n, v in values.items() if v is not None]
    if not records:
        return None
    # Version 26 is the one that knows Wh (RFC 8798).
    records[0] = {"bver": 26, "bn": device + "/", "bt": round(now, 6), **records[0]}
    return records


def envelope(places, line, now):
    """The envelope for a line, or None where it is nothing to be stored."""
    payload, _, topic = line.partition(" ")
    plug, values = read(topic, bytes.fromhex(payload).decode())
    data = pack(places[plug], values, now) if plug in places else None
    return None if data is None else json.dumps({"data": data}, separators=(",", ":"))


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        places = json.load(f)
    for line in sys.stdin.buffer:
        try:
            if len(line) > MAX_LINE:
                raise ValueError(f"{len(line)} bytes")
            out = envelope(places, line.decode().rstrip("\n"), time.time())
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as err:
            # One plug's nonsense must not stop the others.
            print(f"agent: not understood: {line[-80:]!r}: {err}", file=sys.stderr, flush=True)
            continue
        if out is not None:
            print(out, flush=True)


if __name__ == "__main__":
    main()
