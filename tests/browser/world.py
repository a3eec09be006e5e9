"""What the tests of the pages talk to: a daemon whose providers are one scripted upstream, each
with one habit. A test chooses a habit by choosing a provider in the page.
"""
import json

PRICES = {"input": "1", "output": "2"}
HABITS = {
    "little": "small-1",
    "big": "large-1+tokens=30",
    "slow": "slow-1+tokens=4000+pace=25",
    "paced": "paced-1+tokens=40+pace=50",
    "thinker": "think-1+reasoning_text",
    "limited": "limited-1+stop=length",
    "broken": "broken-1+status=500",
    "once": "once-1+status=500+times=1",
    "busy": "busy-1+status=429+retry_after=7",
    "cut": "cut-1+tokens=40+kill=12+pace=20",
    "hostile": "hostile-1+file=hostile.sse+type=text/event-stream+split=700",
    "writer": "writer-1+file=writer.sse+type=text/event-stream+split=700",
    "novelist": "novelist-1+file=novel.sse+type=text/event-stream+split=4000",
}

# What a model must never be able to do to a page. MARK is what would be set if it could.
MARK = "optiroute_test_mark"
HOSTILE = f"""<script>window.{MARK} = 1</script>
<img src=x onerror="window.{MARK} = 2"> <svg onload="window.{MARK} = 3"></svg>

<iframe srcdoc="<script>parent.{MARK} = 4</script>"></iframe>
<style>body {{ display: none }}</style><base href="http://127.0.0.1:9/">
<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/meta">
<form action="http://127.0.0.1:9/form"><input autofocus onfocus="window.{MARK} = 5"></form>

[script link](javascript:window.{MARK}=6) [coded link](java&#115;cript:window.{MARK}=7)
[spaced link](<  javascript:window.{MARK}=8>) [data link](data:text/html,<script>1</script>)
[vb link](vbscript:x) <javascript:window.{MARK}=9> [relative link](/dashboard) [file](file:///etc/passwd)
[quoted link](http://127.0.0.1:9/" onmouseover="window.{MARK}=10)
[good link](https://example.com/page?a=1&b=2 "a title") and https://example.org/plain

![picture](http://127.0.0.1:9/picture.png) ![script](javascript:window.{MARK}=11)

[invisible]: http://127.0.0.1:9/definition "gone"

&lt;script&gt;window.{MARK} = 12&lt;/script&gt; and &#60;b&#62;

right-to-left \u202eoverride\u202c isolate \u2066x\u2069 mark \u200f nul \x00 bell \x07 escape \x1b[31m tag \U000e0041

```html" onclick="window.{MARK} = 13
<script>window.{MARK} = 14</script>\u202e
```

| <b>head</b> | [cell](javascript:1) |
|---|---|
| <script>window.{MARK} = 15</script> | `<i>` |

- <img src=x onerror=window.{MARK}=16>
> <object data="http://127.0.0.1:9/object"></object>

`<script>` **<b>bold</b>** *<u>u</u>* # <h1>
"""

WRITER = """# Sorting

Two ways, **both** worth *knowing*; `sorted()` is ~~neither~~ one of them:

1. Quicksort
   - picks a pivot
   - *splits* by it
2. Merge sort

```python
def merge(a, b):
\tif not a: return b  # a line that is far too long for a telephone, so that it has to scroll sideways
\treturn a[:1] + merge(a[1:], b)
```

| name | worst | stable |
|:--|--:|:-:|
| quick | n² | no |
| merge | n log n | yes |

> Measure first.

See [the docs](https://docs.python.org/3/howto/sorting.html). A_word_with_underscores and anunbreakablewordthatislongerthananytelephoneiswide0123456789.

- [x] done
- [ ] to do

---

The end.
"""

NOVEL_PARAGRAPHS = 400
NOVEL = "\n\n".join(f"Paragraph {i}: some *words* of a `long` answer." for i in range(NOVEL_PARAGRAPHS))


def _chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]}


def stream_of(text, piece):
    """A stream of this text, so many characters an event."""
    pieces = [text[i:i + piece] for i in range(0, len(text), piece)]
    usage = {"prompt_tokens": 10, "completion_tokens": len(pieces),
             "total_tokens": 10 + len(pieces)}
    events = [_chunk({"role": "assistant", "content": ""}),
              *(_chunk({"content": one}) for one in pieces), _chunk({}, "stop"),
              {**_chunk({}), "choices": [], "usage": usage}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join(lines) + "data: [DONE]\n\n"


def write_answers(directory):
    """The files that the habits name."""
    (directory / "hostile.sse").write_text(stream_of(HOSTILE, 7))
    (directory / "writer.sse").write_text(stream_of(WRITER, 7))
    (directory / "novel.sse").write_text(stream_of(NOVEL, 40))


def _provider(mock, model):
    return {"type": "openai", "url": mock.url + "/v1", "default_model": model,
            "models": {model: PRICES}, "retry": {"attempts": 0}, "breaker": {"failures": 255}}


def SETTINGS(mock):
    """Laid over the standard configuration of the black-box tests."""
    providers = {name: None for name in ("small", "large", "pace")}
    providers |= {name: _provider(mock, model) for name, model in HABITS.items()}
    providers["broken"] |= {"simulated": None, "per_second": None}
    return {
        "providers": providers,
        "routes": {
            "auto": {"cheap": "little", "strong": "big", "policy": "score"},
            "spare": {"cheap": "broken", "strong": "broken", "fallback": ["little"]},
        },
    }
