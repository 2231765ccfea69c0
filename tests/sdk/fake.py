"""The admin side of fake-openai, and the way a script of cases is run and written down."""

import json
import sys
import time
import traceback
import urllib.request


class Fake:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/_admin/"

    def _call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data=data), timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def reset(self):
        self._call("reset", {})

    def script(self, *steps):
        self._call("script", list(steps))

    def requests(self):
        return self._call("requests?since=0")["requests"]

    def stats(self):
        return self._call("stats")

    def wait_until_left(self):
        """A client has left in the middle of an answer: it is seen within a second."""
        end = time.monotonic() + 5
        while not (left := [r for r in self.requests() if r.get("client_left")]) and time.monotonic() < end:
            time.sleep(0.01)
        return bool(left)


def chat_bodies(fake):
    """What arrived there, in order, with its length: the fake keeps so much of a body. What was sent again counts once."""
    bodies = [(r["body"], r["body_bytes"]) for r in fake.requests() if r["path"] == "/v1/chat/completions"]
    return [body for i, body in enumerate(bodies) if body not in bodies[:i]]


def scrub(value):
    """Without what is new each time, and without null: a member that is not there reads the same."""
    if isinstance(value, dict):
        return {k: scrub(v) for k, v in value.items() if v is not None and k not in ("id", "created", "obfuscation")}
    if isinstance(value, list):
        return [scrub(v) for v in value]
    return value


def run(cases, fake, *arguments):
    """Every function whose name begins with case_, and what it returned, as JSON on stdout."""
    outcomes = {}
    for name, function in cases.items():
        if not name.startswith("case_"):
            continue
        fake.reset()
        try:
            outcome = function(fake, *arguments)
        except Exception:  # a case says itself which errors it wants
            outcome = {"unexpected": traceback.format_exc(limit=-4)}
        outcomes[name.removeprefix("case_")] = {"outcome": outcome, "sent": chat_bodies(fake)}
    json.dump(outcomes, sys.stdout, ensure_ascii=False)
