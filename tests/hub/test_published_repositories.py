"""What users rely on, by way of a Hub: every repository is pushed, then read back in processes that know only its id.

First online with an empty cache, by the name of the main branch; then offline from that cache, by commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, snapshot_download
from PIL import Image

from hub_models.publishing.export_pipeline import PIPELINES

from ..pipelines.spell import tiny_pipelines
from .asking import SCRIPTS, ask
from .loopback.accounts import READ_TOKEN, WRITE_TOKEN
from .loopback.clients import connect, environment, run
from .loopback.server import LoopbackHub
from .publishing import PushedRepository, push_all


@dataclass(frozen=True)
class Published:
    """The Hub with everything on it, and a home folder whose caches fill as tests go on."""

    hub: LoopbackHub
    home: Path
    repositories: list[PushedRepository]

    def ask(self, script: str, *arguments: str, offline: bool = False, home: Path | None = None) -> Any:
        """What a script of ``strangers`` prints, run isolated from this project with a token that may only read."""
        home = home or self.home
        return ask(script, *arguments, home=home, variables=environment(self.hub, home, READ_TOKEN, offline))

    def of_kind(self, kind: str, file: str) -> list[PushedRepository]:
        return [each for each in self.repositories if each.kind == kind and each.has(file)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    root = tmp_path_factory.mktemp("published")
    (root / "home").mkdir()
    with LoopbackHub(root / "hub") as hub, pytest.MonkeyPatch.context() as patch:
        connect(hub, root / "home", patch)
        yield Published(hub, root / "home", push_all(hub, root / "out"))
    assert hub.crashes == []


def test_every_file_comes_back_as_it_was(published: Published, tmp_path: Path):
    for pushed in published.repositories:
        copy = Path(
            snapshot_download(
                pushed.repository,
                repo_type=pushed.kind,
                revision=pushed.commit,
                endpoint=published.hub.url,
                cache_dir=tmp_path,
            )
        )
        files = {
            path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()
        }
        files.pop(".gitattributes")
        assert files == {
            path.relative_to(pushed.folder).as_posix(): path.read_bytes()
            for path in pushed.folder.rglob("*")
            if path.is_file()
        }


def test_models(published: Published, tmp_path: Path):
    photo = tmp_path / "gradient.png"
    Image.linear_gradient("L").convert("RGB").save(photo)
    models = published.of_kind("model", "config.json")
    assert len(models) >= 4
    online = published.ask("read_models.py", str(photo), *(f"{model.repository}@main" for model in models))
    asked = len(published.hub.seen)
    offline = published.ask("read_models.py", str(photo), *(model.pinned for model in models), offline=True)
    assert len(published.hub.seen) == asked
    for model in models:
        said = online[f"{model.repository}@main"]
        assert offline[model.pinned] == said
        assert said["code"] == model.commit[:12]


def test_a_pinned_revision_does_not_move_with_main(published: Published, tmp_path: Path):
    photo = tmp_path / "unused"
    model = next(each for each in published.repositories if each.name == "battery-failure-network")
    head = published.hub.repository(model.repository).head
    broken = {path: b"raise SystemExit('main was read')" for path in head.files if path.endswith(".py")}
    published.hub.plant(model.repository, {**broken, "config.json": b"{}", "model.safetensors": b"broken"})
    try:
        said = published.ask("read_models.py", str(photo), model.pinned, home=tmp_path)
    finally:
        published.hub.repository(model.repository).branches["main"] = model.commit
    assert said[model.pinned]["class"] == "FailureNetworkModel"


def test_generators_and_custom_pipelines(published: Published, tmp_path: Path):
    api = HfApi(endpoint=published.hub.url, token=WRITE_TOKEN)
    references = []
    for pushed in published.of_kind("model", "pipeline.py"):
        if pushed.has("model_index.json"):
            references.append(pushed.pinned)
            continue
        base = f"ada/base-of-{pushed.name}"
        make, _ = tiny_pipelines.FAMILIES[PIPELINES[pushed.name].entry]
        pipe = make()
        if "text_encoder_3" in pipe.components:  # what is None is not saved, and then asked for
            pipe.register_modules(
                text_encoder_3=tiny_pipelines.t5(), tokenizer_3=tiny_pipelines.t5_tokenizer()
            )
        pipe.save_pretrained(tmp_path / pushed.name)
        api.create_repo(base)
        api.upload_folder(repo_id=base, folder_path=tmp_path / pushed.name)
        references.append(f"{base}+{pushed.pinned}")
    online = published.ask("read_pipelines.py", *references)
    assert published.ask("read_pipelines.py", *references, offline=True) == online
    assert all(said[0].startswith("Spell") for said in online.values())


def test_datasets(published: Published):
    sets = published.of_kind("dataset", "README.md")
    assert sets
    for each in sets:
        online = published.ask("read_datasets.py", each.pinned)
        assert published.ask("read_datasets.py", each.pinned, *online, offline=True) == online
        assert all(rows > 0 for _, rows, _ in online.values())


def test_what_the_libraries_push_themselves(hub: LoopbackHub, tmp_path: Path):
    done = run(
        [sys.executable, str(SCRIPTS / "push_with_libraries.py")], tmp_path, environment(hub, tmp_path)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "read back"
