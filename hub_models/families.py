"""The model families that this project publishes. A new family adds one entry here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Where the published classes of one task live, each as ``module.Class`` below ``hub_models``.

    Attributes:
        task: the name of the transformers pipeline, and ``task`` in a recipe.
        model_type: of the configuration.
        input_type: ``type`` of the pipeline in transformers' registry.
    """

    task: str
    model_type: str
    config: str
    model: str
    pipeline: str
    input_type: str

    @property
    def entry_files(self) -> tuple[str, ...]:
        """The files that transformers opens by name; the rest follows from their imports."""
        return tuple(
            f"{reference.split('.')[0]}.py" for reference in (self.config, self.model, self.pipeline)
        )


FAMILIES = (
    Family(
        task="image-uncertainty",
        model_type="image_uncertainty",
        config="configuration_image_uncertainty.ImageUncertaintyConfig",
        model="modeling_image_uncertainty.ImageUncertaintyModel",
        pipeline="pipeline_image_uncertainty.ImageUncertaintyPipeline",
        input_type="image",
    ),
)
