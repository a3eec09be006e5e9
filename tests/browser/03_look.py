"""How the chat page looks and is used: two sizes, both colour schemes, by keyboard alone, and with
a screen reader (roles, names, what is announced). No layout is wider than its window.
"""
import pytest

from browser import SCHEMES, SIZES, Keys

LOOKS = [(size, scheme) for size in SIZES for scheme in SCHEMES]
every_look = pytest.mark.parametrize("size, scheme", LOOKS, ids=[f"{a}-{b}" for a, b in LOOKS])


@pytest.fixture
def shown(browser, world):
    """shown(size, scheme) opens the page so; whatever is done with it, the console stays empty."""
    def show(size, scheme, **options):
        browser.open(world.daemon, "/", *SIZES[size], scheme, **options)
        browser.until(lambda: browser.all("#choice optgroup"))
        return browser

    yield show


def ask(page, text, of):
    page.script("document.getElementById('choice').value = arguments[0]", of)
    number = len(page.all(".answer"))
    page.find("#prompt").send_keys(text, Keys.ENTER)
    page.until(lambda: len(page.all(".answer[aria-busy=false]")) == number + 1)


def too_wide(page):
    """Elements that reach out of the window, but for what scrolls inside of another."""
    return page.script("""
        const width = document.documentElement.clientWidth;
        const inside = (e) => e.closest('pre, .table, .unseen, .sprite');
        return [...document.body.querySelectorAll('*')]
            .filter((e) => !inside(e) && e.getBoundingClientRect().right > width + 0.5)
            .map((e) => e.outerHTML.slice(0, 80))
            .concat(document.documentElement.scrollWidth > width ? ['the page'] : [])""")


# -- at every size, in both schemes ----------------------------------------------------------------

@every_look
def test_the_empty_page(shown, axe, size, scheme):
    page = shown(size, scheme)
    assert too_wide(page) == [] and axe(page) == [] and page.errors() == []
    colors = page.script("const c = getComputedStyle(document.documentElement);"
                         "return [c.backgroundColor, c.color]")
    assert colors == {"light": ["rgb(249, 249, 247)", "rgb(27, 30, 29)"],
                      "dark": ["rgb(18, 21, 20)", "rgb(231, 235, 233)"]}[scheme]


@every_look
def test_a_conversation_with_everything_in_it(shown, axe, size, scheme):
    page = shown(size, scheme)
    ask(page, "Write me everything, " + "verylongword" * 12, "writer")
    ask(page, "Hello?", "little")
    ask(page, "Hello?", "limited")
    assert page.errors() == []
    ask(page, "Hello?", "broken")
    page.script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert len(page.errors()) == 1, "the browser's own note on the refused request"
    assert too_wide(page) == [] and axe(page) == []


def test_a_question_under_way_is_accessible_too(shown, axe):
    page = shown("phone", "dark")
    page.script("document.getElementById('choice').value = 'slow'")
    page.find("#prompt").send_keys("Slowly.", Keys.ENTER)
    page.until(lambda: len(page.text(".prose") or "") > 20)
    assert axe(page) == [] and too_wide(page) == []
    page.press(Keys.ESCAPE)
    page.until(lambda: page.all(".answer[aria-busy=false]"))
    assert axe(page) == [] and page.errors() == []


def test_who_wants_no_motion_gets_none(shown):
    page = shown("desk", "light", motion="reduce")
    page.script("document.getElementById('choice').value = 'slow'")
    page.find("#prompt").send_keys("Slowly.", Keys.ENTER)
    page.until(lambda: page.all(".wait .dots"))
    duration = page.script("const dots = document.querySelector('.dots');"
                           "return getComputedStyle(dots).animationDuration")
    assert duration in ("0.01ms", "1e-05s")
    page.press(Keys.ESCAPE)
    page.until(lambda: page.all(".answer[aria-busy=false]"))


# -- by keyboard -----------------------------------------------------------------------------------

def focus_is_seen(page):
    """The focused element, or the box around it, is drawn otherwise than without focus."""
    return page.script("""
        const drawn = (e) => {
            const c = getComputedStyle(e);
            const outline = c.outlineStyle !== 'none' && c.outlineWidth;
            return [outline, c.boxShadow, c.borderColor].join();
        };
        const e = document.activeElement;
        const parts = [e, e.closest('.box') ?? e];
        const before = parts.map(drawn).join();
        e.blur();
        const after = parts.map(drawn).join();
        e.focus({focusVisible: true, preventScroll: true});
        return before !== after""")


