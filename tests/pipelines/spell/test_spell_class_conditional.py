from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, UNet2DModel
from PIL import Image

import hub_models.spell.spell_class_conditional as module
from hub_models.spell.spell_class_conditional import SpellClassConditionalPipeline

NAMES = {"0": "zero", "1": "one", "2": "two"}


def make_pipe(channels: int = 1) -> SpellClassConditionalPipeline:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        num_class_embeds=4,
    )
    pipe = SpellClassConditionalPipeline(unet.eval(), FlowMatchEulerDiscreteScheduler(), NAMES)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe() -> SpellClassConditionalPipeline:
    return make_pipe()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(pipe: SpellClassConditionalPipeline, labels: object = (0, 1), **arguments: object) -> torch.Tensor:
    defaults = {"generator": seeded(), "num_inference_steps": 3, "output_type": "latent"}
    return pipe(labels, **(defaults | arguments)).images


def test_equals_euler_steps_by_hand(pipe):
    noise = torch.randn(2, 1, 8, 8, generator=seeded())
    labels, none = torch.tensor([0, 2]), torch.tensor([3, 3])
    pipe.scheduler.set_timesteps(4)
    sigmas, timesteps = pipe.scheduler.sigmas, pipe.scheduler.timesteps
    for scale in (1.0, 2.5):
        x = noise
        with torch.no_grad():
            for i in range(4):
                velocity = pipe.unet(x, timesteps[i], labels).sample
                if scale != 1:
                    without = pipe.unet(x, timesteps[i], none).sample
                    velocity = without + scale * (velocity - without)
                x = x + (sigmas[i + 1] - sigmas[i]) * velocity
        made = sample(pipe, [0, "two"], latents=noise, guidance_scale=scale, num_inference_steps=4)
        assert torch.allclose(made, x, atol=1e-5)


def test_save_and_load_gives_the_same_images(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = SpellClassConditionalPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(sample(loaded, ["one", "null"]), sample(pipe, ["one", "null"]))
    custom = DiffusionPipeline.from_pretrained(
        tmp_path, custom_pipeline=inspect.getfile(module), trust_remote_code=True
    )
    custom.set_progress_bar_config(disable=True)
    assert torch.equal(sample(custom, ["one", "null"]), sample(pipe, ["one", "null"]))


def test_null_label_is_what_guidance_moves_away_from(pipe):
    plain = sample(pipe, ["null"])
    assert torch.allclose(sample(pipe, ["null"], guidance_scale=3.0), plain, atol=1e-5)
    assert torch.allclose(sample(pipe, [1], guidance_scale=0.0), plain, atol=1e-5)


def test_single_label_by_name_or_number(pipe):
    assert torch.equal(sample(pipe, "two"), sample(pipe, 2))
    assert sample(pipe, 2).shape == (1, 1, 8, 8)


def test_output_types_agree():
    for channels in (1, 3):
        pipe = make_pipe(channels)
        latents = sample(pipe)
        tensor = sample(pipe, output_type="pt")
        assert torch.allclose(tensor, (latents / 2 + 0.5).clamp(0, 1))
        array = sample(pipe, output_type="np")
        assert array.shape == (2, 8, 8, channels)
        assert np.allclose(array, tensor.permute(0, 2, 3, 1).numpy())
        images = sample(pipe, output_type="pil")
        assert all(isinstance(image, Image.Image) for image in images)
        assert np.allclose(np.asarray(images[0]) / 255, array[0].squeeze(), atol=1 / 255)
        assert isinstance(pipe([0], num_inference_steps=1, return_dict=False), tuple)


def test_batch_equals_singles(pipe):
    noises = torch.randn(3, 1, 8, 8, generator=seeded())
    together = sample(pipe, [0, 1, 2], latents=noises, guidance_scale=2.0)
    for i in range(3):
        single = sample(pipe, [i], latents=noises[i : i + 1], guidance_scale=2.0)
        assert torch.allclose(single[0], together[i], atol=1e-5)


def test_callback_sees_and_changes_latents(pipe):
    seen = []

    def callback(given, step, timestep, tensors):
        seen.append((step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    assert sample(pipe, callback_on_step_end=callback).abs().max() == 0
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[0][1] > seen[2][1]


def test_callback_switches_guidance_off(pipe):
    def callback(given, step, timestep, tensors):
        assert given.guidance_scale == 3.0
        given._guidance_scale = 1.0
        return {}

    one_step = sample(pipe, guidance_scale=3.0, num_inference_steps=1, callback_on_step_end=callback)
    assert pipe.guidance_scale == 1.0
    assert torch.equal(one_step, sample(pipe, guidance_scale=3.0, num_inference_steps=1))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"labels": ["four"]}, "four"),
        ({"labels": [4]}, "4"),
        ({"labels": [-1]}, "-1"),
        ({"output_type": "jpeg"}, "jpeg"),
        ({"latents": torch.zeros(2, 3, 8, 8)}, "shape"),
        ({"latents": torch.zeros(1, 1, 8, 8)}, "shape"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, "prompt_embeds"),
    ],
)
def test_impossible_requests_are_named(pipe, arguments, named):
    with pytest.raises(ValueError, match=named):
        sample(pipe, **arguments)


def test_bfloat16(pipe):
    images = sample(pipe.to(torch.bfloat16))
    assert images.dtype == torch.bfloat16
    assert images.isfinite().all()
