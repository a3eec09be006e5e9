"""Text of models in the page: Markdown as it should look, the same however it came in pieces, and
nothing in it that does anything: no HTML, no script, no request, no character that hides.
"""
import pytest

from browser import Keys
from world import HOSTILE, MARK, WRITER

CHAT = "/v1/chat/completions"

# Written at once, or so many characters a time with a turn of the page after each.
WRITE = """
    const [text, size, done] = arguments;
    import('/static/prose.js').then(async ({Prose}) => {
        const root = document.createElement('div');
        document.body.append(root);
        if (size === 0) {
            const prose = new Prose(root);
            prose.add(text);
            prose.end();
        } else {
            let turned = () => {};
            const prose = new Prose(root, () => turned(), 0);
            for (let i = 0; i < text.length; i += size) {
                const turn = new Promise((resolve) => (turned = resolve));
                prose.add(text.slice(i, i + size));
                await turn;
            }
            prose.end();
        }
        const html = root.innerHTML;
        const words = root.textContent;
        root.remove();
        done({html, words});
    }, (error) => done({html: String(error)}));"""


@pytest.fixture(scope="module")
def paper(browser, world):
    """One page for all texts of this file."""
    browser.open(world.daemon)
    yield lambda text, size=0: browser.wait_script(WRITE, text, size)
    assert browser.errors() == []


# -- as it should look -----------------------------------------------------------------------------

