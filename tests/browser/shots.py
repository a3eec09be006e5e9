#!/usr/bin/python3
"""Pictures of the chat page for doc/: a conversation with models whose answers are worth reading.

    tests/browser/shots.py DIRECTORY    writes chat.png and chat-dark.png

OPTIROUTED names the daemon, as for the tests. Set in Inter where that font is installed (Debian's
fonts-inter), which is nearest to what most people's systems have.
"""
import http.server
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parent.parent / "blackbox")]
from browser import Browser, Keys  # noqa: E402
from optiroute import Daemon  # noqa: E402

PROOF = """Suppose √2 were a fraction. A contradiction follows in **three steps**:

1. Write √2 = *p*/*q* in lowest terms. Squaring gives *p*² = 2*q*², so *p*² is even.
2. An odd number squared stays odd, so *p* itself is even: *p* = 2*k*.
3. Then *q*² = 2*k*², so *q* is even too, and the fraction was **not** in lowest terms.

A numerical search proves nothing, because `math.sqrt(2)` is rounded to 53 bits:

```python
def looks_rational(limit=10**6):
    return any((q * math.sqrt(2)).is_integer() for q in range(1, limit))
```
"""
ANSWERS = {"Australia": "Canberra.", "square root": PROOF}
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>"""


class Model(http.server.BaseHTTPRequestHandler):
    """Speaks OpenAI's API as far as the page needs it; a word every few milliseconds."""

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = body["messages"][-1]["content"]
        text = next(answer for word, answer in ANSWERS.items() if word in asked)
        words = re.findall(r"\s*\S+", text)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for word in words:
            self.event([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
            time.sleep(0.01)
        self.event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        self.event([], {"prompt_tokens": len(asked) // 4, "completion_tokens": len(words) * 4 // 3,
                        "total_tokens": len(asked) // 4 + len(words) * 4 // 3})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, choices, usage=None):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": choices, "usage": usage}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()


def settings(url):
    providers = {name: None for name in ("small", "large", "pace", "broken")}
    for name, model, prices in (("local", "llama-3.1-8b", ("0.02", "0.05")),
                                ("openai", "gpt-4o", ("2.5", "10"))):
        providers[name] = {"type": "openai", "url": url, "default_model": model,
                           "models": {model: {"input": prices[0], "output": prices[1]}}}
    return {"providers": providers,
            "routes": {"auto": {"cheap": "local", "strong": "openai", "policy": "score"}}}


def show(browser, daemon, scheme):
    """A short conversation: something hard that somebody asked before, then something easy."""
    for _ in range(2):
        browser.open(daemon, "/", 1280, 1060, scheme)
        browser.until(lambda: browser.all("#choice optgroup"))
        browser.script("document.querySelector('.starters li:nth-child(2) button').click()")
        browser.until(lambda: browser.all(".answer[aria-busy=false]"))
    browser.find("#prompt").send_keys("What is the capital of Australia?", Keys.ENTER)
    browser.until(lambda: len(browser.all(".answer[aria-busy=false]")) == 2)


def main(directory):
    fonts = tempfile.NamedTemporaryFile("w", suffix=".conf")
    fonts.write(FONTS)
    fonts.flush()
    os.environ["FONTCONFIG_FILE"] = fonts.name
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    for scheme, name in (("light", "chat.png"), ("dark", "chat-dark.png")):
        with Daemon(settings(url)) as daemon, Browser() as browser:
            show(browser, daemon, scheme)
            browser.shot(pathlib.Path(directory) / name)


if __name__ == "__main__":
    main(sys.argv[1])
