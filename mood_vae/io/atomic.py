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
    """Write a text file, UTF-8, that appears whole or not at all; raises as `write` does.

    Bytes of a file's name that are not UTF-8 are written as Python spells them, such as `\\udcff`.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write(path: Path, suffix: str, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file, and give it its name once it is whole.

    Args:
        path: The final name.
        suffix: That of the temporary file, for a `fill` that goes by it.
        fill: Writes the file of the path that it is given, and that is not there yet.

    Raises:
        OutputError: The name is that of a folder, a device or a pipe, or the system says that it cannot be written;
            nothing is left behind then.
    """
    # in the same folder, since a rename is atomic only within one file system; hidden, so nobody lists it
    temporary = path.with_name(f".mood-vae-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        if _is_special(path):
            raise OutputError(
                file=path, expected="a regular file, or none yet", found="a folder, device, pipe or the like",
                remedy="name another file",
            )  # fmt: skip
        fill(temporary)
        os.replace(temporary, path)
    except OSError as error:
        found = error.strerror or type(error).__name__
        remedy = "check that its folder exists, may be written and has space left"
        raise OutputError(file=path, expected="a file that can be written", found=found, remedy=remedy) from error
    finally:
        with suppress(OSError):  # it is gone, or was never there
            temporary.unlink()


def _is_special(path: Path) -> bool:
    # /dev/stdout is a link into /proc, and leads to a regular file where that is what the shell made of it
    into_proc = path.is_symlink() and path.readlink().is_relative_to("/proc")
    return into_proc or (path.exists() and not path.is_file())
