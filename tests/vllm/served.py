"""A vLLM server on loopback, from the environment that ``make vllm-env`` sets up; and that environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-vllm"
NAME = "eyes"
PATIENCE = 900.0
"""Seconds until a server must answer: half a minute on an idle machine."""
LONG = 1800
"""Seconds that a test may take: the first one waits for the model and the server."""


def missing() -> str:
    """Why no server can be started, as a sentence; "" if one can."""
    if (ENVIRONMENT / ".ready").is_file():
        return ""
    return f"There is no vLLM: `make vllm-env` sets up {ENVIRONMENT.name} (2.5 GB, a few minutes)."


@dataclass(frozen=True)
class Served:
    """A running server: its address, its process, and the file that its words go to."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End the server and all that it started; at once if it does not go by itself."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, sign)
            try:
                self.process.wait(20)
                return
            except subprocess.TimeoutExpired:
                continue

    def words(self, last: int = 2000) -> str:
        """The end of what it wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-last:]


@contextmanager
def serving(model: Path, log: Path) -> Iterator[Served]:
    """A server of a folder's model under the name `NAME`, up to two images a message, in float32."""
    port = _free_port()
    command = [
        *(str(ENVIRONMENT / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "4"),
        *("--kv-cache-memory-bytes", "64M", "--skip-mm-profiling"),
        *("--limit-mm-per-prompt", '{"image":2,"video":0}'),
        *("--structured-outputs-config", '{"backend":"xgrammar","disable_any_whitespace":true}'),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=_surroundings(), start_new_session=True)
    served = Served(f"http://127.0.0.1:{port}/v1", process, log)
    try:
        _wait(served, f"http://127.0.0.1:{port}/health")
        yield served
    finally:
        served.stop()


def _surroundings() -> dict[str, str]:
    own = {
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: half the memory
    }
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own


def _wait(served: Served, health: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {served.process.returncode}:\n{served.words()}")
        try:
            if httpx.get(health, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"vLLM did not answer within {PATIENCE:.0f} s:\n{served.words()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
