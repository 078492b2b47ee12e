"""Runs the command line in children of a warmed process, and lets mishaps happen to them.

    python -m tests.interp.reliability.mishaps

Reads requests and writes replies, one JSON table a line; tests/interp/conftest.py asks. A child is
forked from a process that has imported everything, so that it costs what its command costs.

What outlives a killed process is what it did to files. So the points at which a child can be killed
are counted in operations: a whole file written, renamed, or a line appended; one that writes is cut
at any byte. A kill at any other moment leaves behind what one of these leaves.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x00020000
files: Any = Path


def strike(request):
    """Ends or stops this process, as asked."""
    os.kill(os.getpid(), signal.SIGSTOP if request.get("stops") else signal.SIGKILL)


def watch(request, done):
    """Notes every operation in `done`, and strikes at the one asked for."""
    import interp.runs.safe_files
    import interp.training.state

    disk: Any = interp.runs.safe_files
    state: Any = interp.training.state
    make, rename, append = disk._make, files.replace, state.append_whole

    def reached(name):
        done.append(name)
        return len(done) - 1 == request.get("operation")

    def part(content):
        return content[: round(request.get("part", 0) * len(content))]

    def make_file(path, content, durable):
        if reached(f"write {disk.TEMPORARY.fullmatch(path.name)['name']}"):
            make(path, part(content), durable)
            strike(request)
            path.unlink()  # it was only stopped, and writes the rest
        make(path, content, durable)

    def replace(path, to):
        if reached(f"rename {to}"):
            strike(request)
        return rename(path, to)

    def append_whole(path, content):
        if reached(f"append {path.name}"):
            append(path, part(content))
            strike(request)
        append(path, content)

    disk._make, files.replace, state.append_whole = make_file, replace, append_whole


def make_read_only(folder):
    """Mounts a folder read-only, for this process alone; whether that is allowed here."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        return False
    mounts = (["--make-rprivate", "/"], ["--bind", folder, folder])
    commands = [*mounts, ["-o", "remount,ro,bind", folder, folder]]
    return all(not subprocess.call(["mount", *each]) for each in commands)


def limit_files(size):
    """Lets no file grow beyond a size, as a full disk would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def child(request, file):
    """Runs the command and writes down how it ended."""
    from interp.cli import commands as cli
    from interp.training import optimizers

    os.chdir(request.get("inside", "."))
    if "read_only" in request and not make_read_only(request["read_only"]):
        file.write_text(json.dumps({"is_forbidden": True}))
        return
    code, updates, done, out, err = 0, [], [], StringIO(), StringIO()
    update = optimizers.torch_update

    def counted(*arguments, **options):
        updates.append(1)
        update(*arguments, **options)

    optimizers.torch_update = counted
    watch(request, done)
    sys.argv = ["interp", *request["arguments"]]
    limit_files(request.get("file_size", resource.RLIM_INFINITY))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
    except SystemExit as stopped:
        code = stopped.code or 0
    limit_files(resource.RLIM_INFINITY)
    told = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    with file.open("w") as opened:
        json.dump(told | {"operations": done, "updates": len(updates)}, opened)


def reply(request, scratch):
    """What became of a child: how its command ended, or the signal that struck it."""
    pid = request.get("go_on")
    if pid:
        os.kill(pid, signal.SIGCONT)
    else:
        pid = os.fork()
    file = scratch / f"{pid or os.getpid()}.json"
    if pid == 0:
        try:
            child(request, file)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return {"stopped": pid}
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return json.loads(file.read_text())


def warm():
    """Imports what commands import late, and draws what they draw."""
    import torch

    import interp.cli.commands
    import interp.cli.progress
    import interp.measure.analyze
    import interp.pages
    import interp.training.loop  # noqa: F401
    from analyses import plots
    from interp.pages import write

    torch.set_num_threads(1)
    blank = {"title": "", "axes": ("", "")}
    plots.lines([0, 1], {"": [0, 1]}, **blank)  # plotly is lazy
    plots.bars([0, 1], {"": [0, 1]}, **blank)
    plots.as_data(plots.heatmap(torch.eye(2).numpy(), unit="", **blank))
    program = write.program_hash()  # of the code that runs here, even if its files change meanwhile
    write.program_hash = lambda: program
    gc.freeze()  # a child's first collection would otherwise copy every page of this process


def main():
    """Answers requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, replies stay alone
    warm()
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            print(json.dumps(reply(json.loads(line), Path(scratch))), file=replies, flush=True)


if __name__ == "__main__":
    main()
