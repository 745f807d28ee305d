"""SmolLM 3: Llama without positions on every fourth layer."""

from zerostall.arch import llama


class Model(llama.Model):
    """The converter does not store the pattern; all released models share it."""

    def rope_of(self, layer: int) -> int | None:
        """None on layers 3, 7, 11 and so on."""
        return None if layer % 4 == 3 else self.table
