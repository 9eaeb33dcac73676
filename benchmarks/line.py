"""A slow line: a relay that passes so many bytes a second each way, however many connections share it.

python -m benchmarks.line HOST:PORT MEGABYTES_A_SECOND         (prints the address it listens at)
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PIECE_BYTES = 1 << 16


@dataclass
class Way:
    """One direction."""

    bytes_a_second: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All that comes until it ends, a piece after the other."""
        try:
            while piece := await reader.read(PIECE_BYTES):
                async with self.turn:
                    await asyncio.sleep(len(piece) / self.bytes_a_second)
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # whoever speaks here sees that for themselves
        finally:
            writer.close()


async def relay(host: str, port: int, bytes_a_second: float) -> None:
    up, down = Way(bytes_a_second), Way(bytes_a_second)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, port)
        await asyncio.gather(up.passed(reader, there[1]), down.passed(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def slow(url: str, megabytes_a_second: float) -> Iterator[str]:
    """The address of such a line to `url`, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.line", url.rpartition("/")[2], str(megabytes_a_second)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    HOST, _, PORT = sys.argv[1].partition(":")
    asyncio.run(relay(HOST, int(PORT), float(sys.argv[2]) * 1e6))
