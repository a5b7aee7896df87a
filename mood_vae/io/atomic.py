"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mood_vae.errors import OutputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; raises as `write` does."""
    write(path, ".part", lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, that appears whole or not at all; raises as `write` does."""
    write_bytes(path, text.encode())


def write(path: Path, suffix: str, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file, and give it its name once it is whole.

    Args:
        path: The final name.
        suffix: That of the temporary file, for a `fill` that goes by it.
        fill: Writes the file of the path that it is given, and that is not there yet.

    Raises:
        OutputError: The system says that it cannot be written; nothing is left behind then.
    """
    # in the same folder, since a rename is atomic only within one file system; hidden, so nobody lists it
    temporary = path.with_name(f".mood-vae-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        fill(temporary)
        os.replace(temporary, path)
    except OSError as error:
        found = error.strerror or type(error).__name__
        remedy = "check that its folder exists, may be written and has space left"
        raise OutputError(file=path, expected="a file that can be written", found=found, remedy=remedy) from error
    finally:
        with suppress(OSError):  # it is gone, or was never there
            temporary.unlink()
