"""The model families that this project publishes. A new family adds one entry here."""

from __future__ import annotations

from dataclasses import dataclass

#: ``task`` of our generators: diffusers pipelines, so no family of transformers' classes.
GENERATION = "class-conditional-generation"


@dataclass(frozen=True)
class Family:
    """Where the published classes of one task live, each as ``module.Class`` below ``hub_models``.

    Attributes:
        task: ``task`` in a recipe, and the name of the transformers pipeline where there is one.
        model_type: of the configuration.
        headline: the figure that stands for a model in a list, (task, metric, read-out) of results.jsonl; any task
            where it is "".
        headline_words: what that figure is.
        pipeline: None where transformers' pipelines have nothing to add.
        input_type: ``type`` of the pipeline in transformers' registry.
        whole_image: the input is the whole image, squashed onto a square of ``image_size`` pixels, instead of
            the backbone's own eval transform.
    """

    task: str
    model_type: str
    config: str
    model: str
    headline: tuple[str, str, str]
    headline_words: str
    pipeline: str | None = None
    input_type: str = "image"
    whole_image: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """The published classes that there are."""
        return tuple(filter(None, (self.config, self.model, self.pipeline)))

    @property
    def entry_files(self) -> tuple[str, ...]:
        """The files that transformers opens by name; the rest follows from their imports."""
        return tuple(f"{reference.split('.')[0]}.py" for reference in self.references)


FAMILIES = (
    Family(
        task="image-uncertainty",
        model_type="image_uncertainty",
        config="configuration_image_uncertainty.ImageUncertaintyConfig",
        model="modeling_image_uncertainty.ImageUncertaintyModel",
        headline=("errors-photos@1", "auroc", "error"),
        headline_words="AUROC for mistakes on photos",
        pipeline="pipeline_image_uncertainty.ImageUncertaintyPipeline",
    ),
    Family(
        task="failure-network",
        model_type="failure_network",
        config="configuration_failure_network.FailureNetworkConfig",
        model="modeling_failure_network.FailureNetworkModel",
        headline=("root-causes@1", "top cause right", ""),
        headline_words="top cause right",
    ),
    Family(
        task="probabilistic-embedding",
        model_type="probabilistic_embedding",
        config="configuration_probabilistic_embedding.ProbabilisticEmbeddingConfig",
        model="modeling_probabilistic_embedding.ProbabilisticEmbeddingModel",
        headline=("", "r@1", ""),
        headline_words="nearest image of the same class",
        whole_image=True,
    ),
    Family(
        task="vmf-encoder",
        model_type="vmf_encoder",
        config="configuration_vmf_encoder.VmfEncoderConfig",
        model="modeling_vmf_encoder.VmfEncoderModel",
        headline=("recovery@1", "spearman", "concentration"),
        headline_words="rank correlation of concentration with the truth",
    ),
)
