"""Making one tiny model: random weights, a tokenizer, and the peer's converter to GGUF.

Needs torch, transformers, and LLAMA_CPP naming a llama.cpp source folder (its converter is used
as a library; its recognition of known tokenizers is replaced, for ours is none of them).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from tests.golden.spec import Prompt, Spec

_TEXT = "the model reads a prompt and writes what comes next, one token after another " * 3


def make_model(spec: Spec, seed: int) -> Any:
    """A transformers model with weights large enough that every part shows in the logits."""
    config = getattr(transformers, spec.config)(
        **spec.arguments,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        attn_implementation="eager",
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    generator = torch.Generator().manual_seed(seed)
    shifted = spec.architecture.startswith("gemma")  # its norms multiply by 1 + weight
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1 and "norm" in name:
                weight.copy_(0.3 * noise + (0.0 if shifted else 1.0))
            elif weight.ndim == 1:
                weight.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                weight.copy_(0.5 * noise)
            else:
                weight.copy_(1.3 * weight.shape[-1] ** -0.5 * noise)
            for end, factor in spec.scales.items():
                if name.endswith(end):
                    weight.mul_(factor)
            weight.copy_(_coarse(weight))
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
    return model


def _coarse(weight: torch.Tensor) -> torch.Tensor:
    """Four significant bits: random enough, and git packs the files to a quarter."""
    mantissa, exponent = torch.frexp(weight)
    return torch.ldexp(torch.round(mantissa * 16.0) / 16.0, exponent)


def prompt_ids(spec: Spec, prompt: Prompt, seed: int) -> np.ndarray:
    """Seeded token ids over the whole vocabulary, int32."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, spec.arguments["vocab_size"], prompt.tokens, dtype=np.int32)


def reference_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    """float32 [tokens, vocabulary] by transformers on one thread."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        out = model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False)
    return out.logits[0].float().numpy()


def save_gguf(model: Any, spec: Spec, folder: Path, out: Path) -> None:
    """Save in transformers' format in `folder`, then convert to an F32 GGUF at `out`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    _save_tokenizer(spec.arguments["vocab_size"], folder)
    _convert(spec, folder, out)


def _save_tokenizer(vocab_size: int, folder: Path) -> None:
    bpe = ByteLevelBPETokenizer()
    special = ["<|begin|>", "<|end|>"]
    bpe.train_from_iterator([_TEXT], vocab_size - 4, min_frequency=1, special_tokens=special)
    bpe.add_special_tokens([f"<|unused{i}|>" for i in range(vocab_size - bpe.get_vocab_size())])
    assert bpe.get_vocab_size() == vocab_size
    bpe.save(str(folder / "tokenizer.json"))


def _vocabulary(folder: Path, kinds: Any) -> tuple[list[str], list[int], str]:
    stored = json.loads((folder / "tokenizer.json").read_text())
    special = {token["id"] for token in stored["added_tokens"]}
    ids = {**stored["model"]["vocab"], **{t["content"]: t["id"] for t in stored["added_tokens"]}}
    tokens = sorted(ids, key=lambda token: ids[token])
    types = [kinds.CONTROL if i in special else kinds.NORMAL for i in range(len(tokens))]
    return tokens, types, "gpt-2"


def _convert(spec: Spec, folder: Path, out: Path) -> None:
    root = Path(os.environ["LLAMA_CPP"])
    for path in (root, root / "gguf-py"):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    import gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from conversion.base import TextModel

    logging.disable(logging.WARNING)
    hparams = ModelBase.load_hparams(folder, False)
    found = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    TextModel.get_vocab_base = lambda self: _vocabulary(folder, gguf.TokenType)
    original = found.set_vocab
    found.set_vocab = TextModel._set_vocab_gpt2
    try:
        with torch.inference_mode():
            found(
                folder, gguf.LlamaFileType.ALL_F32, out, fuse_qkv=spec.fuse, model_name="tiny"
            ).write()
    finally:
        found.set_vocab = original
        logging.disable(logging.NOTSET)
