"""How many heaps the threads of a server have, as glibc says itself."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import ctypes, re, sys, threading
from sdopt.serve.heaps import limit_heaps
limited = limit_heaps() if sys.argv[1] == "limited" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(12)
def allocate():
    together.wait()
    for _ in range(200):
        libc.free(ctypes.c_void_p(libc.malloc(50_000)))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(limited, len(re.findall("<heap nr", open(sys.argv[2]).read())))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not glibc")
def test_threads_share_two_heaps(tmp_path: Path) -> None:
    def heaps(how: str) -> list[str]:
        command = [sys.executable, "-c", COUNT, how, str(tmp_path / "info.xml")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    limited, count = heaps("limited")
    assert (limited, int(count)) == ("True", 2)
    assert int(heaps("as it comes")[1]) > 2
