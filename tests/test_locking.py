from __future__ import annotations

import subprocess
import sys

import pytest

from hub_models.errors import GalleryError
from hub_models.locking import only_process

HOLD = """
import sys, time
from pathlib import Path
from hub_models.errors import GalleryError
from hub_models.locking import only_process
with only_process(Path(sys.argv[1]), GalleryError("busy")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_gone_even_by_a_kill(tmp_path):
    lock = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(GalleryError, match="busy"), only_process(lock, GalleryError("busy")):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with only_process(lock, GalleryError("busy")):
        pass
