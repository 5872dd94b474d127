"""Libraries in processes of their own, of which only the one whose turn it is runs.

A library's threads spin for a while after its last work, waiting for more. In one process they
would take a core from whoever comes next; a child that is stopped between its turns cannot.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self, cast

ROOT = Path(__file__).resolve().parent.parent
LEAVE_S = 10.0
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


class Child:
    """A module of ``benchmarks`` that runs in a new process and answers one line with one line."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        self.name = " ".join([module, *arguments, *environment.values()])
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._input = cast("IO[str]", self._process.stdin)
        self._output = cast("IO[str]", self._process.stdout)
        self.ask("ready")

    def ask(self, command: str, *arguments: object) -> Any:
        """Let the child run, have it do one command, and stop it again."""
        self._process.send_signal(signal.SIGCONT)
        try:
            self._input.write(json.dumps([command, *arguments]) + "\n")
            self._input.flush()
            line = self._output.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} ended: {self._tail()}")
        self._process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer["value"]

    def _tail(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-4000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let the child see the end of its input and leave; kill it if it does not."""
        process = self._process
        process.send_signal(signal.SIGCONT)
        self._input.close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._output.close()
        self._errors.close()


def serve(commands: Mapping[str, Callable[..., object]]) -> None:
    """Answer the parent's commands, by name, until it closes the pipe."""
    if sys.platform == "linux":  # a stopped child would outlive a parent that was killed
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # What libraries print goes to the errors: the pipe is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    known = {"ready": bool, **commands}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"value": known[name](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
