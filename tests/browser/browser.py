"""A real browser for tests of the pages: Debian's Chromium, headless, driven by Selenium.

    with Browser() as browser:
        browser.open(daemon, "/", width=360, height=740, scheme="dark")
        ... browser.find("#prompt"), browser.text(".prose"), browser.errors() ...

One Chromium serves many tests; each `open` gets a tab of its own and so a session of its own (what
the page keeps is gone), and the records of console and network begin anew.

Nothing waits by sleeping for as long as it might take: `browser.until` asks until it is so.
"""
import json
import os
import pathlib
import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from optiroute import PATIENCE, eventually

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")
SIZES = {"phone": (360, 740), "desk": (1440, 900)}
SCHEMES = ("light", "dark")

# A browser that knows no host but this machine, and asks for nothing by itself.
SWITCHES = [
    "--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-quic",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-features=Translate,MediaRouter",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--lang=en-US",
]


def _options(profile):
    options = Options()
    options.binary_location = CHROMIUM
    for switch in SWITCHES + [f"--user-data-dir={profile}"]:
        options.add_argument(switch)
    if os.geteuid() == 0:  # Chromium's own sandbox does not run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return options


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="optiroute-chromium-")
        try:
            self.driver = webdriver.Chrome(service=Service(CHROMEDRIVER),
                                           options=_options(self.profile))
        except BaseException:
            shutil.rmtree(self.profile, ignore_errors=True)
            raise
        self.driver.set_script_timeout(PATIENCE)
        self.origin = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.driver.quit()
        finally:
            shutil.rmtree(self.profile, ignore_errors=True)

    # -- pages --

    def open(self, daemon, path="/", width=1440, height=900, scheme="light",
             motion="no-preference"):
        """A new tab with this page, as a window of this size shows it."""
        before = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        fresh = self.driver.current_window_handle
        self.driver.switch_to.window(before)
        self.driver.close()
        self.driver.switch_to.window(fresh)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.size(width, height)
        self.command("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion}])
        self.origin = "http://{}:{}".format(*daemon.address)
        self.command("Browser.grantPermissions", origin=self.origin,
                     permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self.driver.get(self.origin + path)

    def open_again(self):
        self.requests()
        self.driver.refresh()

    def size(self, width, height):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=False)

    def command(self, name, **arguments):
        """One command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def wait_script(self, text, *arguments):
        """A script that ends by calling its last argument."""
        return self.driver.execute_async_script(text, *arguments)

    def shot(self, path):
        pathlib.Path(path).write_bytes(self.driver.get_screenshot_as_png())

    # -- what is there --

    def find(self, selector):
        """The first element of this selector, which must be there."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """What is written in the last element of this selector, seen or not. None: there is none."""
        return self.script("return [...document.querySelectorAll(arguments[0])].at(-1)"
                           "?.textContent ?? null", selector)

    def script_seconds(self):
        """Processor time that scripts of the page took so far."""
        self.command("Performance.enable", timeDomain="threadTicks")
        metrics = self.command("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "ScriptDuration")

    def until(self, predicate, what=None, timeout=PATIENCE):
        """The first true value of predicate(); the page changes nothing while it is asked."""
        return eventually(predicate, timeout, what)

    def active(self):
        """The element that has the focus, in short: tag#id or tag and its words."""
        return self.script("""
            const e = document.activeElement;
            return e.tagName.toLowerCase() + (e.id ? '#' + e.id : ' ' + e.innerText.trim())""")

    def press(self, *keys):
        """Keys for whoever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab(self):
        self.press(Keys.TAB)

    # -- what happened --

    def errors(self):
        """Lines of the console that are warnings or errors, since the last time."""
        return [line["message"] for line in self.driver.get_log("browser")
                if line["level"] in ("WARNING", "SEVERE")]

    def requests(self):
        """Addresses of all requests since the page was opened, or the last time."""
        events = [json.loads(line["message"])["message"]
                  for line in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]

    def foreign_requests(self):
        """Those that went anywhere but to the daemon. The browser's own pages are none."""
        return [url for url in self.requests()
                if not url.startswith((self.origin + "/", "chrome:", "about:"))]
