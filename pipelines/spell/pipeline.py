"""Shielded generation with Stable Diffusion 1 and 2. An entry file for ``custom_pipeline``."""

from __future__ import annotations

from contextlib import suppress

from diffusers import StableDiffusionPipeline

# diffusers copies the siblings that an entry file names, and no others.
from .spell_anchors import Anchors  # noqa: F401
from .spell_attachment import attach_spell  # noqa: F401
from .spell_call import ShieldedCall
from .spell_coordinates import Coordinates  # noqa: F401
from .spell_encoding import ImageEncoder  # noqa: F401
from .spell_errors import SpellError  # noqa: F401
from .spell_index import Index  # noqa: F401
from .spell_int8 import Quantised  # noqa: F401
from .spell_kernels import LANES  # noqa: F401
from .spell_memory import MemoryReferences  # noqa: F401
from .spell_prediction import Prediction  # noqa: F401
from .spell_protected import InsidePairs  # noqa: F401
from .spell_record import StepRecord  # noqa: F401
from .spell_reference_building import extend_set  # noqa: F401
from .spell_reference_manifest import Origin  # noqa: F401
from .spell_reference_shards import shard_path  # noqa: F401
from .spell_reference_upkeep import remove_items  # noqa: F401
from .spell_reference_work import Work  # noqa: F401
from .spell_references import ReferenceSet  # noqa: F401
from .spell_refused import REFUSED  # noqa: F401
from .spell_repellency import Push  # noqa: F401
from .spell_rerank import RowReader  # noqa: F401
from .spell_residuals import Residuals  # noqa: F401
from .spell_scan import Candidates  # noqa: F401
from .spell_scheduler import Attachment  # noqa: F401
from .spell_search import IndexedSearch  # noqa: F401
from .spell_shield import Shield  # noqa: F401
from .spell_small_search import SmallSearch  # noqa: F401
from .spell_threads import in_parallel  # noqa: F401
from .spell_union import ray_exit  # noqa: F401

with suppress(ImportError):  # it needs numba
    from .spell_vectors import VECTOR  # noqa: F401


class SpellStableDiffusionPipeline(ShieldedCall, StableDiffusionPipeline):
    """`StableDiffusionPipeline` with a shield; `spell_call.shielded` explains the arguments."""
