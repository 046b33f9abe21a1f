"""README.md of a failure network's repository."""

from __future__ import annotations

from huggingface_hub import ModelCardData

from ..checkpoint_folder import CheckpointFolder

TEXT = """\
---
{metadata}
---

# {name}

{summary}

A leaky noisy-OR network: {failures} failures in {stages} process stages. It gives the probability of every failure
after some were observed, with an interval each; exact where the network allows it, else by weighted samples.

## Use

```python
from transformers import AutoModel

network = AutoModel.from_pretrained("{name}", trust_remote_code=True)
answer = network.posterior(present=["{observed}"])
print(answer.method, [(cause.name, round(cause.probability, 3)) for cause in answer.ranked()[:5]])
print(network.inspection_values(present=["{observed}"])[0])  # what to look at next
```

`{name}` stands for this folder or for its name on the Hub. The flag runs the Python files of this repository. The
library `hub-models` needs no flag, checks every file against `MANIFEST.json` (`hub_models.load("{name}")`), and reads,
checks and mends FMEA tables.

## Limits

- In the spirit of Kirchhof et al. (2020), whose data and details are not public: a reconstruction.
- The numbers are a hand-made, plausible teaching set, not measured in any factory. Do not act on them in one.
- An interval is that of the computation. It does not say how far the experts' numbers can be trusted.
- Numbers are float64; casting the model to another type is refused.

## Licence

**{licence}**, the Python files too, see `LICENSE`.
"""


def failure_card(checkpoint: CheckpointFolder) -> str:
    """The card's text; the same checkpoint gives the same text."""
    config, recipe = checkpoint.config, checkpoint.recipe
    metadata = ModelCardData(
        license=recipe["licence"],
        library_name="transformers",
        tags=[recipe["task"], "root-cause-analysis", "bayesian-network", "fmea"],
    )
    return TEXT.format(
        metadata=metadata.to_yaml(),
        name=checkpoint.name,
        summary=recipe["summary"],
        failures=len(config["names"]),
        stages=len(set(config["stages"])),
        observed=config["names"][-1],
        licence=recipe["licence"],
    )
