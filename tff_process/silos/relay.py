"""A plain relay between connections to a listening socket and a port,
for silos that are reached on loopback without a tunnel.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Optional

_CHUNK = 1 << 18
MOST_CONNECTIONS = 100
# Who connects speaks first; who says nothing for so long holds a place no longer.
FIRST_SECONDS = 10.0


class Relay:
    """Relays in a thread of its own, which ends with the process.

    Args:
      listening: a socket that listens; it stays open when the relay stops.
      host, port: where each of its connections is led to.
    """

    def __init__(self, listening: socket.socket, host: str, port: int) -> None:
        self._listening, self._host, self._port = listening, host, port
        self._peers: dict[int, str] = {}
        self._loop = asyncio.new_event_loop()
        self._stop: Optional[asyncio.Event] = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()
        self._ready.wait()

    def received(self, connection: int, outward: bool, data: bytes) -> None:
        """Called with every piece that passes: the connection's number from 0, whether it comes
        from who connected, and the bytes.
        """

    def peer(self, port: int) -> str:
        """The address of who is led to the other port by a connection from this machine's `port`;
        empty where there is none.
        """
        return self._peers.get(port, "")

    def stop(self) -> None:
        """Ends the connections and the thread."""
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        count = 0
        active: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            number, count = count, count + 1
            if len(active) >= MOST_CONNECTIONS:
                writer.close()  # Each takes two descriptors, and without one more nothing works.
                return
            task = asyncio.current_task()
            assert task is not None
            active.add(task)
            try:
                await self._join(number, reader, writer)
            except asyncio.CancelledError:
                pass  # The relay stops.
            finally:
                active.discard(task)

        server = await asyncio.start_server(connected, sock=self._listening.dup(), limit=_CHUNK)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(active):
            task.cancel()
        await asyncio.gather(*active, return_exceptions=True)

    async def _join(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.closing(writer):
            try:
                there_reader, there_writer = await asyncio.open_connection(
                    self._host, self._port, limit=_CHUNK
                )
            except OSError:
                return  # Who connected sees the connection closed, as from a worker that is not up.
            own, peer = there_writer.get_extra_info("sockname"), writer.get_extra_info("peername")
            self._peers[own[1]] = str(peer[0])
            with contextlib.closing(there_writer):
                both = [
                    asyncio.ensure_future(self._pass_on(number, True, reader, there_writer)),
                    asyncio.ensure_future(self._pass_on(number, False, there_reader, writer)),
                ]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in both:
                        task.cancel()
                    await asyncio.gather(*both, return_exceptions=True)
                    self._peers.pop(own[1], None)

    async def _pass_on(
        self, number: int, outward: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            first = FIRST_SECONDS if outward else None
            while data := await asyncio.wait_for(reader.read(_CHUNK), first):
                first = None
                self.received(number, outward, data)
                writer.write(data)
                await writer.drain()
