"""The peers' own formats, made from a transformers checkpoint: CTranslate2 folders and fused ONNX files."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BACKENDS = ("", "mkl", "packed")
"""Libraries of CTranslate2's products: its choice (oneDNN on AMD), Intel's, and Intel's with float32 packed ahead.

For bytes on AMD, Intel's is four to ten times slower, and only its choice is tried."""


def choose_backend(name: str) -> None:
    """Tells CTranslate2, before it is imported, which library to multiply with."""
    if name:
        os.environ["CT2_USE_MKL"] = "1"
    if name == "packed":
        os.environ["CT2_USE_EXPERIMENTAL_PACKED_GEMM"] = "1"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps converters' progress and warnings to themselves."""
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@quiet()
def make_ctranslate2(source: Path, target: Path, end: int = 0) -> None:
    """Converts a checkpoint, in float32; int8 is made of it as it is loaded. Its token 7 is called "7".

    Args:
        source: the checkpoint.
        target: the folder to make.
        end: the token that ends a text.
    """
    from ctranslate2.converters import TransformersConverter

    config = json.loads((source / "config.json").read_text())
    words = {str(index): index for index in range(config["vocab_size"])}
    if config["model_type"] == "marian":  # the converter drops the padding by its name
        words = {("<pad>" if index == config["pad_token_id"] else word): index for word, index in words.items()}
    stand_in = SimpleNamespace(
        get_vocab=lambda: words, bos_token=str(end), eos_token=str(end), unk_token="1", convert_ids_to_tokens=str
    )

    class Converter(TransformersConverter):
        def load_model(self, *given: Any, **options: Any) -> Any:
            model = super().load_model(*given, **options)
            model.config.position_embedding_type = "absolute"  # asked for, and no longer written
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return stand_in

    Converter(str(source)).convert(str(target))


@quiet()
def make_onnx(source: Path, target: Path) -> None:
    """Exports a BERT with onnxruntime's fused operators: ``float32.onnx``, ``int8.onnx``, ``int8-channels.onnx``.

    ``int8`` is what ``quantize_dynamic`` makes when told nothing; ``int8-channels`` has a scale for each output and 7
    bits, which is what its documentation advises for processors whose byte products saturate.
    """
    import onnx
    import torch
    import transformers
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    # the fusions know the graph of eager attention and of the exporter that traces
    model = transformers.BertModel.from_pretrained(source, add_pooling_layer=False, attn_implementation="eager").eval()

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask)[0]

    target.mkdir()
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    torch.onnx.export(
        Encoder(),
        (ids, mask),
        target / "plain.onnx",
        input_names=["ids", "mask"],
        output_names=["states"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in ("ids", "mask", "states")},
        opset_version=18,
        dynamo=False,
    )
    size = model.config
    fused = optimize_model(
        str(target / "plain.onnx"),
        model_type="bert",
        num_heads=size.num_attention_heads,
        hidden_size=size.hidden_size,
    )
    operators = fused.get_fused_operator_statistics()
    assert operators["Attention"] == size.num_hidden_layers, f"the fusions failed: {operators}"
    fused.save_model_to_file(str(target / "float32.onnx"))
    unknown = {"DefaultTensorType": onnx.TensorProto.FLOAT}  # what fused operators yield
    plain, exact = target / "int8.onnx", target / "int8-channels.onnx"
    quantize_dynamic(target / "float32.onnx", plain, extra_options=unknown)
    quantize_dynamic(target / "float32.onnx", exact, per_channel=True, reduce_range=True, extra_options=unknown)
