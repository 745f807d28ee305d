"""Granite 3 and 4 dense: Llama with four scale factors; some releases have no positions."""

from zerostall import nn


class Model(nn.Decoder):
    """The factors come with the file."""

    rope_mode = "normal"

    def embed_scale(self) -> float:
        """embedding_multiplier."""
        return self.hp.real("embedding_scale", 0.0) or 1.0

    def residual_scale(self) -> float:
        """residual_multiplier."""
        return self.hp.real("residual_scale", 0.0) or 1.0

    def logit_scale(self) -> float:
        """The file states a divisor."""
        return 1.0 / self.hp.real("logit_scale", low=1e-6)

    def rope_of(self, layer: int) -> int | None:
        """None where rope.scaling.finetuned is false: position_embedding_type is not rope."""
        return self.table if self.hp.flag("rope.scaling.finetuned", True) else None
