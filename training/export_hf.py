"""Writes a checkpoint as a transformers model folder: ``python -m training.export_hf RUN OUT``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from .bpe import save_for_transformers, separator_id
from .checkpoint import load_model
from .config import ModelConfig
from .model import Decoder

ATTENTION = {
    "q.weight": "q_proj.weight",
    "k.weight": "k_proj.weight",
    "v.weight": "v_proj.weight",
    "o.weight": "o_proj.weight",
    "q_norm": "q_norm.weight",
    "k_norm": "k_norm.weight",
}


def layer_tensors(state: dict[str, Tensor], layer: int, config: ModelConfig) -> dict[str, Tensor]:
    """Tensors of one decoder layer under their transformers names."""
    ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
    tensors = {
        f"{theirs}.input_layernorm.weight": state[f"{ours}.attn_norm.weight"],
        f"{theirs}.post_attention_layernorm.weight": state[f"{ours}.mlp_norm.weight"],
    }
    for source, target in ATTENTION.items():
        tensors[f"{theirs}.self_attn.{target}"] = state[f"{ours}.attn.{source}"]
    for part in ("gate", "up", "down"):
        if not config.is_moe:
            tensors[f"{theirs}.mlp.{part}_proj.weight"] = state[f"{ours}.mlp.{part}.weight"]
            continue
        for expert, matrix in enumerate(state[f"{ours}.mlp.{part}"]):
            tensors[f"{theirs}.mlp.experts.{expert}.{part}_proj.weight"] = matrix.clone()
    if config.is_moe:
        tensors[f"{theirs}.mlp.gate.weight"] = state[f"{ours}.mlp.router"]
    return tensors


def transformers_config(config: ModelConfig, separator: int) -> dict[str, Any]:
    """Content of ``config.json``; ``separator`` is the id that ends a document."""
    kind = "Qwen3Moe" if config.is_moe else "Qwen3"
    content: dict[str, Any] = {
        "architectures": [f"{kind}ForCausalLM"],
        "model_type": "qwen3_moe" if config.is_moe else "qwen3",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_eps,
        "rope_theta": config.rope_theta,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": separator,
        "torch_dtype": "float32",
    }
    if config.is_moe:
        content |= {
            "num_experts": config.n_experts,
            "num_experts_per_tok": config.n_experts_used,
            "moe_intermediate_size": config.d_ff,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    return content


# The converter takes the licence of a model from here only.
MODEL_CARD = """\
---
license: PSF-2.0
---
Trained on the sources of the Python 3.11 standard library (PSF-2.0 licence).
"""


def export(model: Decoder, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes weights, configuration and tokenizer of ``model`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config, state = model.config, model.state_dict()
    tensors = {
        "model.embed_tokens.weight": state["embed.weight"],
        "model.norm.weight": state["norm.weight"],
    }
    for layer in range(config.n_layers):
        tensors |= layer_tensors(state, layer, config)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    content = transformers_config(config, separator_id(tokenizer))
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "README.md").write_text(MODEL_CARD)
    save_for_transformers(tokenizer, folder, config.context_length)


def largest_difference(model: Decoder, folder: Path, ids: Tensor) -> float:
    """Largest absolute logit difference between ``model`` and transformers on ``ids`` [B, L]."""
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return (model(ids) - reference(ids).logits).abs().max().item()


def main() -> None:
    """Exports the run given on the command line and compares it with transformers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with tokenizer.json")
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.run / "checkpoint.pt")
    tokenizer = Tokenizer.from_file(str(args.corpus / "tokenizer.json"))
    export(model, tokenizer, args.folder)
    ids = torch.randint(
        model.config.vocab_size, (2, 200), generator=torch.Generator().manual_seed(0)
    )
    difference = largest_difference(model, args.folder, ids)
    print(f"largest logit difference to transformers: {difference:.2e}")
    if difference > 1e-3:
        raise SystemExit("the export does not compute the same function")


if __name__ == "__main__":
    main()