def walk(page, steps):
    """Who has the focus after each press of the tabulator; each is seen to have it."""
    names = []
    for _ in range(steps):
        page.tab()
        names.append(page.active())
        assert focus_is_seen(page), names[-1]
    return names


def test_a_conversation_by_keyboard_alone(shown, world):
    page = shown("desk", "light")
    page.script("document.body.tabIndex = -1; document.body.focus()")  # as if it were just loaded
    page.tab()
    assert page.active() == "a Skip to the message box" and focus_is_seen(page)
    assert page.find(".skip").is_displayed()
    assert [name.partition("\n")[0] for name in walk(page, 9)] == [
        "a OptiRoute", "a Chat", "a Dashboard", "button#new", "button Something easy",
        "button Something hard", "button The same, twice", "textarea#prompt", "select#choice"]
    page.find(".skip").send_keys(Keys.ENTER)
    assert page.active() == "textarea#prompt"

    page.press("One line", Keys.SHIFT, Keys.ENTER)
    page.press("another line")
    assert page.find("#prompt").get_attribute("value") == "One line\nanother line"
    assert page.all(".answer") == []
    page.tab()
    page.press("l", "i", "t")  # chooses by its first letters
    page.until(lambda: page.find("#choice").get_attribute("value") == "little")
    page.press(Keys.SHIFT, Keys.TAB)
    page.find("#prompt").send_keys(Keys.ENTER)
    page.until(lambda: page.all(".answer[aria-busy=false]"))
    assert world.sent()[-1]["content"] == "One line\nanother line"
    assert page.active() == "textarea#prompt" and page.find("#prompt").get_attribute("value") == ""

    page.script("document.getElementById('new').focus()")
    assert walk(page, 4) == [
        "button Copy", "button Ask again", "summary Details", "textarea#prompt"]
    assert page.errors() == []


def test_an_empty_message_is_not_sent(shown):
    page = shown("desk", "light")
    page.find("#prompt").send_keys("  ", Keys.ENTER)
    assert page.all(".answer") == [] and not page.find("#send").is_enabled()
    page.find("#prompt").send_keys("x")
    assert page.find("#send").is_enabled()
    page.find("#send").click()
    page.until(lambda: page.all(".answer[aria-busy=false]"))


def test_the_message_box_grows_with_its_text(shown):
    page = shown("phone", "light")
    height = page.find("#prompt").size["height"]
    for _ in range(4):
        page.find("#prompt").send_keys("line", Keys.SHIFT, Keys.ENTER)
        page.find("#prompt").send_keys(Keys.NULL)
    assert page.find("#prompt").size["height"] > 3 * height
    page.find("#new").click()
    assert page.find("#prompt").size["height"] == height


# -- for who listens -------------------------------------------------------------------------------

COUNT_WORDS = """
    window.said = [];
    const said = document.getElementById('said');
    new MutationObserver(() => window.said.push(said.textContent))
        .observe(said, {childList: true, characterData: true, subtree: true});"""


def test_answers_are_announced_when_they_are_over_and_not_by_the_word(shown):
    page = shown("desk", "light")
    page.script(COUNT_WORDS)
    ask(page, "Say something.", "little")
    words = " ".join(["word"] * 10)
    assert page.script("return window.said") == ["Asking little", f"Answer of little: {words}"]
    assert page.find("#said").get_attribute("role") == "status"
    live = page.script("return document.querySelectorAll("
                       "'.answer[aria-live], .prose[aria-live], #conversation[aria-live]').length")
    assert live == 0


def test_the_page_has_an_outline(shown):
    page = shown("desk", "light")
    ask(page, "Say something.", "writer")
    outline = page.script("""
        return [...document.querySelectorAll('h1, h2, h3, h4')].filter((e) => e.checkVisibility())
            .map((e) => e.tagName + ' ' + e.textContent)""")
    assert outline == ["H2 This session", "H3 Answered by", "H1 Chat", "H2 You asked",
                       "H3 Answer of writer", "H4 Sorting"]
    landmarks = page.script("return ['header', 'nav', 'aside', 'main', 'form'].map((name) => "
                            "document.querySelectorAll(name).length)")
    assert landmarks == [1, 1, 1, 1, 1]
