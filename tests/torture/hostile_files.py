"""Makers of damaged, hostile and future files, for the part ``files``.

DAMAGES change the bytes of a file, which is then refused or loads unchanged. CHANGES change the entries of a model
file, whose checksum ``with_entries`` makes right again: it may load as another model. ``foreign`` makes files that are
no models.
"""

import copy
import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from saved_models import FRAME, LABELS, MODELS, NUMBERS, OTHERS, TABLE, TENSORS, X, places, put, read_entries
from saved_models import write_entries as write

VERSIONS = Path(__file__).parents[1] / "io" / "versions" / "0.1.0"
HUGE = [2**31, 2**40, 2**62, 2**63, 2**64, 10**30, -1]
BOMB_BYTES = 2**28  # of zeros in compressed files


class Bomb:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, folder):
        self.target = str(folder / "executed")

    def __reduce__(self):
        return os.mkdir, (self.target,)


def truncated(rng, content):
    return content[: rng.randint(len(content))]


def flipped(rng, content):
    content = bytearray(content)
    for place in rng.randint(len(content), size=rng.randint(1, 9)):
        content[place] ^= 1 << rng.randint(8)
    return bytes(content)


def overwritten(rng, content):
    start, length = rng.randint(len(content)), rng.randint(1, 200)
    return content[:start] + rng.bytes(length) + content[start + length :]


def shifted(rng, content):
    start, length = rng.randint(len(content)), rng.randint(1, 200)
    return content[:start] + (content[start + length :] if rng.randint(2) else rng.bytes(length) + content[start:])


DAMAGES = truncated, flipped, overwritten, shifted


def damaged(rng, content):
    return DAMAGES[rng.randint(len(DAMAGES))](rng, content)


def claims(rng, content):
    """Huge sizes in the header of safetensors."""
    length = int.from_bytes(content[:8], "little")
    if not rng.randint(4):
        return int(rng.choice([2**20, 2**31, 2**62])).to_bytes(8, "little") + content[8:]
    header = json.loads(content[8 : 8 + length])
    name = rng.choice([name for name in header if name != "__metadata__"])
    size = HUGE[rng.randint(len(HUGE))]
    entry = header[name]
    what = rng.randint(4)
    if what == 0:
        entry["shape"] = [size]
    elif what == 1:
        entry["data_offsets"] = [0, size]
    elif what == 2:
        entry["shape"], entry["data_offsets"] = [size, 2], [0, size * 8]
    else:
        entry["dtype"] = str(rng.choice(["F64", "BF16", "U8", "C64", "F8_E4M3", "OBJECT"]))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def with_entries(rng, name, change, folder):
    """The file of a model after ``change(rng, header, tensors)``, with the right checksum."""
    header, tensors = read_entries(VERSIONS / f"{name}.fastmlp")
    tensors = tensors | TENSORS
    header = change(rng, copy.deepcopy(header), tensors)
    write(folder / "model.fastmlp", header, tensors)
    return folder / "model.fastmlp"


def any_place(rng, header):
    found = list(places(header["state"], ("state",)))
    return found[rng.randint(len(found))]


def other_value(rng, header, tensors):
    put(header, any_place(rng, header), OTHERS[rng.randint(len(OTHERS))])
    return header


def huge_value(rng, header, tensors):
    """A huge number in place of one."""

    def value(place):
        node = header
        for key in place:
            node = node[key]
        return node

    numbers = [place for place in places(header["state"], ("state",)) if type(value(place)) in (int, float)]
    if numbers:
        put(header, numbers[rng.randint(len(numbers))], HUGE[rng.randint(len(HUGE))])
    return header


def without_entry(rng, header, tensors):
    place = any_place(rng, header)
    node = header
    for key in place[:-1]:
        node = node[key]
    del node[place[-1]]
    return header


def other_tensor(rng, header, tensors):
    name = list(tensors)[rng.randint(len(tensors))]
    old, what = tensors[name], rng.randint(4)
    if what == 0:
        tensors[name] = old.astype(rng.choice(["f4", "f8", "i8", "u1"]))
    elif what == 1:
        tensors[name] = np.repeat(old.ravel(), 2)[: rng.randint(1, 2 * old.size + 2)]
    elif what == 2:
        tensors[name] = np.zeros((0, 3), old.dtype)
    else:
        tensors[name] = np.full(old.shape, rng.choice([1e30, 2**31, 255]), "f8").astype(old.dtype)
    return header


def future(rng, header, tensors):
    what = rng.randint(4)
    if what == 0:
        header["version"] = [2, 99, "1", None, True, 1.0, [1]][rng.randint(7)]
    elif what == 1:
        header["kind"] = ["Transformer", "os.system", None, ["MLP"]][rng.randint(4)]
    elif what == 2:
        put(header, any_place(rng, header), {"quaternion": [1, 2]})
    else:
        put(header, any_place(rng, header), {"settings": {"tuple": []}, "class": "Convolution"})
    return header


