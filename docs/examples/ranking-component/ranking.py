#!/usr/bin/env python3
"""A component that ranks places by the energy of a period.

It answers query/ranking/energy, and so GET /api/out/ranking/energy. What it
needs to know it asks of influx_query. Any number of them may run: they share
the queries.
"""

import argparse
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import uuid

import paho.mqtt.client as mqtt

NAME = "ranking"
WORKERS = 4
WAITING = 64  # requests that wait for a worker; more are refused at once
PATIENCE = 10  # seconds for each part of an answer
PARAMETERS = ("n", "from", "to", "database", "floor", "type")

log = logging.getLogger(NAME)


class Mistake(Exception):
    """What the asker is told."""


def may_answer(topic):
    """Answers go below responses/ only, and never to a wildcard."""
    return (
        isinstance(topic, str)
        and topic.startswith("responses/")
        and len(topic.encode()) <= 1024
        and "" not in topic.split("/")
        and not any(c in "+#$" or c < " " or c == "\x7f" for c in topic)
    )


def read_parameters(data):
    """Checks the parameters of a query; names every mistake at once."""
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise Mistake("data: want a JSON object of parameters")
    mistakes = [f"{key[:40]}: unknown; known are {' '.join(PARAMETERS)}" for key in data if key not in PARAMETERS]
    given = {k: str(v).strip() for k, v in data.items() if k in PARAMETERS and v is not None}
    n = given.pop("n", "10")
    if not (n.isascii() and n.isdigit() and 1 <= len(n) <= 4 and 1 <= int(n) <= 1000):
        mistakes.append("n: want a whole number from 1 to 1000")
    if "from" not in given:
        mistakes.append("from: required, POSIX seconds or RFC 3339")
    database = given.pop("database", "sp")
    if not (database.isascii() and database.replace("_", "").isalnum()):
        mistakes.append("database: want lower-case letters, digits and _")
    if mistakes:
        raise Mistake("; ".join(mistakes))
    given.setdefault("to", str(int(time.time())))
    return int(n), database, given


class Ranking:
    def __init__(self, host, port, username=None, password=None):
        self.host, self.port = host, port
        self.asker = f"{NAME}/{uuid.uuid4().hex}"
        self.requests = queue.Queue(WAITING)
        self.waiting = {}  # response topic -> queue of answers
        client_id = f"{NAME}-{uuid.uuid4().hex}"
        if hasattr(mqtt, "CallbackAPIVersion"):  # paho 2
            self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, client_id)
        else:
            self.client = mqtt.Client(client_id)
        if username:
            self.client.username_pw_set(username, password)
        self.client.reconnect_delay_set(1, 5)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda *_: log.info("ready")
        self.client.on_message = self.on_message

    def run(self):
        for _ in range(WORKERS):
            threading.Thread(target=self.work, daemon=True).start()
        self.client.connect_async(self.host, self.port, keepalive=30)
        self.client.loop_forever(retry_first_connection=True)

    def on_connect(self, client, _userdata, _flags, code):
        """Subscribes on each connection anew: the broker remembers nothing."""
        if code != 0:
            log.warning("the broker refuses the connection: %s", mqtt.connack_string(code))
            return
        client.subscribe([(f"responses/{self.asker}/#", 1), (f"$share/{NAME}/query/{NAME}/#", 1)])

    def on_message(self, _client, _userdata, message):
        """Hands a message over. It must not wait: no other comes meanwhile."""
        if message.topic.startswith("responses/"):
            waiting = self.waiting.get(message.topic)
            if waiting is not None:
                waiting.put(message.payload)
            return
        try:
            request = json.loads(message.payload)
            if not isinstance(request, dict):
                raise ValueError("no JSON object")
        except (ValueError, RecursionError) as err:
            log.warning("malformed request on %s: %s", message.topic, err)  # nobody to tell
            return
        if not may_answer(request.get("response_topic")):
            return  # nobody would hear the answer
        try:
            self.requests.put_nowait((message.topic, request))
        except queue.Full:
            self.answer(request, error=f"{NAME} is busy, try again")

    def work(self):
        while True:
            topic, request = self.requests.get()
            try:
                self.answer(request, data=self.rank(topic, request.get("data")))
            except Mistake as err:
                self.answer(request, error=str(err))
            except Exception:  # one request must not end the worker
                log.exception("request on %s", topic)
                self.answer(request, error="internal error")

    def answer(self, request, data=None, error=None):
        """Repeats the id and says data or error."""
        envelope = {"id": request["id"]} if isinstance(request.get("id"), str) else {}
        envelope.update({"error": error} if error is not None else {"data": data})
        self.client.publish(request["response_topic"], json.dumps(envelope), qos=1)

    def rank(self, topic, data):
        if topic != f"query/{NAME}/energy":
            raise Mistake(f"topic: there is query/{NAME}/energy")
        n, database, given = read_parameters(data)
        question = {**given, "operation": "integral", "unit": "1h", "group_by": "device", "format": "series"}
        energies = [
            (point["v"], series["group"]["id"])
            for series in self.ask(f"query/influx_query/{database}/power", question)
            for point in series["points"]
            if point["v"] is not None
        ]
        energies.sort(key=lambda e: (-e[0], e[1]))
        return [{"rank": i + 1, "id": place, "energy_wh": round(wh, 3)} for i, (wh, place) in enumerate(energies[:n])]

    def ask(self, topic, data):
        """Asks another component and gives the whole answer, all parts joined."""
        key = uuid.uuid4().hex  # nobody can guess it
        response_topic = f"responses/{self.asker}/{key}"
        answers = self.waiting[response_topic] = queue.Queue()
        try:
            self.client.publish(topic, json.dumps({"id": key, "response_topic": response_topic, "data": data}), qos=1)
            whole, part = [], 0
            while True:
                try:
                    answer = json.loads(answers.get(timeout=PATIENCE))
                except queue.Empty:
                    raise Mistake("influx_query does not answer, try again") from None
                if answer.get("error"):
                    raise Mistake(str(answer["error"]))
                if "part" not in answer:
                    return answer["data"]
                if answer["part"] != part:
                    continue  # delivered twice
                whole += answer.get("data") or []
                if answer.get("last"):
                    return whole
                part += 1
                self.client.publish(answer["response_topic"], json.dumps({"id": key, "part": part}), qos=1)
        finally:
            del self.waiting[response_topic]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    ranking = Ranking(arguments.host, arguments.port, arguments.username, os.environ.get("MQTT_PASSWORD"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ranking.client.disconnect())
    ranking.run()


if __name__ == "__main__":
    main()
