"""Make a plain transformers folder (config, safetensors, tokenizer) of whatever the source holds."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

from alignment_limits.errors import SourceError
from alignment_limits.files import reading, scratch


def convert(fetched: Path, folder: Path, *, trust_remote_code: bool = False) -> str:
    """Write `folder` so that transformers and vLLM load it as is; whole or not at all.

    A GGUF file is de-quantised to float32 once (the result is the quantised model, not the original);
    a folder that is already plain is copied.

    Returns:
        one line saying what was done.

    Raises:
        SourceError: neither a GGUF file nor a folder with config.json and safetensors.
    """
    ggufs = sorted(fetched.glob("*.gguf"))
    plain = (fetched / "config.json").is_file() and any(fetched.glob("*.safetensors"))
    if not plain and len(ggufs) != 1:
        held = ", ".join(sorted(p.name for p in fetched.iterdir())[:10])
        raise SourceError(
            f"the model's source holds neither one GGUF file nor config.json with safetensors, but: {held}; "
            "name the file with `member:`; pickled checkpoints (*.bin) must be converted to safetensors first"
        )
    with scratch(folder) as work:
        ready = work / "ready"
        if plain:
            shutil.copytree(fetched, ready)
            done = "a plain model folder, copied"
        else:
            done = _dequantise(fetched, ggufs[0].name, ready, trust_remote_code)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(ready, folder)
    return done


def _dequantise(fetched: Path, name: str, ready: Path, trust_remote_code: bool) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with reading(fetched / name, SourceError):
        tokenizer = AutoTokenizer.from_pretrained(fetched, gguf_file=name, trust_remote_code=trust_remote_code)
        loaded = AutoModelForCausalLM.from_pretrained(
            fetched, gguf_file=name, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    # transformers refuses to save a model it read from GGUF: the weights move into a fresh one
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(ready)
    tokenizer.save_pretrained(ready)
    return f"{name}, de-quantised to float32"
