"""Makes the fixtures of this folder with the reference implementation.

Usage: pip install -r requirements.txt && python make_fixtures.py
"""

import base64
import ctypes
import json
import pathlib
import shutil
import struct

import safetensors
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent

# Name in Python, bytes per element of the array that Python passes.
PYTHON_DTYPES = [
    ("bool", 1), ("int8", 1), ("uint8", 1), ("int16", 2), ("uint16", 2), ("int32", 4), ("uint32", 4),
    ("int64", 8), ("uint64", 8), ("float16", 2), ("bfloat16", 2), ("float32", 4), ("float64", 8),
    ("float8_e4m3fn", 1), ("float8_e4m3fnuz", 1), ("float8_e5m2", 1), ("float8_e5m2fnuz", 1),
    ("float8_e8m0fnu", 1), ("float4_e2m1fn_x2", 1), ("complex64", 8),
]


def counted(n, start=0):
    return bytes((start + i) % 251 for i in range(n))


KEPT = []  # the reference is given addresses: what they point to must stay


def tensor(dtype, shape, data):
    buffer = ctypes.create_string_buffer(data, max(1, len(data)))
    KEPT.append(buffer)
    return safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffer), data_len=len(data))


def golden():
    """Files whose bytes our writer must reproduce."""
    every = {}
    for i, (dtype, size) in enumerate(PYTHON_DTYPES):
        data = bytes([0, 1, 1, 0, 1, 0]) if dtype == "bool" else counted(6 * size, i)
        every["t." + dtype] = tensor(dtype, [2, 3], data)
    safetensors.serialize_file(every, HERE / "every_dtype.safetensors", metadata={"format": "pt"})

    names = ["b", "a", "a.10", "a.9", "", 'quote " slash \\ /', "tab\tnewline\nbell\x07del\x7f", "ünïcode 日本 😀",
             "html <&> \u2028", "Z"]
    odd = {name: tensor("float32", [i], counted(4 * i, i)) for i, name in enumerate(names)}
    odd["scalar"] = tensor("float64", [], counted(8))
    odd["empty"] = tensor("int64", [3, 0, 5], b"")
    safetensors.serialize_file(odd, HERE / "odd_names.safetensors", metadata={'k"\n': "vé\x01"})

    safetensors.serialize_file({}, HERE / "nothing.safetensors", metadata=None)
    # With no tensor at all the reference writes a file here that it cannot read.
    safetensors.serialize_file({"t": tensor("int8", [3], counted(3))}, HERE / "empty_metadata.safetensors", metadata={})

    torch.manual_seed(0)
    layers = {
        "backbone.embeddings.weight": torch.randn(7, 4),
        "backbone.layers.0.mixer.A_log": torch.randn(4, 2).double(),
        "backbone.layers.0.mixer.conv1d.weight": torch.randn(4, 1, 3).bfloat16(),
        "backbone.layers.0.mixer.dt_proj.bias": torch.randn(4).half(),
        "mask": torch.tensor([True, False, True]),
        "position": torch.arange(5),
    }
    save_file(layers, HERE / "torch.safetensors", metadata={"format": "pt"})

    shutil.rmtree(HERE / "sharded", ignore_errors=True)
    (HERE / "sharded").mkdir()
    state = {f"layer.{i}.weight": torch.full((4, 8), float(i)) for i in range(3)} | {"é": torch.ones(3)}
    save_torch_state_dict(state, HERE / "sharded", max_shard_size=300)


