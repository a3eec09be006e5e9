"""Processes and their connections, as the kernel shows them, mostly in /proc. One that is gone has nothing.

Here is nothing about the daemon under test.
"""
import collections
import contextlib
import itertools
import os
import resource
import socket
import struct

GONE = (FileNotFoundError, ProcessLookupError)
ESTABLISHED, CLOSE_WAIT, LISTENING = 0x01, 0x08, 0x0A


def children(pid):
    with contextlib.suppress(*GONE), open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
    return []


def proc_state(pid):
    """The letter of ps: R, S, T (stopped), Z ...; "" when it is gone."""
    with contextlib.suppress(*GONE), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""


def is_alive(pid):
    """Neither gone nor a zombie."""
    return proc_state(pid) not in ("", "Z")


def proc_status(pid, key):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == key:
                return value.split()
    raise KeyError(key)


def proc_name(pid):
    with contextlib.suppress(*GONE), open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
    return ""


def cpu_seconds(*pids):
    """What they have used so far, in steps of a clock tick; a process that was not run used nothing."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_kib(pid):
    """Its memory; of what it shares with others, its part."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def own_kib(*pids):
    """Memory of their own: what is shared (the region) is of a fixed size and fills as it should."""
    return sum(int(proc_status(pid, key)[0]) for pid in pids for key in ("RssAnon", "RssFile"))


def open_files(pid):
    """What each of its descriptors is of: a path, or "socket:[INODE]", "pipe:[INODE]" ..."""
    targets = []
    with contextlib.suppress(*GONE):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(*GONE):  # closed meanwhile
                targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return targets


def count_files(*pids):
    return sum(len(open_files(pid)) for pid in pids)


def sockets(pid):
    return {target for target in open_files(pid) if target.startswith("socket:")}


# unsent: does the kernel hold bytes that the other side has not taken? file: as `open_files` has it.
Connection = collections.namedtuple("Connection", "state port unsent file")


def connections(peer_port=None):
    """Everything of TCP over IPv4, whoever it belongs to; or what leads to this port. There may be
    thousands: only what is asked for is taken apart."""
    end = "" if peer_port is None else f":{peer_port:04X}"
    with open("/proc/net/tcp") as file:
        for line in itertools.islice(file, 1, None):
            if end not in line:
                continue
            row = line.split()
            if row[2].endswith(end):
                yield Connection(int(row[3], 16), int(row[1][-4:], 16),
                                 int(row[4][:8], 16) > 0, f"socket:[{row[9]}]")


def listening_ports(pid):
    own = sockets(pid)
    return [one.port for one in connections() if one.state == LISTENING and one.file in own]


def doors(pid):
    """The sockets on which it listens. Whoever has their ports later, these are never there again."""
    own = sockets(pid)
    return {one.file for one in connections() if one.state == LISTENING and one.file in own}


def are_shut(doors):
    """Nobody holds any of them."""
    return not doors & {one.file for one in connections()}


def connected_to(pids, port):
    """Those of the processes that have a connection to this port."""
    files = {one.file for one in connections(peer_port=port) if one.state == ESTABLISHED}
    return [pid for pid in pids if files & sockets(pid)]


def raise_file_limit():
    """For a process that is many clients. How many files it may open from now on."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def unread_bytes(local, peer):
    """What lies unread in the kernel for the socket on this machine with these two addresses; 0: nothing,
    or there is no such socket any more. Asked of the kernel by sock_diag(7): a look into /proc/net/tcp
    takes long on a machine with many connections."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    addresses = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (local, peer))
    asked = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xffffffff) \
        + struct.pack("!HH", local[1], peer[1]) + addresses \
        + struct.pack("=III", 0, 0xffffffff, 0xffffffff)
    by_family, request, error = 20, 1, 2
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(asked), by_family, request, 1, 0) + asked)
        answer = kernel.recv(4096)
    kind, state = struct.unpack_from("=4xH", answer)[0], answer[17]
    if kind == error or state not in (ESTABLISHED, CLOSE_WAIT):
        return 0
    return struct.unpack_from("=I", answer, 16 + 4 + 48 + 4)[0]
