from __future__ import annotations

import pytest
import torch

from mood_vae.models.precision import fastest_dtype


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "expected"),
    [(True, True, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_bfloat16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512_bf16: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert fastest_dtype(torch.device("cpu")) == expected


def test_a_gpu_computes_in_float32() -> None:
    assert fastest_dtype(torch.device("cuda")) == torch.float32