def file(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(dtype="I32", shape="[2,2]", offsets="[0,16]", more=""):
    return '{"test":{"dtype":"%s","shape":%s,"data_offsets":%s%s}}' % (dtype, shape, offsets, more)


def two(a, b, shape="[2]"):
    form = '"%s":{"dtype":"I32","shape":' + shape + ',"data_offsets":%s}'
    return "{" + form % ("a", a) + "," + form % ("b", b) + "}"


def verdicts():
    """Files, good and bad, with what the reference says of each."""
    z = bytes
    good = one()
    cases = {
        "no bytes": b"",
        "seven bytes": z(7),
        "length only": struct.pack("<Q", 60),
        "length zero": struct.pack("<Q", 0),
        "length over the cap": file(good, z(16), 100_000_001),
        "length of 2^63": file(good, z(16), 1 << 63),
        "length of 2^64-1": file(good, z(16), (1 << 64) - 1),
        "length over the file": file(good, z(16), len(good) + 17),
        "length into the data": file(good, z(16), len(good) + 1),
        "not utf-8": file(b"\xff"),
        "not utf-8 in a name": file(good.encode().replace(b"test", b"te\xc3("), z(16)),
        "surrogate as utf-8": file(good.encode().replace(b"test", b"\xed\xa0\x80"), z(16)),
        "lone surrogate escape": file(good.replace("test", "\\ud800"), z(16)),
        "surrogate pair escape": file(good.replace("test", "\\ud83d\\ude00"), z(16)),
        "control character in a name": file(good.replace("test", "te\nst"), z(16)),
        "byte order mark": file("\ufeff" + good, z(16)),
        "open object": file("{"),
        "array": file("[]"),
        "string": file('"a"'),
        "null": file("null"),
        "two objects": file("{}{}"),
        "comma at the end": file(good[:-1] + ",}", z(16)),
        "comment": file("{}//"),
        "single quotes": file("{'a':1}"),
        "deep unknown value": file(one(more=',"x":' + "[" * 10_100 + "]" * 10_100), z(16)),
        "blanks behind": file("{}\r \t\n"),
        "blanks before": file("\t\n{}\r "),
        "nul behind": file("{}\0\0"),
        "no tensors": file("{}"),
        "no tensors but data": file("{}", z(1)),
        "good": file(good, z(16)),
        "unknown key": file(one(more=',"x":[1,{"y":null}]'), z(16)),
        "no dtype": file('{"test":{"shape":[2,2],"data_offsets":[0,16]}}', z(16)),
        "no shape": file('{"test":{"dtype":"I32","data_offsets":[0,16]}}', z(16)),
        "no offsets": file('{"test":{"dtype":"I32","shape":[2,2]}}', z(16)),
        "tensor is null": file('{"test":null}'),
        "tensor is a number": file('{"test":1}'),
        "dtype unknown": file(one("F31"), z(16)),
        "dtype lower case": file(one("i32"), z(16)),
        "dtype empty": file(one(""), z(16)),
        "dtype number": file(good.replace('"I32"', "32"), z(16)),
        "shape null": file(one(shape="null"), z(16)),
        "shape number": file(one(shape="4"), z(16)),
        "shape of strings": file(one(shape='["2","2"]'), z(16)),
        "shape nested": file(one(shape="[[2,2]]"), z(16)),
        "shape negative": file(one(shape="[-2,-2]"), z(16)),
        "shape minus zero": file(one(shape="[-0]", offsets="[0,0]")),
        "shape point": file(one(shape="[4.0]"), z(16)),
        "shape exponent": file(one(shape="[4e0]"), z(16)),
        "shape leading zero": file(one(shape="[04]"), z(16)),
        "shape true": file(one(shape="[true,4]"), z(16)),
        "shape over 2^64": file(one(shape="[18446744073709551616]"), z(16)),
        "shape over 2^53": file(one(shape="[9007199254740993,0]", offsets="[0,0]")),
        "offsets of one": file(one(offsets="[16]"), z(16)),
        "offsets of three": file(one(offsets="[0,16,16]"), z(16)),
        "offsets negative": file(one(offsets="[-16,0]"), z(16)),
        "offsets point": file(one(offsets="[0.0,16.0]"), z(16)),
        "offsets null": file(one(offsets="null"), z(16)),
        "reversed": file(two("[0,8]", "[16,8]"), z(16)),
        "reversed alone": file(one(offsets="[16,0]"), z(16)),
        "overlap": file(two("[0,8]", "[4,12]"), z(12)),
        "same bytes": file(two("[0,8]", "[0,8]"), z(8)),
        "hole": file(two("[0,8]", "[12,20]"), z(20)),
        "hole at the start": file(one(offsets="[4,20]"), z(20)),
        "order of the data is not that of the names": file(two("[8,16]", "[0,8]"), z(16)),
        "product overflows": file(one(shape="[2,18446744073709551614]"), z(16)),
        "bytes overflow": file(one(shape="[2,9223372036854775807]"), z(16)),
        "product overflows before a zero": file(one(shape="[4294967296,4294967296,0]", offsets="[0,0]")),
        "zero before what would overflow": file(one(shape="[0,4294967296,4294967296]", offsets="[0,0]")),
        "zero size": file(one(shape="[2,0]", offsets="[0,0]")),
        "two of zero size": file(two("[0,0]", "[0,0]", "[0]")),
        "scalar": file(one(shape="[]", offsets="[0,4]"), z(4)),
        "scalar without bytes": file(one(shape="[]", offsets="[0,0]")),
        "too few bytes for the shape": file(one(offsets="[0,4]"), z(4)),
        "too many bytes for the shape": file(one(offsets="[0,20]"), z(20)),
        "cut short": file(good, z(14)),
        "bytes behind": file(good, z(16) + b"extra"),
        "F4 whole": file(one("F4", "[2,3]", "[0,3]"), z(3)),
        "F4 half a byte": file(one("F4", "[3]", "[0,2]"), z(2)),
        "F6_E2M3 whole": file(one("F6_E2M3", "[4]", "[0,3]"), z(3)),
        "F6_E3M2 whole": file(one("F6_E3M2", "[8]", "[0,6]"), z(6)),
        "F6_E3M2 part of a byte": file(one("F6_E3M2", "[3]", "[0,3]"), z(3)),
        "metadata": file('{"__metadata__":{"a":"b"}}'),
        "metadata behind": file(good[:-1] + ',"__metadata__":{}}', z(16)),
        "metadata null": file('{"__metadata__":null}'),
        "metadata number": file('{"__metadata__":{"a":1}}'),
        "metadata nested": file('{"__metadata__":{"a":{}}}'),
        "metadata list": file('{"__metadata__":[]}'),
        "same dtype key twice": file(one(more=',"dtype":"I32"'), z(16)),
        "same metadata twice": file('{"__metadata__":{},"__metadata__":{}}'),
        "same tensor twice": file(two("[0,8]", "[0,8]").replace('"b"', '"a"'), z(8)),
        "same tensor twice, escaped": file(two("[0,8]", "[0,8]").replace('"b"', '"\\u0061"'), z(8)),
        "same metadata key twice": file('{"__metadata__":{"a":"1","a":"2"}}'),
        "same unknown key twice": file(one(more=',"x":1,"x":2'), z(16)),
        "tensor as array": file('{"test":["I32",[2,2],[0,16]]}', z(16)),
        "dtype as object": file(good.replace('"I32"', '{"I32":null}'), z(16)),
        "dimension over 2^63": file(one(shape="[0,18446744073709551615]", offsets="[0,0]")),
    }
    out = []
    for name, raw in cases.items():
        try:
            safetensors.deserialize(raw)
            error = ""
        except Exception as e:
            error = str(e)
        out.append({"name": name, "file": base64.b64encode(raw).decode(), "error": error[:200]})
    (HERE / "verdicts.json").write_text(json.dumps(out, indent=1) + "\n")


golden()
verdicts()
