"""gpt-oss: attention sinks, biases on every product, clamped experts, every other layer sliding."""

from zerostall import nn


class Model(nn.Decoder):
    """Biases are told by their tensors; the first layer slides."""

    attention_sinks = True
    ffn_norm = "post_attention_norm"
    activation = "swiglu_oai"

    def __init__(self, builder: nn.Builder) -> None:
        super().__init__(builder)
        self.windows = self.sliding_windows(period=2)

    def ropes(self) -> None:
        """YaRN whose ramp has real ends (config.json: `truncate` false), which no file says.

        llama.cpp rounds them to whole pairs: of the released models' 32 pairs, 8.1 and 17.4 to
        8 and 18.
        """
        rope = nn.Rope.from_file(self.b, self.rotated, self.rope_base, whole_pairs=False)
        self.table = self.rope_table(rope)
