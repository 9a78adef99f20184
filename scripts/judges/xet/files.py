"""Writes the files that the Xet judge uploads: files.py FOLDER."""

import random
import struct
import sys
from pathlib import Path

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
chance = random.Random(7)
noise = chance.randbytes(20_000_000)
floats = struct.pack("<3000000f", *(chance.gauss(0, 0.02) for _ in range(3_000_000)))
text = b"".join(b"line %d of a text\n" % i for i in range(400_000))
mixed = noise + floats + text + noise[5_000_000:10_000_000] + bytes(5_000_000)
(folder / "mixed.bin").write_bytes(mixed)
(folder / "one.bin").write_bytes(b"\0")
(folder / "README.md").write_text("---\nlicense: mit\n---\n# Judge\n")
for i in range(20):
    (folder / f"small-{i}.bin").write_bytes(chance.randbytes(1 + 997 * i))
    (folder / f"small-{i}.txt").write_text(f"text {i}\n" * i)
