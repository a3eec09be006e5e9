"""hold_locks.py CACHE_FILE: takes the lock of every shard of a running daemon's cache, says so, and
dies with them when its input ends: a worker that is stopped at the worst moment, and then killed.
Where the locks are is doc/shm.md's word: Region, its header, and Shard.
"""
import ctypes
import mmap
import os
import struct
import sys

with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
region_bytes, shard_bytes, shard_count = struct.unpack_from("<QQI", memory, 24)
begin = region_bytes - shard_count * shard_bytes
for shard in range(shard_count):
    mutex = ctypes.c_char.from_buffer(memory, begin + shard * shard_bytes)
    failed = ctypes.CDLL(None).pthread_mutex_lock(ctypes.byref(mutex))
    assert not failed, os.strerror(failed)
print(shard_count, flush=True)
sys.stdin.read()
os._exit(0)
