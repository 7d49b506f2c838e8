"""A network that loses answers: a proxy before a service that lets requests through and cuts the line before some answers."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

_PIECE = 1 << 16


class Proxy:
    """Forwards connections to `target`; while `losing(request head)` says so, the answer never arrives."""

    def __init__(self, target: str, losing: Callable[[bytes], bool]):
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._losing = losing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as service, contextlib.suppress(OSError):
            lost = threading.Event()
            answers = threading.Thread(target=self._answer, args=(service, client, lost), daemon=True)
            answers.start()
            while request := client.recv(_PIECE):
                if request[:8].split(b" ")[0] in (b"GET", b"PUT", b"POST", b"HEAD", b"DELETE") and self._losing(request):
                    lost.set()
                service.sendall(request)

    @staticmethod
    def _answer(service: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while answer := service.recv(_PIECE):
                if lost.is_set():
                    # The service has done what it was asked to; nobody hears of it.
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def losing_answers(target: str, to: bytes, times: int) -> Iterator[Proxy]:
    """A proxy that loses the answers to the first `times` requests that begin with `to`."""
    left = [times]

    def losing(request: bytes) -> bool:
        if left[0] and request.startswith(to) and b"restype=container" not in request.split(b"\r\n", 1)[0]:
            left[0] -= 1
            return True
        return False

    proxy = Proxy(target, losing)
    try:
        yield proxy
    finally:
        proxy.close()
        assert not left[0], "no answer was lost, so nothing was tested"
