"""A load generator: keep-alive connections that each ask again as soon as they are answered. Prints one JSON line.

python load.py PORT PATH CONNECTIONS SECONDS < body
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop


class Client(asyncio.Protocol):
    def __init__(self, request: bytes, latencies: list[float], ends: float) -> None:
        self.request, self.latencies, self.ends = request, latencies, ends
        self.done = asyncio.get_running_loop().create_future()
        self.rest = b""
        self.failed = 0

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        self.begun = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data):
        self.rest += data
        head = self.rest.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.rest.lower().find(b"content-length:")
        length = int(self.rest[at + 15 : self.rest.find(b"\r\n", at)])
        if len(self.rest) < head + 4 + length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self.begun)
        self.failed += self.rest[9:12] != b"200"
        self.rest = self.rest[head + 4 + length :]
        if now >= self.ends:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
        else:
            self.ask()

    def connection_lost(self, error):
        if not self.done.done():
            self.failed += 1
            self.done.set_result(None)


async def main(port: int, path: str, connections: int, seconds: float, body: bytes) -> None:
    request = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\nauthorization: Bearer good\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop, latencies, begun = asyncio.get_running_loop(), [], time.perf_counter()
    clients = []
    for _ in range(connections):
        client = Client(request, latencies, begun + seconds)
        clients.append(client)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
    await asyncio.gather(*(client.done for client in clients))
    took = time.perf_counter() - begun
    latencies.sort()
    print(
        json.dumps(
            {
                "rps": round(len(latencies) / took, 1),
                "p50_ms": round(latencies[len(latencies) // 2] * 1000, 3),
                "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 3),
                "failed": sum(client.failed for client in clients),
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.stdin.buffer.read()))
