"""README.md of a pipeline repository, and of a generator that carries its pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint_folder import CONFIG, RECIPE, read_recipe, read_results
from .card import results_table

if TYPE_CHECKING:
    from .export_pipeline import PipelineFamily

USE = """\
`shield` holds what is protected, in the model's own sample space; a ball of `radius` around each reference is kept
clear. `intra_batch=True` keeps the images of one batch apart instead. Without either, the images are those of
`{base}`, bit for bit. After a shielded call `pipe.spell.record` says when the shield acted, and how strongly;
with `hub-models` installed, `hub_models.spell.report(pipe)` tells how near each image came.

The distance is Euclidean in the model's samples, not a judgement of likeness: a crop or a flip of a protected image can
lie outside its ball. Add flipped and cropped references for those. Where the final samples lie is checked exactly, at
any number of references; what a decoder makes of them is not."""

PIPELINE = """\
---
license: apache-2.0
library_name: diffusers
tags:
- spell
- shielded-generation
- diffusers:{base}
---

# {name}

{words}, steered away from protected images without training: SPELL, sparse repellency
(Kirchhof et al., [arXiv 2410.06025](https://arxiv.org/abs/2410.06025)).

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained(
    "your/checkpoint", custom_pipeline="{name}", trust_remote_code=True
)
images = pipe("a prompt", shield=references, radius=20.0).images  # references: N samples of shape {sample}
```

`{name}` stands for this folder or for its name on the Hub. The flag runs the Python files of this repository.

{use}

Checked on the real `{base}` with small random weights; **never run on trained weights** by its developers, who had no
GPU. The radius must be calibrated for the model: `hub_models.spell.calibrate_radius`.

Code: Apache-2.0, see `LICENSE`. The checkpoint you load has its own licence.
"""

GENERATOR = """\
---
license: {licence}
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags:
- spell
- shielded-generation
---

# {name}

{summary}

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{name}", trust_remote_code=True)
images = pipe(class_labels=[{labels}], num_inference_steps=30).images
```

`{name}` stands for this folder or for its name on the Hub. The flag runs the Python files of this repository. Classes:
{classes}.

{use}

## Results

{results}

## Licence

The weights: **{licence}**, as the images they were trained on. The Python files: Apache-2.0, see `LICENSE`.
"""


def pipeline_card(name: str, family: PipelineFamily) -> str:
    """The card of a code-only repository."""
    return PIPELINE.format(
        name=name,
        base=family.base,
        words=family.words,
        sample=family.sample,
        use=USE.format(base=family.base),
    )


def generator_card(folder: Path) -> str:
    """The card of a generator, its figures from results.jsonl."""
    recipe = read_recipe(folder / RECIPE)
    names = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["class_names"]
    return GENERATOR.format(
        name=recipe["name"],
        summary=recipe["summary"],
        licence=recipe["licence"],
        labels=", ".join(json.dumps(name) for name in names[:3]),
        classes=", ".join(names),
        use=USE.format(base="the model"),
        results=results_table(read_results(folder, recipe["name"])),
    )
