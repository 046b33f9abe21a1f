"""A set spread over two real processes (gloo, on the CPU) against one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

SCRIPT = """
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from hub_models.spell import spell_reference_building as building
from hub_models.spell.spell_distributed import DistributedReferences
from hub_models.spell.spell_references import ReferenceSet
from hub_models.spell.spell_repellency import repel

building.SHARD_BYTES = 64 * 2 * 256
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
latents = torch.randn(500, 4, 8, 8, generator=torch.Generator().manual_seed(0))
whole = ReferenceSet.build(latents=latents, folder=folder, accelerator=accelerator)
if accelerator.is_main_process:
    whole.remove(["3"])
accelerator.wait_for_everyone()
whole = ReferenceSet.open(folder)
shared = DistributedReferences(folder, accelerator)
assert len(shared) == len(whole) == 499, len(shared)
result = {"processes": torch.tensor(accelerator.num_processes)}
with shared:
    ours, alone = shared.search(), whole.search()
    for step in range(3 + 2 * rank):  # one process has more to ask than the other
        queries = latents[rank * 10 : rank * 10 + 5].flatten(1) + 0.1 * step
        pairs = []
        for search in (ours, alone):
            some = list(search.within(queries, 20.5))
            number = torch.cat([each.query * 1000 + each.reference for each in some]).sort()
            distance = torch.cat([each.distance for each in some])[number.indices]
            pairs.append((number.values, distance, repel(queries, search.within(queries, 20.5), 20.5, 1.6)))
        assert torch.equal(pairs[0][0], pairs[1][0])
        assert torch.allclose(pairs[0][1], pairs[1][1], rtol=1e-12)
        assert torch.equal(pairs[0][2].balls, pairs[1][2].balls)
        assert torch.allclose(pairs[0][2].displacement, pairs[1][2].displacement, rtol=1e-9, atol=1e-12)
        result[f"pairs{step}"] = torch.tensor(len(pairs[0][0]))
number, distance = shared.nearest(queries)
alone = whole.nearest(queries)
assert torch.equal(number, alone[0])
assert torch.allclose(distance, alone[1], rtol=1e-12)
save_file(result, out / f"rank-{rank}.safetensors")
accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*command, script, tmp_path / "set", tmp_path], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    for rank in range(2):
        told = load_file(tmp_path / f"rank-{rank}.safetensors")
        assert told["processes"] == 2
        assert all(told[f"pairs{step}"] > 5 for step in range(3 + 2 * rank))