def nested(rng, header, tensors):
    depth = rng.randint(10**4, 10**6)
    return "[" * depth + "]" * depth


CHANGES = other_value, other_value, other_value, huge_value, without_entry, other_tensor, future, nested


def compressed_bomb(name):
    """A zip file of zeros under a name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as entry:
        for _ in range(BOMB_BYTES >> 20):
            entry.write(bytes(2**20))
    return file.getvalue()


def npy_bomb(shape):
    """The header of an array file that claims a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


def npz_of(X, y):
    """An NPZ file; arrays of objects are pickled, and arrays given as bytes are entries as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in (("X", X), ("y", y)):
            if not isinstance(array, bytes):
                entry = io.BytesIO()
                np.save(entry, array, allow_pickle=True)
                array = entry.getvalue()
            archive.writestr(f"{name}.npy", array)
    return file.getvalue()


def foreign(rng, folder):
    """The content of a file that is no model at all."""
    bombs = np.array([Bomb(folder), None], object)
    makers = [
        lambda: pickle.dumps(Bomb(folder), protocol=rng.randint(6)),
        lambda: gzip.compress(pickle.dumps(Bomb(folder))),
        lambda: gzip.compress(bytes(BOMB_BYTES), 1),
        lambda: compressed_bomb("model.fastmlp"),
        lambda: npz_of(bombs, NUMBERS),
        lambda: rng.bytes(rng.randint(4096)),
        lambda: bytes(rng.randint(4096)),
        lambda: b"",
    ]
    return makers[rng.choice(len(makers), p=[0.3, 0.1, 0.02, 0.02, 0.2, 0.2, 0.1, 0.06])]()


def tables():
    """{suffix: content} of sound tables with the target ``y``."""
    frame = TABLE.assign(y=NUMBERS)
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    text = frame.to_csv(index=False).encode()
    return {".csv": text, ".csv.gz": gzip.compress(text), ".parquet": parquet.getvalue(), ".npz": npz_of(X, NUMBERS)}


def hostile_table(rng, folder):
    """(suffix, content)"""
    rows = "".join(f"{i},{'ab'[i % 2]},{i * 0.5}\n" for i in range(60))
    bombs = np.array([[Bomb(folder), 1.0]] * 40, object)
    parquet = tables()[".parquet"]
    makers = [
        lambda: (".csv", b"a,b,y\n" + rows.encode().replace(b"7", rng.bytes(3))),
        lambda: (".csv", f"a,b,y\n{rows}".encode(str(rng.choice(["utf-16", "utf-32", "utf-16-le"])))),
        lambda: (".csv", b"a,b,y\n" + b'"' * rng.randint(1, 5) + rows.encode()),
        lambda: (".csv", ("a,b,y\n" + rows + "1,2,3,4,5\n" * rng.randint(1, 4)).encode()),
        lambda: (".csv", (",".join(f"c{i}" for i in range(3000)) + ",y\n").encode()),
        lambda: (".csv", b"a,b,y\n" + b"1" * 10**6 + b",x,1\n" + rows.encode()),
        lambda: (".csv", ("a,a,y\n" + rows).encode()),
        lambda: (".csv", ("a,b,y\n" + rows.replace(",0.5", ",1e999").replace(",2.5", ",inf")).encode()),
        lambda: (".csv", ("=cmd|' /C calc'!A0,b,y\n" + rows).encode()),
        lambda: (".csv.gz", gzip.compress(bytes(BOMB_BYTES >> 4), 1)),
        lambda: (".npz", npz_of(bombs, NUMBERS)),
        lambda: (".npz", npz_of(X, np.array([Bomb(folder)] * 40, object))),
        lambda: (".npz", npz_of(npy_bomb((2 ** rng.randint(30, 62), 3)), NUMBERS)),
        lambda: (".npz", npz_of(X, X)),
        lambda: (".parquet", parquet[:-8] + int(rng.choice([2**31 - 1, 0, 7])).to_bytes(4, "little") + b"PAR1"),
        lambda: (str(rng.choice([".csv", ".csv.gz", ".parquet", ".npz"])), foreign(rng, folder)),
    ]
    return makers[rng.randint(len(makers))]()


def damaged_table(rng, folder):
    """(suffix, content)"""
    suffix, content = list(tables().items())[rng.randint(4)]
    return suffix, damaged(rng, content)


TABLE_MODELS = {"table_estimator": TABLE.assign(kind=LABELS), "table_model": FRAME.assign(kind=LABELS)}
NAMES = list(MODELS)
EMPTY = pd.DataFrame()
