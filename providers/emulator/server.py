"""The HTTP server: connections, framing, the request log, and faults on the wire."""

import gzip
import select
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import urlsplit

from providers.emulator import control
from providers.emulator.batches import Batch
from providers.emulator.bodies import IncomingBody, UnknownCoding, beginning, distorted, mangled
from providers.emulator.faults import Fault, FaultBook, Orders
from providers.emulator.wire import Call, Problem, Reply, Route
from providers.emulator.world import Patience, World

_LOGGED = 100_000  # requests kept in the log
_SECRET = {"authorization", "x-api-key", "api-key", "x-amz-security-token"}


class Service(Protocol):
    """A provider, as the server needs it."""

    name: str

    def routes(self) -> list[Route]: ...

    def claims(self, call: Call) -> bool: ...  # whether it is meant, whatever the path; asked in the order of services

    def check(self, call: Call) -> Reply | None: ...

    def sorry(self, status: int, fault: Fault) -> Reply: ...

    def not_found(self, call: Call) -> Reply: ...

    def headers(self) -> dict[str, str]: ...

    def batches(self) -> list[Batch]: ...

    def word(self, batch: Batch, patience: Patience) -> str: ...


@dataclass(slots=True)
class RequestRecord:
    """One HTTP request. `status` is None while it runs and when the connection was dropped; keys are masked."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int | None = None
    size: int = 0
    at: float = 0.0


@dataclass(slots=True)
class Site:
    """Everything the handlers share."""

    world: World
    faults: FaultBook
    services: list[tuple[Service, list[Route]]]
    control: list[Route]
    log: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=_LOGGED))

    def find(self, call: Call) -> tuple[Service, Route | None, tuple[str, ...]]:
        """Who serves the call. Of two that share a path, and for a path that nobody has, it is who claims the call."""
        matches = [
            (service, route, args)
            for service, routes in self.services
            for route in routes
            if (args := route.match(call.method, call.path)) is not None
        ]
        wanted = next(service for service, _ in self.services if service.claims(call))
        for service, route, args in sorted(matches, key=lambda match: match[0] is not wanted):
            return service, route, args
        return wanted, None, ()


class Server(ThreadingHTTPServer):
    """Threads, one per connection; all of them are let go at `stop`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, site: Site) -> None:
        self.site = site
        self._open: set[socket.socket] = set()
        self._resetting: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def start(self) -> None:
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True, name="emulator"
        ).start()

    def stop(self) -> None:
        """Close every connection and the listening socket."""
        self.shutdown()
        for connection in list(self._open):
            _end(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        if request in self._resetting:
            self._resetting.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def reset(self, connection: socket.socket) -> None:
        """Make the connection's close a reset (RST)."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._resetting.add(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    server: Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_GET  # noqa: N815 -- the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- http.server's name
        """The log is `Site.log`."""

    def _serve(self) -> None:
        site = self.server.site
        call = self._call()
        record = RequestRecord(
            call.method, call.path, call.query_string, _masked(call.headers), at=site.world.clock.now()
        )
        if call.path.startswith(control.PREFIX):
            self._send(_handled(site.control, call))
            return
        site.log.append(record)
        orders = site.faults.strike(call.method, call.path)
        if orders.has("drop_before"):
            self._drop()
            return
        reply = self._answer(replace(call, faults=orders.batch + orders.reply, behind_s=orders.behind_s), orders)
        call.body.drain()
        record.size = call.body.raw_size
        self._reply(reply, orders, record)

    def _call(self) -> Call:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = IncomingBody(
            self.rfile,
            int(headers.get("content-length", 0)),
            chunked=headers.get("transfer-encoding", "").lower() == "chunked",
            coding=headers.get("content-encoding", "").lower(),
        )
        host = headers.get("host", f"127.0.0.1:{self.server.server_port}")
        return Call(self.command, parts.path, parts.query, headers, body, host)

    def _answer(self, call: Call, orders: Orders) -> Reply:
        """The reply, with the provider's headers; an ordered error comes with or without the work being done."""
        service, route, args = self.server.site.find(call)
        wire = orders.wire
        if orders.has("not_found"):
            reply = service.not_found(call)
        elif wire is not None and wire.action == "status":
            if wire.work:
                _worked(service, route, replace(call, args=args))
            reply = self._ordered(service, wire)
        else:
            reply = _worked(service, route, replace(call, args=args))
        reply.headers = {**service.headers(), **reply.headers}
        return reply

    def _ordered(self, service: Service, fault: Fault) -> Reply:
        status = fault.status or 500
        reply = service.sorry(status, fault)
        if fault.body is not None:
            reply = Reply(status, text=fault.body.encode(), headers={"content-type": "text/html"})
        reply.headers.update(_retry_after(fault.retry_after, self.server.site.world.clock.now()))
        return reply

    def _reply(self, reply: Reply, orders: Orders, record: RequestRecord) -> None:
        """Put the reply on the wire, or what was ordered instead."""
        if orders.has("accept_then_drop", "accept_then_timeout"):
            if orders.wire is not None and orders.wire.action == "accept_then_timeout":
                self._hold(orders.wire.seconds)
            self._drop()
            return
        record.status = reply.status
        reply.document = distorted(reply.document, orders.reply)
        if reply.chunks is not None:
            reply.chunks = mangled(reply.chunks, orders.reply)
        if orders.wire is not None and orders.wire.action == "cut":
            self._send_cut(reply, orders.wire)
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.chunks is None:
            body, headers = self._packed(reply)
            self._head(reply, {**headers, "content-length": str(len(body))})
            self.wfile.write(body)
        else:
            self._head(reply, {"transfer-encoding": "chunked"})
            for chunk in reply.chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _send_cut(self, reply: Reply, fault: Fault) -> None:
        """Part of the body, then the end of the connection, as if the network had failed."""
        whole = b"".join(reply.chunks) if reply.chunks is not None else reply.encoded()
        part = beginning([whole], fault)
        if fault.framing == "chunked":
            self._head(reply, {"transfer-encoding": "chunked"})
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if part else b"")
        elif fault.framing == "length":
            self._head(reply, {"content-length": str(len(whole))})
            self.wfile.write(part)
        else:
            self._head(reply, {"connection": "close"})
            self.wfile.write(part)
        self.wfile.flush()
        self.close_connection = True

    def _packed(self, reply: Reply) -> tuple[bytes, dict[str, str]]:
        body = reply.encoded()
        if "gzip" in self.headers.get("accept-encoding", "") and len(body) > 200:
            return gzip.compress(body, 1), {"content-encoding": "gzip"}
        return body, {}

    def _head(self, reply: Reply, framing: Mapping[str, str]) -> None:
        self.send_response_only(reply.status)
        headers = {"content-type": "application/json", **reply.headers, **framing}
        headers["date"] = formatdate(self.server.site.world.clock.now(), usegmt=True)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drop(self) -> None:
        self.server.reset(self.connection)
        self.close_connection = True

    def _hold(self, seconds: float) -> None:
        """Say nothing until the client gives up, the (real) time is over, or the server stops."""
        select.select([self.connection], [], [], seconds)


def _masked(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: "***" if name in _SECRET else value for name, value in headers.items()}


def _retry_after(text: str, now: float) -> dict[str, str]:
    """The header that a fault's `retry_after` stands for."""
    form, _, value = text.rpartition(":")
    if form == "ms":
        return {"retry-after-ms": value}
    if form == "date":
        return {"retry-after": formatdate(now + float(value), usegmt=True)}
    return {"retry-after": value} if value else {}


def _worked(service: Service, route: Route | None, call: Call) -> Reply:
    """Do what the call asks for."""
    refused = service.check(call)
    if refused is not None:
        return refused
    return service.not_found(call) if route is None else _run(route, call)


def _handled(routes: Iterable[Route], call: Call) -> Reply:
    for route in routes:
        args = route.match(call.method, call.path)
        if args is not None:
            return _run(route, replace(call, args=args))
    return Reply(404, {"error": f"no such page: {call.path}"})


def _run(route: Route, call: Call) -> Reply:
    try:
        return route.handler(call)
    except Problem as problem:
        return problem.reply
    except UnknownCoding:
        return Reply(400, {"error": {"type": "invalid_request_error", "message": "unknown content-encoding"}})
