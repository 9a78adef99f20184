"""Makes the fixtures of this folder with torch.

Usage: pip install -r requirements.txt && python make_fixtures.py
"""

import json
import os
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight  # tied
        self.register_buffer("steps", torch.tensor(3))


def tensors():
    torch.manual_seed(0)
    state = Net().state_dict()  # an OrderedDict with attributes
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state["f32"] = base
    state["transposed"] = base.transpose(0, 2)
    state["permuted"] = base.permute(1, 2, 0)
    state["slice"] = base[1, 1:, ::2]
    state["column"] = base[:, :, 3]
    state["narrow"] = base[1]
    state["scalar"] = torch.tensor(2.5, dtype=torch.float64)
    state["empty"] = torch.zeros(3, 0, 2)
    state["parameter"] = torch.nn.Parameter(torch.ones(2, 2))
    state["transposed.bf16"] = torch.randn(3, 5).bfloat16().T
    state["complex"] = torch.tensor([1 + 2j, 3 - 4j])
    state["bool"] = torch.tensor([[True, False], [True, True]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32,
                  torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
                  torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu):
        state[str(dtype)] = (torch.rand(2, 3) * 100).to(dtype)
    return state


def main():
    state = tensors()
    torch.save(state, HERE / "pytorch_model.bin")
    want = {}
    for name, t in state.items():
        raw = t.detach().contiguous().clone().view(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
        want[name] = {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape), "hex": raw.hex()}
    (HERE / "pytorch_model.json").write_text(json.dumps(want, indent=1) + "\n")

    one = {"a": torch.arange(3)}
    torch.save(one, HERE / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.ones(1).expand(1000, 1000)}, HERE / "expanded.bin")
    torch.save(torch.nn.Linear(1, 1), HERE / "module.bin")
    torch.save({"model": one, "epoch": 3}, HERE / "nested.bin")
    torch.save({"a": torch.tensor([1 + 2j]).conj()}, HERE / "conjugated.bin")
    torch.save(one, HERE / "protocol4.bin", pickle_protocol=4)

    class Evil:
        def __reduce__(self):
            return os.system, ("touch executed",)

    torch.save({"a": Evil()}, HERE / "system.bin")


main()
