"""Networks as ONNX."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

OPSET = 17


def to_onnx(
    model: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    free_axes: Mapping[int, str] | None = None,
) -> bytes:
    """Return a network as ONNX, with inputs named as in the example and a free batch size.

    `free_axes` names more axes of the inputs that may have any size.
    """
    buffer = io.BytesIO()
    axes = {name: {0: "n", **(free_axes or {})} for name in example}
    torch.onnx.export(
        model.eval().cpu(),
        tuple(example.values()),
        buffer,  # type: ignore[arg-type]  # the stubs know paths only
        dynamo=False,
        opset_version=OPSET,
        input_names=list(example),
        output_names=list(outputs),
        dynamic_axes={**axes, **{name: {0: "n"} for name in outputs}},
    )
    return buffer.getvalue()
