"""A real Prometheus for the tests: the one of the Debian package, on a free port, for a moment.

    with Prometheus(tmp_path, scraping("127.0.0.1:9464")) as prometheus:
        prometheus.value("sum(llm_total_cost_usd_total)")
"""
import json
import subprocess
import urllib.parse

from optiroute import Client, LineReader
from processes import listening_ports


def scraping(*targets):
    """The least configuration: these addresses once a second."""
    return {"global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "optiroute",
                                "static_configs": [{"targets": list(targets)}]}]}


class Prometheus:
    """Its configuration is a mapping; its data and its other files are those of the directory."""

    def __init__(self, directory, config):
        path = directory / "prometheus.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory}/data",
             "--web.listen-address=127.0.0.1:0", "--log.level=info"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=directory)
        self.log = LineReader(self.process.stderr)
        try:
            self.log.wait_for("Server is ready")
            self.address = ("127.0.0.1", listening_ports(self.process.pid)[0])
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, path, **parameters):
        """The data of its answer; a parameter may be a list. A query it refuses is an error."""
        with Client(self.address) as client:
            query = urllib.parse.urlencode(parameters, doseq=True)
            answer = client.request("GET", f"{path}?{query}")
        body = json.loads(answer.body)
        assert (answer.status, body["status"]) == (200, "success"), body
        return body["data"]

    def value(self, query):
        """Of an instant query with one result; None without a result."""
        result = self.ask("/api/v1/query", query=query)["result"]
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else None
