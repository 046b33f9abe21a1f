"""Each case runs in a fresh interpreter: what has been imported there, and in which order, is the subject."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "transformers", "timm", "faiss", "pandas", "matplotlib", "sklearn", "scipy", "gradio")

OURS = """
import json
from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY
config = AutoConfig.for_model("image_uncertainty", backbone="test_efficientnet", num_classes=3)
print(json.dumps([
    type(config).__module__,
    type(AutoModel.from_config(config)).__module__,
    PIPELINE_REGISTRY.check_task("image-uncertainty")[1]["impl"].__module__,
]))
"""


def python(code: str) -> Any:
    """What ``code`` prints last, as JSON; any warning is an error."""
    options = ["-W", "error", "-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("import hub_models", id="hub_models first"),
        pytest.param(
            "from transformers import AutoModel, pipeline\nimport hub_models", id="transformers first"
        ),
        pytest.param("import transformers\nimport hub_models", id="transformers lazily first"),
        pytest.param(
            "from transformers import AutoConfig\nimport hub_models", id="half of transformers first"
        ),
        pytest.param(
            "import hub_models\nfrom transformers import CLIPImageProcessor", id="through a processor"
        ),
        pytest.param("import hub_models.modeling_image_uncertainty", id="through the model's module"),
        pytest.param("import hub_models.pipeline_image_uncertainty", id="through the pipeline's module"),
        pytest.param("from hub_models.zoo import load", id="through the zoo"),
    ],
)
def test_the_auto_classes_know_ours_whatever_was_imported_first(first: str):
    assert python(first + OURS) == [
        "hub_models.configuration_image_uncertainty",
        "hub_models.modeling_image_uncertainty",
        "hub_models.pipeline_image_uncertainty",
    ]


def test_importing_hub_models_imports_nothing_heavy():
    code = f"import json, sys, hub_models\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert python(code) == []


def test_the_help_of_the_command_imports_nothing_heavy():
    code = f"""
import json, sys
from hub_models.cli import app
app(["--help"], standalone_mode=False)
print(json.dumps([m for m in {HEAVY} if m in sys.modules]))
"""
    assert python(code) == []


def test_watched_modules_look_as_if_nobody_watched():
    code = """
import hub_models, importlib.util, json, sys
from importlib.machinery import SourceFileLoader
name = "transformers.models.auto.modeling_auto"
found = importlib.util.find_spec(name)
import transformers.models.auto.modeling_auto as module
assert module.__spec__.origin == found.origin == module.__file__
assert found.loader.get_source(name).startswith("#")
assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
finders = [type(finder).__name__ for finder in sys.meta_path]
hub_models._registration.install()
assert finders == [type(finder).__name__ for finder in sys.meta_path]
print(json.dumps(finders.count("_PostImportFinder")))
"""
    assert python(code) == 1


def test_a_finder_that_came_later_still_finds_watched_modules():
    code = """
import hub_models, json, sys, warnings
warnings.simplefilter("ignore", ImportWarning)  # of Python, about a finder in the style of before 3.4
class Listening:
    seen = []
    def find_spec(self, name, path=None, target=None):
        self.seen.append(name)
class Old:
    def find_module(self, name, path=None):
        return None
sys.meta_path[:0] = [Listening(), Old()]
import transformers.models.auto.modeling_auto
print(json.dumps("transformers.models.auto.modeling_auto" in Listening.seen))
"""
    assert python(code) is True


def test_without_timm_transformers_still_works_and_a_warning_says_what_to_install():
    code = """
import json, sys, warnings
sys.modules["timm"] = None
import hub_models
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from transformers import AutoModel, BertConfig
    AutoModel.from_config(BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1))
print(json.dumps([str(w.message) for w in caught if "image-uncertainty" in str(w.message)]))
"""
    [message] = python(code)
    assert "pip install 'hub-models[models]'" in message


def test_attributes_are_found_late_and_unknown_ones_refused():
    import hub_models

    assert set(hub_models.__all__) <= set(dir(hub_models))
    assert issubclass(hub_models.errors.CheckpointError, hub_models.errors.HubModelsError)
    assert Path(hub_models.__file__).parent.joinpath("py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hub_models.nonsense
