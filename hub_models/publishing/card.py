"""README.md of a model repository: a plain model card. Every figure in it is a line of results.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huggingface_hub import ModelCardData

from ..checkpoint_folder import CheckpointFolder

#: Licences that the Hub knows by name; any other is declared as ``other`` with its own name.
HUB_LICENCES = frozenset(
    {"apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit"}
)

TEXT = """\
---
{metadata}
---

# {name}

{summary}

A frozen `{backbone}` backbone with trained uncertainty read-outs: {read_outs}. For every image it gives
`uncertainty` (higher = less certain), each read-out in `uncertainties`, and `uncertainty_percentile`, the
share of the reference ({reference}) that the model is more certain about.

## Use

```python
from transformers import pipeline

score = pipeline("image-uncertainty", model="{name}", trust_remote_code=True)
print(score("photo.jpg"))
```

`{name}` stands for this folder or for its name on the Hub. The flag runs the Python files of this repository.
The library `hub-models` needs no flag, and checks every file against `MANIFEST.json`:

```python
import hub_models

model = hub_models.load("{name}")
processor = hub_models.load_image_processor("{name}")
```

## Results

{results}

## Limits

- A percentile holds for images like the reference. For others (X-rays, drawings, satellite images) store a
  reference of your own; `reference_distance` above 1 warns of such images.
- The score ranks images. It is not the probability of a mistake.
- It is no detector of images from elsewhere (out of distribution): unseen kinds of objects need not score higher.
- It inherits what the backbone was trained on, blind spots included.

## Licence

The weights: **{licence}**. They follow the licence of the images they were trained on, not that of the code.
The Python files: Apache-2.0, see `LICENSE`.
"""


def card(checkpoint: CheckpointFolder) -> str:
    """The card's text; the same checkpoint gives the same text."""
    config, recipe = checkpoint.config, checkpoint.recipe
    size, reference = config.get("reference_size", 0), config.get("reference_name", "")
    return TEXT.format(
        metadata=_metadata(checkpoint).to_yaml(),
        name=checkpoint.name,
        summary=recipe["summary"].strip(),
        backbone=config["backbone"],
        read_outs=", ".join(f"`{name}`" for name in config["read_outs"]),
        reference=f"{size:,} images: {reference}" if size else "none stored yet",
        results=results_table(checkpoint.results),
        licence=recipe["licence"],
    )


def _metadata(checkpoint: CheckpointFolder) -> ModelCardData:
    import timm

    licence = checkpoint.recipe["licence"]
    known = licence.lower() in HUB_LICENCES
    backbone = timm.get_pretrained_cfg(checkpoint.config["backbone"])
    return ModelCardData(
        license=licence.lower() if known else "other",
        license_name=None if known else licence,
        library_name="transformers",
        pipeline_tag="image-feature-extraction",  # the nearest task that the Hub knows
        base_model=getattr(backbone, "hf_hub_id", None),
        tags=[checkpoint.recipe["task"], "uncertainty", "timm"],
    )


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """Lines of results.jsonl as a Markdown table."""
    if not results:
        return "Not evaluated yet."
    head = "| task | metric | read-out | value | 95 % interval | n |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(_results_row(line) for line in results)


def _results_row(line: dict[str, Any]) -> str:
    interval = f"{line['low']:.3f} to {line['high']:.3f}"
    cells = (line["task"], line["metric"], line["read_out"], f"{line['value']:.3f}", interval, str(line["n"]))
    return f"| {' | '.join(cells)} |"
