"""How is content laid out in a file, and which files are refused?

The file is a safetensors file: arrays, and a header that describes them. The header's metadata
holds one entry, "sklearn_dl": the rest as JSON. Its first key is the SHA-256 of the
whole file, taken with zeros in the place of the digest, so that no bit can change unseen. The
digest tells damage, not forgery: anyone can write one, so reading trusts nothing and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sklearn_dl import __version__
from sklearn_dl.storage.writing import Arrays

__all__ = ["FORMAT", "pack", "read_whole", "unpack", "write_whole"]

#: Raised when files of the new layout mean something else to the old code.
FORMAT = 1
#: The header names the arrays and holds the JSON. A value of it may take 3 bytes there and 60 in
#: Python, so their number is bounded, too: by commas and brackets, which texts may hold as well.
MAX_HEADER, MAX_VALUES = 32 * 2**20, 2**20

_START = rb'{"__metadata__":{"sklearn_dl":"{\"sha256\": \"'
_LENGTH = 8  # bytes of the header's length, before the header
_BLANK = b"0" * 64
_DIGEST = slice(_LENGTH + len(_START), _LENGTH + len(_START) + len(_BLANK))


def write_whole(target: Path, data: bytes) -> None:
    """Write a file whole or not at all, whenever the process dies; its rights stay as they were."""
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with scratch.open("xb") as file:
            if target.exists():
                shutil.copymode(target, scratch)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def read_whole(path: Path) -> bytes:
    """The whole file, but of a foreign one, however large, the beginning alone."""
    with path.open("rb") as file:
        if file.read(_DIGEST.start)[_LENGTH:] != _START:
            raise ValueError(
                "it is no model file of sklearn_dl, or its beginning is damaged; files are written "
                "with sklearn_dl.save_model"
            )
        file.seek(0)
        return file.read()


def pack(content: dict[str, Any], arrays: Arrays) -> bytes:
    """Lay out content that JSON holds, beside its arrays."""
    whole = {
        "sha256": _BLANK.decode(),
        "format": FORMAT,
        "sklearn_dl": __version__,
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
        **content,
    }
    data = bytearray(save(arrays, {"sklearn_dl": json.dumps(whole, allow_nan=False)}))
    if _header_length(data) > MAX_HEADER or _n_values(data) > MAX_VALUES:
        raise ValueError(
            f"all that is no array would take {_header_length(data) / 2**20:.1f} MiB and "
            f"{_n_values(data):,} values; a model file holds {MAX_HEADER / 2**20:.0f} MiB and "
            f"{MAX_VALUES:,}. Do names or categories hold rows?"
        )
    assert data[_LENGTH : _DIGEST.stop] == _START + _BLANK, "safetensors lays its header out anew"
    data[_DIGEST] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def unpack(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """Content and arrays of an undamaged file.

    Raises
    ------
    ValueError
        It is damaged, too large in its header, or of another format.
    """
    digest = hashlib.sha256(data[: _DIGEST.start])
    digest.update(_BLANK)
    digest.update(memoryview(data)[_DIGEST.stop :])
    if data[_DIGEST] != digest.hexdigest().encode():
        raise ValueError("it is damaged: its SHA-256 is not the one it carries. Copy it anew")
    if _header_length(data) > MAX_HEADER:
        raise ValueError(f"its header has {_header_length(data)} bytes, at most {MAX_HEADER} pass")
    if _n_values(data) > MAX_VALUES:
        raise ValueError(
            f"its header holds {_n_values(data):,} values, at most {MAX_VALUES:,} pass"
        )
    content = _content(data)
    if content.get("format") != FORMAT:
        raise ValueError(_other_format(content))
    return content, _arrays(data)


def _header_length(data: bytes | bytearray) -> int:
    return int.from_bytes(data[:_LENGTH], "little")


def _n_values(data: bytes | bytearray) -> int:
    """At least as many as the values of the header."""
    end = _LENGTH + _header_length(data)
    return sum(data.count(mark, _LENGTH, end) for mark in (b",", b"[", b"{"))


def _content(data: bytes) -> dict[str, Any]:
    header = _json(data[_LENGTH : _LENGTH + _header_length(data)])
    content = _json(header["__metadata__"]["sklearn_dl"])
    if not isinstance(content, dict):
        raise ValueError("its JSON is no object")
    return content


def _arrays(data: bytes) -> Arrays:
    try:
        return load(data)
    except (SafetensorError, KeyError, MemoryError) as error:
        raise ValueError(f"its arrays are malformed ({error})") from error


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"its JSON is no text ({error.reason})") from None
    except ValueError as error:
        raise ValueError(f"its JSON is malformed ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key stands twice")
    return unique


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _other_format(content: dict[str, Any]) -> str:
    found = content.get("format")
    if type(found) is int and found > FORMAT:
        return (
            f"it has format {found}, written by sklearn_dl {str(content.get('sklearn_dl'))[:40]}; "
            f"sklearn_dl {__version__} reads format {FORMAT}. Upgrade sklearn_dl"
        )
    return f"it has the format {str(found)[:40]!r}, which never was one"
