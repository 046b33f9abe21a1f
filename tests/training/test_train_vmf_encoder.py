from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hub_models.checkpoint_folder import GOLDEN, WEIGHTS, open_checkpoint
from hub_models.errors import CheckpointError, RecipeError
from hub_models.training import train_vmf_encoder as module
from hub_models.training.recipe_vmf_encoder import VmfEncoderRecipe, load_vmf_encoder_recipe
from hub_models.training.train_vmf_encoder import (
    PairLoss,
    load_generator,
    train,
    train_vmf_encoder,
    with_seed,
)

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
name = "tiny-encoder"
task = "vmf-encoder"
summary = "tiny"
licence = "apache-2.0"
{top}
[generator]
smoothing_steps = 60
{generator}
[encoder]
embedding_dim = 2
widths = [6]
{encoder}
[training]
batch_size = 8
samples = 4
direction_steps = 2
concentration_steps = 2
{training}
"""
WriteRecipe = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write_recipe(tmp_path: Path) -> WriteRecipe:
    def write(top: str = "", generator: str = "", encoder: str = "", training: str = "") -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(top=top, generator=generator, encoder=encoder, training=training))
        return path

    return write


@pytest.fixture
def recipe(write_recipe: WriteRecipe) -> VmfEncoderRecipe:
    return load_vmf_encoder_recipe(write_recipe())


def weights(recipe: VmfEncoderRecipe) -> dict[str, torch.Tensor]:
    return train(recipe, show_progress=False).model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_before", [1, 2, 3, 5, 9])
def test_a_training_that_was_killed_goes_on_as_if_it_was_not(
    recipe: VmfEncoderRecipe, killed_before: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Within either phase, between them, in a second round, and while it settles."""
    training = dataclasses.replace(recipe.training, rounds=2, settling_steps=2)
    recipe = dataclasses.replace(recipe, training=training)
    straight = weights(recipe)
    monkeypatch.setenv("HUB_MODELS_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(module, "SAVE_SECONDS", -1)
    whole = module._train_step

    def step_until_killed(recipe, step, *rest):
        if step == killed_before:
            raise KilledError
        whole(recipe, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_train_step", step_until_killed)
        with pytest.raises(KilledError):
            weights(recipe)
    seen = []
    monkeypatch.setattr(
        module, "_train_step", lambda r, step, *rest: (seen.append(step), whole(r, step, *rest))
    )
    assert same(weights(recipe), straight)
    assert seen[0] == killed_before


def test_the_two_phases_train_one_network_each(recipe: VmfEncoderRecipe):
    def parts(direction: int, concentration: int) -> dict[str, torch.Tensor]:
        steps = {"direction_steps": direction, "concentration_steps": concentration}
        return weights(dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **steps)))

    first, both = parts(2, 0), parts(2, 2)
    start = parts(0, 1)
    for name in first:
        changed_by_second = not torch.equal(first[name], both[name])
        assert changed_by_second == name.startswith("log_concentration")
    assert any(not torch.equal(first[n], start[n]) for n in first if n.startswith("direction"))


def test_the_learning_rate_halves_within_a_phase_and_falls_to_nothing_at_the_end(recipe: VmfEncoderRecipe):
    training = dataclasses.replace(
        recipe.training, direction_steps=4, concentration_steps=0, settling_steps=4
    )
    recipe = dataclasses.replace(recipe, training=training)
    first, _, last = module._phases(recipe, module._start(recipe))
    assert [first.rate(step) for step in range(4)] == [1, 1, 0.5, 0.5]
    assert [last.rate(step) for step in range(4, 8)] == [0.5, 0.375, 0.25, 0.125]


@pytest.mark.parametrize("loss", ["mc-infonce", "elk", "hib"])
def test_every_loss_trains_both_networks_at_once(recipe: VmfEncoderRecipe, loss: str):
    training = dataclasses.replace(recipe.training, loss=loss, joint=True)
    one = weights(dataclasses.replace(recipe, training=training))
    two = weights(dataclasses.replace(recipe, training=dataclasses.replace(training, direction_steps=3)))
    for network in ("direction", "log_concentration"):
        assert any(not torch.equal(one[n], two[n]) for n in one if n.startswith(network))
        assert all(one[n].isfinite().all() for n in one)


def test_losses_share_process_and_start(recipe: VmfEncoderRecipe):
    still = dataclasses.replace(recipe.training, learning_rate=1e-30)
    made = [
        train(
            dataclasses.replace(recipe, training=dataclasses.replace(still, loss=loss)), show_progress=False
        )
        for loss in ("mc-infonce", "elk")
    ]
    assert same(*(one.generator.state_dict() for one in made))
    assert same(*(one.model.state_dict() for one in made))


def test_other_seed_other_process_and_weights(recipe: VmfEncoderRecipe):
    assert not same(weights(recipe), weights(with_seed(recipe, 1)))


