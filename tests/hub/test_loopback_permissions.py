"""The loopback Hub says no as the real one does: each refusal becomes huggingface_hub's own type of error."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .example_repository import status, three_files
from .loopback.accounts import OTHER_TOKEN, READ_TOKEN, WRITE_TOKEN
from .loopback.server import LoopbackHub


def test_who_am_i(api_of: Callable[[str | bool], HfApi]):
    me = api_of(READ_TOKEN).whoami()
    assert (me["name"], me["auth"]["accessToken"]["role"]) == ("ada", "read")
    assert me["orgs"][0]["name"] == "zoo"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api_of("hf_nobody").whoami()


@pytest.mark.parametrize(
    ("token", "code"), [(READ_TOKEN, 403), (OTHER_TOKEN, 403), (False, 401), ("hf_no", 401)]
)
def test_who_may_not_write_changes_nothing(
    api_of: Callable[[str | bool], HfApi], connected: LoopbackHub, model: str, token: str | bool, code: int
):
    stranger, before = api_of(token), connected.repository(model).head
    attempts = (
        lambda: stranger.create_repo("zoo/other"),
        lambda: stranger.create_commit(model, three_files(), commit_message="Mine"),
        lambda: stranger.create_tag(model, tag="mine"),
        lambda: stranger.create_branch(model, branch="mine"),
        lambda: stranger.update_repo_settings(model, private=True),
        lambda: stranger.delete_repo(model),
    )
    for attempt in attempts:
        with pytest.raises(HfHubHTTPError) as refused:
            attempt()
        assert status(refused) == code
    repository = connected.repository(model)
    assert repository.head == before
    assert (list(repository.branches), repository.tags, repository.private) == (["main"], {}, False)
    assert list(connected.repositories) == [("model", model)]


def test_a_private_repository_is_not_there_for_others(
    api: HfApi, api_of: Callable[[str | bool], HfApi], model: str
):
    api.update_repo_settings(model, private=True)
    for token, code in ((OTHER_TOKEN, 404), (False, 401)):
        with pytest.raises(RepositoryNotFoundError) as refused:
            api_of(token).model_info(model)
        assert status(refused) == code
        with pytest.raises(RepositoryNotFoundError):
            api_of(token).hf_hub_download(model, "README.md")
        assert list(api_of(token).list_models(author="zoo")) == []
    assert api_of(READ_TOKEN).model_info(model).private


def test_a_gated_repository_shows_itself_but_not_its_files(
    api: HfApi, api_of: Callable[[str | bool], HfApi], connected: LoopbackHub, model: str
):
    api.update_repo_settings(model, gated="manual")
    for token, code in ((OTHER_TOKEN, 403), (False, 401)):
        assert api_of(token).model_info(model).gated == "manual"
        with pytest.raises(GatedRepoError) as refused:
            api_of(token).hf_hub_download(model, "README.md")
        assert status(refused) == code
    connected.readers.add("bob")
    api_of(OTHER_TOKEN).hf_hub_download(model, "README.md")


def test_what_is_missing_has_an_error_of_its_own(api: HfApi, model: str):
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("zoo/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(model, revision="nothing")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(model, "nothing")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(model, three_files(), commit_message="Lost", revision="nothing")


@pytest.mark.parametrize("path", ["../up", "a//b", "/etc/passwd", "sub", "README.md/below", ".git/config"])
def test_impossible_paths_are_refused(connected: LoopbackHub, model: str, path: str):
    before = connected.repository(model).head
    lines = [
        {"key": "header", "value": {"summary": "Bad"}},
        {"key": "file", "value": {"path": path, "content": "", "encoding": "base64"}},
    ]
    answer = httpx2.post(
        f"{connected.url}/api/models/{model}/commit/main",
        content="\n".join(map(json.dumps, lines)),
        headers={"Authorization": f"Bearer {WRITE_TOKEN}"},
    )
    assert answer.status_code == 400
    assert connected.repository(model).head == before
