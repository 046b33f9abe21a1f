"""The feature cache under kills, full disks, large sets and several processes: each in processes of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..generated_images import write_images
from .tiny_caches import BLOCKS, IMAGES, PREAMBLE, build, features, noted_blocks, output_of, start

pytestmark = pytest.mark.usefixtures("one_thread")


def test_building_logs_nothing(images: Path, tmp_path: Path) -> None:
    """Tracing a whole transformers model would, once in a process."""
    process = start("build(Path(sys.argv[1]), Path(sys.argv[2]))", images, tmp_path)
    assert process.communicate(timeout=300) == ("", "")


SLOW_BUILD = """
import time
import hub_models.training.feature_cache as module
real = module.ViewMaker.make
def slow_make(self, *arguments):
    time.sleep(0.002)
    return real(self, *arguments)
module.ViewMaker.make = slow_make
print("ready", flush=True)
build(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(
    images: Path, finished: Path, tmp_path: Path
) -> None:
    """Real SIGKILLs at random moments, then one run to the end: the bytes are those of an unbroken build."""
    generator = random.Random(os.getpid())
    kills = 0
    for _ in range(3):
        process = start(SLOW_BUILD, images, tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills > 0
    directory = build(images, tmp_path).directory
    assert features(directory) == features(finished)
    assert noted_blocks(directory) == list(range(BLOCKS))


MEMORY = """
import resource
build(Path(sys.argv[2]), Path(sys.argv[1]), processor=processor(112))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Held in memory, the inputs of 576 more images would take 248 MiB."""
    few = write_images(tmp_path / "few", 64)
    many = Path(shutil.copytree(few, tmp_path / "many"))
    for i in range(64, 640):
        os.link(few / f"{i % 64:04d}.png", many / f"{i:04d}.png")
    small = int(output_of(start(MEMORY, tmp_path / "a", few)))
    large = int(output_of(start(MEMORY, tmp_path / "b", many)))
    assert large - small < 60


FULL_DISK = """
import resource
from hub_models.errors import FeatureCacheError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    build(Path(sys.argv[1]), Path(sys.argv[2]))
except FeatureCacheError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "message"), [(100, "root: cannot be written"), (50_000, "features.safetensors: cannot hold")]
)
def test_a_full_disk_is_a_typed_error_and_the_build_goes_on_when_there_is_space(
    images: Path, finished: Path, tmp_path: Path, limit: int, message: str
) -> None:
    root = tmp_path / "root"
    output = output_of(start(FULL_DISK, images, root, limit))
    assert message in output
    assert "free some space or set HUB_MODELS_CACHE" in output
    assert features(build(images, root).directory) == features(finished)


TWO_PROCESSES = """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
cache = build(Path(sys.argv[1]), Path(sys.argv[2]), accelerator=accelerator)
told = f"{accelerator.num_processes} {cache.pooled.shape} {float(cache.pooled.sum())}"
Path(sys.argv[3], f"rank-{accelerator.process_index}.txt").write_text(told)  # lines on one stream would mix
"""


def test_two_processes_give_the_same_cache_as_one(images: Path, finished: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PREAMBLE + TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*command, script, images, tmp_path / "root", tmp_path], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    lines = [(tmp_path / f"rank-{rank}.txt").read_text() for rank in range(2)]
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"2 ({IMAGES}, 3, 256)")
    (directory,) = (path for path in (tmp_path / "root").iterdir() if path.is_dir())
    assert directory.name == finished.name
    assert features(directory) == features(finished)
    assert noted_blocks(directory) == list(range(BLOCKS))
    assert len(list(directory.glob("done-*.jsonl"))) == 2
