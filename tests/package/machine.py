"""A machine of its own for the package: systemd as its first process, in namespaces, without a network.

Its root is a fresh minimal Debian, made by mmdebstrap; where the archive cannot be reached in time it is this very machine's
root under an overlay, which takes what is installed there but loses nothing. Needs root, or sudo.
"""
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import optiroute
from processes import GONE, children, proc_status

# What the package depends on, and what the tests need: dpkg is not to fetch anything.
INCLUDE = ("systemd", "systemd-sysv", "ca-certificates", "curl", "libcurl4", "libevent-core-2.1-7",
           "libssl3", "libyaml-0-2", "logrotate")
ARCHIVE_SECONDS = 75
PATIENCE = 60
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

eventually = functools.partial(optiroute.eventually, timeout=PATIENCE)


def root_run(*command, **options):
    return subprocess.run([*AS_ROOT, *map(str, command)], check=True, capture_output=True,
                          text=True, **options)


class Machine:
    """Begun at once, so that its root is made while the package is built; `boot` waits for it."""

    def __init__(self):
        # Memory where there is some: thousands of small files, for a minute.
        shm = pathlib.Path("/dev/shm")
        roomy = shm.is_dir() and shutil.disk_usage(shm).free > 2 << 30
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="optiroute-package-",
                                                 dir=shm if roomy else None))
        self.root = self.dir / "fresh"
        self.mounted = False
        self.process = None
        self.log = open(self.dir / "console", "w+")
        self.maker = subprocess.Popen(
            [*AS_ROOT, "timeout", "-k", "5", str(ARCHIVE_SECONDS), "mmdebstrap", "--variant=minbase",
             "--mode=root", "--include=" + ",".join(INCLUDE), "bookworm", str(self.root)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def _choose_root(self):
        if self.maker.wait() == 0:
            return "a fresh Debian"
        upper, work, self.root = self.dir / "upper", self.dir / "work", self.dir / "root"
        for directory in (upper, work, self.root):
            directory.mkdir()
        root_run("mount", "-t", "overlay", "overlay", self.root, "-o",
                 f"lowerdir=/,upperdir={upper},workdir={work}")
        self.mounted = True
        return "an overlay of this machine"

    def boot(self):
        print("the machine is", self._choose_root())
        # a container image's policy would keep services from starting
        root_run("rm", "-f", self.root / "etc/machine-id", self.root / "usr/sbin/policy-rc.d")
        root_run("touch", self.root / "etc/machine-id")
        self.process = subprocess.Popen(
            [*AS_ROOT, "systemd-nspawn", "-q", "-D", str(self.root), "--register=no", "--keep-unit",
             "--private-network", f"--machine=optiroute-{os.getpid()}", "--link-journal=no",
             "--console=pipe", "--boot", "--", "systemd.unit=basic.target",
             "systemd.show_status=false"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.leader = eventually(self._find_leader, what="the first process")
        eventually(lambda: self.run("systemctl", "is-system-running").stdout.strip() in
                   ("running", "degraded"), what="the boot")

    def _find_leader(self):
        """The descendant of ours that is process 1 in its own eyes."""
        assert self.process.poll() is None, self.console()
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                numbers = proc_status(pid, "NSpid")
            except GONE:
                continue
            waiting += children(pid)
            if len(numbers) > 1 and numbers[-1] == "1":
                return pid
        return None

    def console(self):
        self.log.flush()
        return (self.dir / "console").read_text()

    def run(self, *command, stdin=None, timeout=PATIENCE):
        """A command inside, as its root."""
        return subprocess.run(
            [*AS_ROOT, "nsenter", "-t", str(self.leader), "-a", "env", "-i",
             *(f"{key}={value}" for key, value in CLEAN.items()), *map(str, command)],
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True,
            text=True, timeout=timeout)

    def ok(self, *command, **options):
        result = self.run(*command, **options)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        return result.stdout

    def put(self, path, text):
        """A file inside."""
        self.ok("sh", "-c", 'cat >"$1"', "sh", path, stdin=text)

    def copy(self, source, path):
        root_run("cp", source, f"{self.root}{path}")

    def journal(self):
        return self.ok("journalctl", "-u", "optirouted", "-o", "cat", "--no-pager")

    def close(self):
        if self.maker.poll() is None:
            root_run("kill", self.maker.pid)
            self.maker.wait()
        if self.process is not None and self.process.poll() is None:
            root_run("kill", self.process.pid)  # it shuts down
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                root_run("kill", self.process.pid)  # the second one is final
                self.process.wait(20)
        self.log.close()
        if self.mounted:
            root_run("umount", self.root)
        root_run("rm", "-rf", "--one-file-system", self.dir)