def test_the_loss_is_the_exact_integral_and_its_slope(recipe: VmfEncoderRecipe):
    """One triple on the circle: quadrature over the three angles, and its finite difference in a concentration."""
    kappas, angles = torch.tensor([20.0, 24.0, 18.0], dtype=torch.float64), (0.1, 0.4, 1.0)
    grid = torch.linspace(-torch.pi, torch.pi, 97, dtype=torch.float64)[:-1]

    def exact(kappa: float) -> float:
        concentrations = torch.tensor([kappa, 24.0, 18.0], dtype=torch.float64)
        a, p, n = (
            ((grid - angle).cos() * k - k).exp().unsqueeze(1)
            for angle, k in zip(angles, concentrations, strict=True)
        )
        a, p, n = (density.squeeze(1) / density.sum() for density in (a, p, n))
        similar = 20 * (grid[:, None] - grid[None]).cos()
        share = torch.sigmoid(similar[:, :, None] - similar[:, None, :])
        return -torch.einsum("a,p,n,apn->", a, p, n, share).log().item()

    training = dataclasses.replace(recipe.training, samples=200_000)
    loss = PairLoss(dataclasses.replace(recipe, training=training))
    kappas.requires_grad_()
    directions = [torch.tensor([[torch.tensor(a).cos(), torch.tensor(a).sin()]]) for a in angles]
    anchor, positive = ((d, k.view(1)) for d, k in zip(directions[:2], kappas[:2], strict=True))
    negative = directions[2].unsqueeze(1), kappas[2].view(1, 1)
    value = loss(anchor, positive, negative, torch.Generator().manual_seed(0))
    assert value.item() == pytest.approx(exact(20.0), abs=2e-3)
    value.backward()
    slope = (exact(20.5) - exact(19.5)) / 1.0
    assert kappas.grad[0].item() == pytest.approx(slope, rel=0.1)


def test_the_checkpoint_holds_model_and_process(write_recipe: WriteRecipe, tmp_path: Path):
    folder = tmp_path / "made"
    trained = train_vmf_encoder(write_recipe(), folder, show_progress=False)
    assert open_checkpoint(folder).family.model_type == "vmf_encoder"
    assert same(load_file(folder / WEIGHTS), trained.model.state_dict())
    golden = load_file(folder / GOLDEN)
    assert torch.equal(trained.model(golden["features"]).concentration, golden["concentration"])
    inputs = torch.rand(5, 2)
    for one, other in zip(load_generator(folder)(inputs), trained.generator(inputs), strict=True):
        assert torch.equal(one, other)


def test_a_process_that_is_missing_or_of_another_recipe_is_named(write_recipe: WriteRecipe, tmp_path: Path):
    folder = tmp_path / "made"
    train_vmf_encoder(write_recipe(), folder, show_progress=False)
    (folder / "recipe.toml").write_text(write_recipe(generator="width = 3").read_text())
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: not the process of this recipe"):
        load_generator(folder)
    (folder / "generator.safetensors").unlink()
    with pytest.raises(CheckpointError, match="train the recipe again"):
        load_generator(folder)


@pytest.mark.parametrize("posterior", ["gaussian", "laplace", "injective"])
@pytest.mark.parametrize("dims", [(3, 2), (2, 3)])
def test_dimensions_and_families_need_not_fit(
    recipe: VmfEncoderRecipe, posterior: str, dims: tuple[int, int]
):
    generator = dataclasses.replace(recipe.generator, posterior=posterior, latent_dim=dims[0])
    encoder = dataclasses.replace(recipe.encoder, embedding_dim=dims[1])
    trained = train(dataclasses.replace(recipe, generator=generator, encoder=encoder), show_progress=False)
    output = trained.model(trained.generator.inputs(3))
    assert output.mean_direction.shape == (3, dims[1])
    assert output.concentration.isfinite().all()


def test_one_sample_one_pair(recipe: VmfEncoderRecipe):
    training = dataclasses.replace(recipe.training, samples=1, batch_size=1)
    trained = weights(dataclasses.replace(recipe, training=training))
    assert all(value.isfinite().all() for value in trained.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": 'loss = "l2"'}, "training.loss is 'l2'; choose from mc-infonce, elk, hib"),
        ({"training": 'variant = "mine"'}, "training.variant is 'mine'"),
        ({"training": "negatives = 0"}, "training.negatives is 0; it must be at least 1"),
        ({"training": "learning_rate = 0"}, "learning_rate is 0; it must be above 0"),
        ({"training": "momentum = 1"}, "unknown field 'momentum' in training"),
        ({"generator": 'posterior = "cauchy"'}, "posterior is 'cauchy'"),
        ({"generator": "lowest_concentration = -1"}, "are no range"),
        ({"encoder": "lowest_concentration = 0"}, "encoder.lowest_concentration must be above 0"),
        ({"top": "teacher = 1"}, "unknown field 'teacher'"),
    ],
)
def test_an_impossible_recipe_is_refused(write_recipe: WriteRecipe, change: dict[str, str], message: str):
    path = write_recipe(**change)
    with pytest.raises(RecipeError, match=message) as error:
        load_vmf_encoder_recipe(path)
    assert str(path) in str(error.value)


def test_another_task_and_a_flat_sphere_are_refused(write_recipe: WriteRecipe):
    path = write_recipe()
    text = path.read_text()
    path.write_text(text.replace('"vmf-encoder"', '"image-uncertainty"'))
    with pytest.raises(RecipeError, match="this trainer makes vmf-encoder"):
        load_vmf_encoder_recipe(path)
    path.write_text(text.replace("embedding_dim = 2", "embedding_dim = 1"))
    with pytest.raises(RecipeError, match="embedding_dim is 1; it must be at least 2"):
        load_vmf_encoder_recipe(path)
