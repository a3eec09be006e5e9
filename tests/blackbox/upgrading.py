"""A daemon whose binary can be replaced while it runs: what 23_upgrade and tests/stress/upgrade share.

Each master is the child of the one before it; when that has ended its child becomes ours
(PR_SET_CHILD_SUBREAPER), so that we learn every master's exit status.
"""
import ctypes
import fcntl
import os
import shutil
import signal
import struct

from optiroute import BINARY, PATIENCE, Daemon, eventually, run
from processes import children, is_alive, listening_ports, proc_name

PR_SET_CHILD_SUBREAPER = 36


def become_reaper():
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


class Upgradable(Daemon):
    """A daemon with a binary of its own, which `install` replaces. `pid` is always the master that
    serves; `pids` are all there were."""

    def __init__(self, changes=None, **options):
        become_reaper()
        super().__init__(changes, start=False, **options)
        self.binary = str(self.dir / "optirouted")
        self.pid_path = self.dir / "pid"
        self.pids = []
        shutil.copy(BINARY, self.binary)
        self.settings = {**self.settings, "pid_file": str(self.pid_path)}
        self.write_config(self.settings)
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        self.pids = [self.pid]

    def install(self, content):
        """Another binary at the same path: bytes or text; None takes it away."""
        fresh = self.binary + ".new"
        if content is None:
            os.unlink(self.binary)
            return
        with open(fresh, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(fresh, 0o755)
        os.rename(fresh, self.binary)

    def good_binary(self):
        with open(BINARY, "rb") as file:
            return file.read()

    def tell(self, word="upgrade"):
        return run("-c", self.config_path, "-s", word, timeout=2 * PATIENCE)

    def successor_of(self, pid, start=0):
        """The master that has taken over from it."""
        match = self.log.wait_for(rf"master\[(\d+)\]: .* has taken over from process {pid}:", start)
        return int(match[1])

    def upgrade(self):
        """USR2, and only the new master's processes take connections. The old one may still drain."""
        self.send_signal(signal.SIGUSR2)
        self.follow()

    def follow(self):
        """After an upgrade: the master that serves is another one."""
        old, before = self.pid, self.everybody()
        self.pid = self.successor_of(old)
        self.pids.append(self.pid)
        eventually(lambda: not any(listening_ports(pid) for pid in before), what="the old doors are shut")

    def await_end_of(self, pid):
        """That master's exit status."""
        if pid == self.process.pid:
            return self.process.wait(PATIENCE)
        return eventually(lambda: self.end_of(pid), what=f"the end of process {pid}")[0]

    def end_of(self, pid):
        """(exit status,) of a master, None while it lives. One whose own master still drains is told
        of in the log."""
        told = self.log.find(rf"process {pid}, which took over, has ended: exit code (\d+)")
        if told:
            return (int(told[1]),)
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return (os.waitstatus_to_exitcode(status),) if reaped == pid else None

    def wait(self, timeout=PATIENCE):
        """Exit status of the last master; those before it ended with 0."""
        for pid in self.pids[:-1]:
            status = self.await_end_of(pid)
            assert status == 0, f"process {pid}: {status}"
        status = self.await_end_of(self.pids[-1])
        self.log.thread.join(timeout)
        return status

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE):
        if self.process is None:
            return
        try:
            self.send_signal(number)
            assert self.wait(timeout) == 0
        except BaseException:
            print(self.log.text())
            self.kill()
            raise
        self.assert_clean()
        assert not self.pid_path.exists()
        self.process = None

    def kill(self):
        for pid in self.pids or [self.pid]:
            for one in [*children(pid), pid]:
                try:
                    os.kill(one, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait()
        self.process = None

    def everybody(self, pid=None):
        """The master's processes (of that master), by role; a new master is none of them."""
        found = [(proc_name(child), child) for child in children(pid or self.pid) if is_alive(child)]
        return [child for name, child in sorted(found) if name.startswith("optirouted:")]


def holder(path):
    """Who holds the pid file: the process that F_GETLK names, and the one that the file names."""
    with open(path) as file:
        request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, request))
        return answer[4], int(file.read())


def renamed_metric(binary):
    """The binary of another version: one of its metrics has another name, so the layout of its
    counters is another one."""
    name = b"\0llm_client_aborts_total\0"
    assert binary.count(name) == 1
    return binary.replace(name, b"\0llm_clients_gone_total.\0".replace(b".", b"_"))
