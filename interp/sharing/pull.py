"""A working copy of a run on the Hub: a run folder as any other, which says where it comes from."""

import json
import secrets
import shutil
from pathlib import Path

from interp.runs import (
    HubAddress,
    Run,
    as_table,
    downloaded,
    move_folder,
    parse_address,
    write_whole,
)

ORIGIN = "downloaded.json"


def pull(address: str | Path, path: str | Path | None = None) -> Run:
    """Copies a run on the Hub into a folder, to be analysed and changed there.

    Args:
        address: `hf://user/name` or `hf://user/name@revision`.
        path: The folder, missing; `runs/NAME` by default. One that is a copy of the same commit is
            left as it is.

    Raises:
        FileNotFoundError: No such repository or revision, or it holds no run.
        ValueError: The Hub refuses, or the folder is something else.
        OSError: The folder cannot be written.
    """
    source = parse_address(address)
    target = Path("runs") / source.name if path is None else Path(path)
    snapshot = downloaded(source)
    origin = str(HubAddress(source.repository, snapshot.name))
    if target.exists():
        file = target / ORIGIN
        if not file.is_file() or (as_table(file.read_bytes()) or {}).get("source") != origin:
            raise ValueError(
                f"{target} is there already and is no copy of {origin}; choose another folder with "
                "`interp pull --out`"
            )
        return Run(target)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(snapshot, scratch)  # what links point to is copied
        write_whole(scratch / ORIGIN, json.dumps({"source": origin}).encode() + b"\n")
        move_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Run(target)