# Without what every block has (dir="auto") and the buttons of code.
LOOKS = [
    ("plain", "a\nb\n\nc", "<p>a\nb</p><p>c</p>"),
    ("marks", "**a** *b* ~~c~~ `d` __e__ _f_", "<p><strong>a</strong> <em>b</em> <del>c</del> "
     "<code>d</code> <strong>e</strong> <em>f</em></p>"),
    ("a hard break", "a  \nb", "<p>a<br>b</p>"),
    ("words_with_underscores", "a_b_c", "<p>a_b_c</p>"),
    ("a multiplication", "2 * 3 * 4", "<p>2 * 3 * 4</p>"),
    ("backslashes", r"\*a\* \[b\]", "<p>*a* [b]</p>"),
    ("entities of text", "a &lt;b&gt; &amp; &copy;", "<p>a &lt;b&gt; &amp; &amp;copy;</p>"),
    ("entities of code", "`&lt; & <`", "<p><code>&amp;lt; &amp; &lt;</code></p>"),
    ("headings below the page's", "# a\n## b\n###### c",
     '<h4 class="level-1">a</h4><h5 class="level-2">b</h5><h6 class="level-6">c</h6>'),
    ("lists", "- a\n- b\n  1. c\n  2. d", "<ul><li><span>a</span></li><li><span>b</span><ol>"
     "<li><span>c</span></li><li><span>d</span></li></ol></li></ul>"),
    ("a list that begins later", "3. a", '<ol start="3"><li><span>a</span></li></ol>'),
    ("a quote", "> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
    ("a rule", "a\n\n---", "<p>a</p><hr>"),
    ("links", "[a](https://b.c/d?e=1&f)",
     '<p><a href="https://b.c/d?e=1&amp;f" target="_blank" rel="noopener noreferrer" '
     'referrerpolicy="no-referrer" title="https://b.c/d?e=1&amp;f">a</a></p>'),
    ("links elsewhere", "[a](javascript:b) [c](/d) [e](mailto:f@g) <h@i.j>",
     "<p>[a](javascript:b) [c](/d) [e](mailto:f@g) &lt;h@i.j&gt;</p>"),
    ("definitions", "[a]: https://b.c\n\n[a]", "<p>[a]: "
     '<a href="https://b.c/" target="_blank" rel="noopener noreferrer" '
     'referrerpolicy="no-referrer" title="https://b.c/">https://b.c</a></p><p>[a]</p>'),
    ("HTML", "<b>a</b> <!-- b -->\n\n<div>\n\nc", "<p>&lt;b&gt;a&lt;/b&gt; &lt;!-- b --&gt;</p>"
     "<p>&lt;div&gt;</p><p>c</p>"),
    ("a table", "|a|b|\n|:-:|-:|\n|c|d|", '<div class="table" tabindex="0" role="group" '
     'aria-label="Table"><table><thead><tr><th class="to-center">a</th><th class="to-right">b</th>'
     '</tr></thead><tbody><tr><td class="to-center">c</td><td class="to-right">d</td></tr></tbody>'
     "</table></div>"),
]


@pytest.mark.parametrize("name, text, html", LOOKS, ids=[row[0] for row in LOOKS])
def test_markdown(paper, name, text, html):
    assert paper(text)["html"].replace(' dir="auto"', "") == html


CODES = [
    ("```c++ x\nint a;\n\tb();\n```", "c++", "int a;\n\tb();"),
    ("```\n<script>\n", "code", "<script>"),
    ("~~~html\" onclick=\"x\na\n~~~", 'html"', "a"),
    ("    a & b", "code", "a & b"),
]


@pytest.mark.parametrize("text, language, code", CODES)
def test_code_has_its_language_its_tabs_and_a_button(browser, paper, text, language, code):
    html = paper(text)["html"]
    parts = browser.script("""
        const made = new DOMParser().parseFromString(arguments[0], 'text/html');
        const figure = made.querySelector('figure');
        return ['span', 'code', 'button'].map((tag) => figure.querySelector(tag).textContent)
            .concat(figure.querySelector('code').childElementCount)""", html)
    assert parts == [language, code, "Copy", 0]


def test_copies_are_exact(page):
    page.find("#choice")
    page.until(lambda: page.all("#choice optgroup"))
    page.script("document.getElementById('choice').value = 'writer'")
    page.find("#prompt").send_keys("Write.", Keys.ENTER)
    page.until(lambda: page.all(".answer[aria-busy=false]"))
    page.find(".code button").click()
    page.until(lambda: page.find(".code button").text == "Copied")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert page.wait_script(read) == WRITER.partition("python\n")[2].partition("\n```")[0]
    page.script("Object.defineProperty(navigator, 'clipboard', {value: null, configurable: true})")
    page.find(".actions button").click()  # as on a page that is neither https nor on this machine
    page.until(lambda: page.find(".actions button").text == "Copied")
    page.script("delete navigator.clipboard")
    assert page.wait_script(read) == WRITER


# -- in pieces -------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [1, 5, 64])
@pytest.mark.parametrize("text", [WRITER, HOSTILE], ids=["usual", "hostile"])
def test_pieces_make_what_the_whole_makes(paper, text, size):
    text = text[:300] if size == 1 else text  # a turn of the page for each piece
    assert paper(text, size)["html"] == paper(text)["html"]


def test_line_ends_of_all_kinds_are_one(paper):
    assert paper("a\r\n\r\nb\rc\r\n", 1)["html"] == paper("a\n\nb\nc\n")["html"]


def test_marks_mean_something_before_they_are_closed(browser, paper):
    seen = browser.wait_script("""
        const done = arguments[0];
        import('/static/prose.js').then(async ({Prose}) => {
            const root = document.createElement('div');
            let turned = () => {};
            const prose = new Prose(root, () => turned());
            const seen = [];
            for (const piece of ['a **b', ' c', '** `d', ' e', '`\\n\\n```js\\nf', '()']) {
                const turn = new Promise((resolve) => (turned = resolve));
                prose.add(piece);
                await turn;
                seen.push([...root.querySelectorAll('strong, code')].map((one) => one.textContent));
            }
            done(seen);
        });""")
    assert seen == [["b"], ["b c"], ["b c", "d"], ["b c", "d e"], ["b c", "d e", "f"],
                    ["b c", "d e", "f()"]]


# -- that it cannot hold up the page ---------------------------------------------------------------

SIZE = 30000
SLOW = {
    "emphasis": "*a ", "strong": "**a ", "both": "*a **b _c ", "brackets": "[", "links": "[a](",
    "pictures": "![", "angles": "<", "tags": "<a ", "ticks": "`a", "words and at": "a.",
    "quotes": ">", "lists": "- ", "tildes": "~~a ", "entities": "&", "backslashes": "\\",
    "bidi": "\u202e", "blanks": " ", "addresses": "www.((", "deep lists": " - a\n  ",
    "pipes": "|", "tables": "|a\n|-\n", "fences": "```\n`\n", "nesting": "> - ",
}


@pytest.mark.parametrize("pattern", SLOW.values(), ids=SLOW.keys())
def test_patterns_that_are_slow_to_read_are_not(browser, paper, pattern):
    """By the library alone the first three take ten seconds each. Counted is processor time."""
    text = pattern * (SIZE // len(pattern)) + "\n\nthe end"
    before = browser.script_seconds()
    assert paper(text)["words"].endswith("the end")
    assert browser.script_seconds() - before < 2


# -- that it does nothing --------------------------------------------------------------------------

FORBIDDEN = ("script, style, link, base, meta, iframe, object, embed, svg, math, form, "
             "input:not([type=checkbox]), img, video, audio, source, template, "
             "[onclick], [onload], [onerror], [onfocus], [onmouseover], [style], [srcdoc], [id]")


def test_hostile_answers_stay_text(page):
    page.script("document.getElementById('choice').value")
    page.until(lambda: page.all("#choice optgroup"))
    page.script("document.getElementById('choice').value = 'hostile'")
    page.requests()
    page.find("#prompt").send_keys("<img src=x onerror=\"window." + MARK + " = 17\">", Keys.ENTER)
    page.until(lambda: page.all(".answer[aria-busy=false]"))
    page.driver.refresh()  # stored and shown again
    page.until(lambda: page.all(".answer[aria-busy=false]"))
    for link in page.all(".prose a"):
        page.script("arguments[0].dispatchEvent(new MouseEvent('mouseover'))", link)
    assert page.script(f"return window.{MARK} ?? null") is None

    inside = page.script(f"""
        const parts = [...document.querySelectorAll('.prose, .question, #said')];
        return parts.flatMap((part) => [...part.querySelectorAll(`{FORBIDDEN}`)])
            .filter((one) => !one.closest('button')).map((one) => one.outerHTML)""")
    assert inside == []
    links = page.script("return [...document.querySelectorAll('.prose a')].map((a) => "
                        "[a.getAttribute('href'), a.rel, a.referrerPolicy, a.textContent])")
    hrefs = {link[0] for link in links}
    assert {"https://example.com/page?a=1&b=2", "http://127.0.0.1:9/picture.png"} <= hrefs
    assert all(href.startswith(("https://example.", "http://127.0.0.1:9/")) for href in hrefs)
    assert {link[1] for link in links} == {"noopener noreferrer"}
    assert {link[2] for link in links} == {"no-referrer"}

    words = page.text(".prose")
    for part in ("<script>window.", "<img src=x onerror=", "<svg onload=", "<iframe srcdoc=",
                 "<base href=", "<meta http-equiv=", "[script link](javascript:", "&#115;",
                 "[data link](data:text/html", "[vb link](vbscript:x)",
                 "[relative link](/dashboard)", "[file](file:///etc/passwd)", "![script](javascript:", "[invisible]:",
                 "<object data=", "</script> and &#60;b&#62;"):
        assert part in words, part
    for part in ("⟨U+202E⟩override⟨U+202C⟩", "⟨U+2066⟩x⟨U+2069⟩", "⟨U+200F⟩", "nul ⟨U+0000⟩",
                 "⟨U+0007⟩", "⟨U+001B⟩[31m", "⟨U+E0041⟩"):
        assert part in words, part
    assert not set(words) & set("\u202c\u202e\u2066\u2069\u200f\x00\x07\x1b\U000e0041")

    requests = page.requests()
    asked = [url for url in requests if not url.startswith(("chrome:", "about:"))]
    assert asked and all(url.startswith(page.origin + "/") for url in asked), asked
    paths = {url.removeprefix(page.origin) for url in asked}
    assert {path for path in paths if not path.startswith("/static/")} == {"/", "/v1/models", CHAT}


def test_scripts_that_are_not_the_page_s_do_not_run(page):
    """The policy sent with the page, should all else fail."""
    page.script(f"""
        const made = document.createElement('script');
        made.textContent = 'window.{MARK} = 18';
        document.body.append(made);
        const image = document.createElement('img');
        image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(image);""")
    assert page.script(f"return window.{MARK} ?? null") is None
    noted = page.until(page.errors)
    page.until(lambda: noted.extend(page.errors()) or len(noted) >= 2)
    assert all("Content Security Policy" in line for line in noted), noted
