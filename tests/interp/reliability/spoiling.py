"""Files spoilt as disks, editors and people spoil them, and a limit on how long a test may take."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random


class Hang(BaseException):
    """Something that did not end."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def end(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def cut(file: Path, random: Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: random.randrange(len(content))])


def flip_bits(file: Path, random: Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 3, 30])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def flip_bits_of_the_head(file: Path, random: Random) -> None:
    content = bytearray(file.read_bytes())
    content[random.randrange(min(400, len(content)))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def overwrite(file: Path, random: Random) -> None:
    content = random.choice([b"", b"\0" * 100, b"PK\x03\x04", b"{}", b"\x80\x02}.", b"[" * 10**5])
    file.write_bytes(content)


def lengthen(file: Path, random: Random) -> None:
    file.write_bytes(file.read_bytes() + random.randbytes(random.choice([1, 1000])))


def replace_by_a_folder(file: Path, random: Random) -> None:
    file.unlink()
    file.mkdir()


def replace_by_a_link(file: Path, random: Random) -> None:
    moved = file.with_name(f"{file.name}.moved")
    file.rename(moved)
    file.symlink_to(random.choice([moved, file, file.parent, file.with_name("nowhere")]))


ON_DISK: dict[str, Callable[[Path, Random], None]] = {
    "cut": cut,
    "flip bits": flip_bits,
    "flip bits of the head": flip_bits_of_the_head,
    "overwrite": overwrite,
    "lengthen": lengthen,
    "replace by a folder": replace_by_a_folder,
    "replace by a link": replace_by_a_link,
}
