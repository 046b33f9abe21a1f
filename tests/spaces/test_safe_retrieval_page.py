from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from answer_page import answer_page, credible_page, in_words, welcome
from safe_search import CredibleAnswer, Look

from hub_models.prediction import Prediction
from hub_models.retrieval import CredibleSet, Neighbour, Neighbours, Withheld


class Parsed(HTMLParser):
    """Tags and the text of a page; raises where tags are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.classes: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.classes += (dict(attrs).get("class") or "").split()
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))


def prediction(percentile: float = 0.34, outside: bool = False, name: str = "query.jpg") -> Prediction:
    return Prediction(name, 0.5, percentile, outside, {}, 0, 0.9, 0.3, np.zeros(2))


def neighbour(name: str, percentile: float = 0.2, class_name: str | None = None) -> Neighbour:
    return Neighbour(0, name, 0.876, class_name, 0.1, percentile)


def page(answer: Neighbours, labels: Any = (), percent: float = 90) -> Parsed:
    return Parsed(answer_page(Look(answer.query, list(labels)), answer, percent, lambda item: "data:,"))


@pytest.mark.parametrize(
    ("percentile", "words"),
    [
        (0.0, "More certain than nearly all ordinary photos"),
        (0.34, "More uncertain than 34% of ordinary photos"),
        (0.994, "More uncertain than 99% of ordinary photos"),
        (0.996, "More uncertain than nearly all ordinary photos"),
        (1.0, "More uncertain than nearly all ordinary photos"),
    ],
)
def test_a_percentile_in_words(percentile: float, words: str) -> None:
    assert Parsed(in_words(percentile)).text == words


def test_an_answer_shows_labels_neighbours_and_what_was_passed_over() -> None:
    passed = Withheld(neighbour("fog"), "more uncertain than 97.0% of the reference images (limit 90%)")
    answer = Neighbours(prediction(), (neighbour("coffee", class_name="drink"),), None, (passed,))
    shown = page(answer, [("espresso", 0.95), ("cup", 0.04)])
    assert shown.tags.count("img") == 2
    for text in ("Answered", "34%", "espresso 95%", "coffee drink similarity 0.88 percentile 20%"):
        assert text in shown.text
    assert "fog similarity 0.88 more uncertain than 97.0% of the reference images (limit 90%)" in shown.text
    assert "Unlike the reference" not in shown.text


def test_a_withheld_photo_says_why_and_calls_its_neighbours_guesses() -> None:
    why = "more uncertain than 96.0% of the reference images (limit 90%)"
    withheld = (Withheld(neighbour("cell"), "the query is withheld"),)
    shown = page(Neighbours(prediction(0.96, outside=True), (), why, withheld))
    assert "Withheld" in shown.text
    assert f"No answer: it is {why}." in shown.text
    assert "Unlike the reference" in shown.text
    assert "these would be guesses" in shown.text
    assert "neighbours" not in shown.classes
    assert "the query is withheld" not in shown.text  # said once, above


def test_an_answer_without_any_certain_neighbour_says_so() -> None:
    assert "None is certain enough" in page(Neighbours(prediction(), (), None, ())).text


def test_of_many_withheld_neighbours_a_few_are_shown_and_the_rest_counted() -> None:
    withheld = tuple(Withheld(neighbour(f"photo {i}"), "too uncertain") for i in range(1006))
    shown = page(Neighbours(prediction(), (), None, withheld))
    assert shown.tags.count("img") == 6
    assert "and 1,000 more" in shown.text


def test_a_photo_that_is_gone_leaves_its_name() -> None:
    answer = Neighbours(prediction(), (neighbour("coffee"),), None, ())
    shown = Parsed(answer_page(Look(answer.query, []), answer, 90, lambda item: ""))
    assert "img" not in shown.tags
    assert "The file is gone. coffee" in shown.text


def test_a_name_is_shown_without_its_folders_and_kept_whole_beside_it() -> None:
    answer = Neighbours(prediction(), (neighbour("trips/2020/coffee.jpg"),), None, ())
    written = answer_page(Look(answer.query, []), answer, 90, lambda item: "data:,")
    assert '<b title="trips/2020/coffee.jpg">coffee.jpg</b>' in written


def credible(count: int, shown: list[Neighbour], name: str = "query.jpg") -> Parsed:
    query = Prediction(name, 0.04, None, False, {}, None, None, None, np.zeros(2), 25.0)
    found = CredibleSet(np.arange(count), np.ones(count), 0.612, 0.0312)
    return Parsed(
        credible_page(Look(query, []), CredibleAnswer(found, shown, 2000), 95, lambda item: "data:,")
    )


def test_a_credible_set_shows_its_region_its_size_and_its_nearest_photos() -> None:
    shown = credible(1003, [Neighbour(i, f"photo {i}", 0.9, "drink", 0.04, None) for i in range(3)])
    assert shown.tags.count("img") == 3
    for text in (
        "1,003 of 2,000 photos are in its 95% credible region",
        "covers 3.1% of the sphere",
        "concentration 25.0",
        "similarity from 0.61",
        "photo 0 drink similarity 0.90",
        "and 1,000 more",
    ):
        assert text in shown.text
    assert "percentile" not in shown.text


def test_an_empty_credible_set_says_so() -> None:
    shown = credible(0, [])
    assert "0 of 2,000 photos" in shown.text
    assert "nothing in the gallery is near enough" in shown.text


EVIL = "<script>alert('x')</script>\" onerror='alert(1)'"


def test_names_labels_and_reasons_can_hold_anything() -> None:
    item = neighbour(EVIL, class_name=EVIL)
    answer = Neighbours(prediction(name=EVIL), (item,), None, (Withheld(item, EVIL),))
    shown = page(answer, [(EVIL, 0.9)])
    assert "script" not in shown.tags
    assert shown.text.count(EVIL) == 5
    assert shown.text.count(EVIL.rsplit("/", 1)[-1]) == 7
    assert "script" not in Parsed(welcome(EVIL)).tags
    assert EVIL in Parsed(welcome(EVIL)).text
    assert "script" not in credible(1, [item], name=EVIL).tags
