"""A TCP proxy before PostgreSQL or Redis that misbehaves on command: refuses, resets, goes silent, dawdles, or cuts in mid-frame.

A process of its own, so that it keeps its time while the harness is busy: `python -m benchmarks.faults.proxy UNIX_SOCKET` prints its port
and obeys lines on its standard input: `pass`, `refuse`, `reset`, `silence`, `delay SECONDS`, `cut BYTES`. It ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
from pathlib import Path

READ_BYTES = 65_536
NO_LINGER = struct.pack("ii", 1, 0)


class Faulty:
    """Connections in both directions, and the mood that decides what becomes of them."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.mood, self.amount = "pass", 0.0
        self.changed = asyncio.Event()
        self.pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.server: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def obey(self, line: str) -> None:
        """Change the mood. What is open now is reset by `refuse` and `reset`; the other moods take hold of it as it is."""
        word, _, amount = line.partition(" ")
        self.mood, self.amount = word, float(amount or 0)
        self.changed.set()
        self.changed = asyncio.Event()
        if word == "refuse":
            if self.server is not None:
                self.server.close()
                self.server = None
        elif self.server is None:
            await self.listen()
        if word in ("refuse", "reset"):
            for pair in list(self.pairs):
                _reset(*pair)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood == "reset":
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
        except OSError:
            # As a server that is down looks from here.
            _reset(writer)
            return
        pair = (writer, up_writer)
        self.pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, up_writer, pair), self._pump(up_reader, writer, pair))
        finally:
            self.pairs.discard(pair)
            for each in pair:
                each.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                while self.mood == "silence":
                    await self.changed.wait()
                if self.mood == "delay":
                    await asyncio.sleep(self.amount)
                if self.mood == "cut":
                    writer.write(data[: int(self.amount)])
                    await writer.drain()
                    _reset(*pair)
                    return
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()


def _reset(*writers: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN: what a crash or a firewall looks like."""
    for writer in writers:
        transport = writer.transport
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        transport.abort()


async def serve(upstream: str) -> None:
    proxy = Faulty(upstream)
    await proxy.listen()
    print(proxy.port, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        await proxy.obey(line.decode().strip())
        print("done", flush=True)


class Proxy:
    """The proxy's process, from the harness. Use as a context manager."""

    def __init__(self, upstream: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.faults.proxy", str(upstream)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        self.port = int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise RuntimeError("The proxy ended.")
        return line

    def obey(self, line: str) -> None:
        """Returns when the proxy has changed its mood."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
