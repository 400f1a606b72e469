"""Exchange: makes the connections of an agent, those that it dials and those that it is offered.

Whoever can dial, dials: the agent of the lower rank at once, the other one a little later, so that
one open direction is enough. What breaks is dialled again after a pause that grows to a second, at
every address that is known by then; names are looked up anew each time.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping

from gala.gossip.membership import PeerState
from gala.gossip.message import Refusal, Refused
from gala.gossip.tcp.addresses import is_loopback
from gala.gossip.tcp.guard import Guard
from gala.gossip.tcp.hello import Asks, Hello, Rejected, hear_hello, say_hello, say_no
from gala.gossip.tcp.link import Link, Shared
from gala.gossip.tcp.listener import Caller
from gala.gossip.tcp.peer import Peer
from gala.launch.pages import Address

HELLO_S = 5.0
"""Whoever has not said hello by then is shown out."""
DIAL_S = 2.5
FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 1.0
LEFT_PAUSE_S = 5.0
"""Between two tries to find an agent that has said goodbye."""
SECOND_DIALS_S = 1.0
"""The agent of the higher rank dials so much later."""

NEARBY = "NEARBY"
"""Said instead of hello: both agents are on one host, where they need no network."""


class Exchange:
    """Connections of one agent to its neighbours.

    Args:
        hello: what it says of itself.
        peers: its neighbours, by rank.
        shared: of all connections.
        guard: lets in who belongs to the run.
        known: what is told to whoever joins, as a frame.
        nearby: whether agents of this host are left to another transport.
        abroad: whether other hosts are dialled.
    """

    def __init__(
        self,
        hello: Hello,
        peers: Mapping[int, Peer],
        shared: Shared,
        guard: Guard,
        known: Callable[[], bytes],
        *,
        nearby: bool,
        abroad: bool = True,
    ) -> None:
        self._hello, self._peers, self._shared = hello, peers, shared
        self._guard, self._known, self._nearby, self._abroad = guard, known, nearby, abroad
        self._notes = shared.notes
        self._dice = random.Random(hello.rank)  # the common ones belong to environments
        self._seen_at: dict[int, Address] = {}
        self._no: set[tuple[int, str]] = set()
        self._dialers = [
            threading.Thread(target=self._keep, args=(peer,), name="tcp dialer", daemon=True)
            for peer in peers.values()
        ]

    def start(self) -> None:
        """Begin to dial."""
        for dialer in self._dialers:
            dialer.start()

    def close(self, deadline: float) -> None:
        """Let the links say goodbye, at the longest to ``deadline``; then they are cut."""
        for peer in self._peers.values():
            with peer.changed:
                peer.changed.notify_all()
                if peer.link is not None:
                    peer.link.wake()
        for peer in self._peers.values():
            with peer.changed:
                while peer.link is not None and (left := deadline - time.monotonic()) > 0:
                    peer.changed.wait(left)
                if peer.link is not None:
                    peer.link.cut()

    def welcome(self, caller: Caller) -> None:
        """Talk to whoever has dialled, in the thread of the connection, which is closed then."""
        with contextlib.ExitStack() as stack:
            stack.callback(caller.settled)
            stack.callback(caller.sock.close)
            deadline = time.monotonic() + HELLO_S
            try:
                safe = caller.sock = self._guard.as_server(caller.sock)
                stack.callback(safe.close)
                hello = hear_hello(safe, deadline)
            except Asks:
                return self._tell(safe)
            except (OSError, Refused, Rejected):
                return self._notes.refuse_connection("a connection", Refusal.STRANGER)
            try:
                answer = self._answer(safe, hello)
                if answer is not None:
                    return say_no(safe, answer, deadline)
                say_hello(safe, self._hello, deadline)
                self._seen_at[hello.rank] = safe.getpeername()[0], hello.port
            except OSError:
                return None
            caller.settled()
            self._carry(safe, hello, dialled=False)

    def _tell(self, sock: socket.socket) -> None:
        """Tell whoever joins, and was let in, what it would have from the store."""
        with contextlib.suppress(OSError):
            sock.settimeout(HELLO_S)
            sock.sendall(self._known())

    def _answer(self, sock: socket.socket, hello: Hello) -> str | None:
        """Why whoever said ``hello`` gets none; None: it does."""
        try:
            self._require_welcome(sock, hello)
        except Refused as refused:
            known = hello.rank in self._peers  # a stranger must not fill the book with names
            who = f"agent {hello.rank}" if known else "a connection"
            self._notes.refuse_connection(who, refused.reason)
            return refused.reason.name
        if self._nearby and hello.host == self._hello.host:
            self._peers[hello.rank].nearby = True
            return NEARBY
        return None

    def _require_welcome(self, sock: socket.socket, hello: Hello) -> None:
        hello.require_kin(self._hello)
        if hello.rank not in self._peers or not self._guard.may_be(sock, hello.rank):
            raise Refused(Refusal.RANK)

    def _keep(self, peer: Peer) -> None:
        """See that there is a connection to ``peer``, as long as the agent lives."""
        if self._hello.rank > peer.rank:
            self._wait_for_link(peer, SECOND_DIALS_S)
        pause = FIRST_PAUSE_S
        while not self._shared.closing() and not peer.nearby:
            with peer.changed:
                if peer.link is not None:
                    peer.changed.wait()
                    continue
            if self._dial(peer):
                pause = FIRST_PAUSE_S
            # both ends must not dial at the same moments for ever
            left = peer.state is PeerState.LEFT
            self._wait_for_link(
                peer, LEFT_PAUSE_S if left else pause * self._dice.uniform(0.5, 1.0)
            )
            pause = min(2 * pause, MAX_PAUSE_S)

    def _wait_for_link(self, peer: Peer, timeout_s: float) -> None:
        with peer.changed:
            peer.changed.wait_for(
                lambda: peer.link is not None or self._shared.closing(), timeout_s
            )

    def _dial(self, peer: Peer) -> bool:
        """Try every address of ``peer``; True after a connection that has ended."""
        known = dict.fromkeys(self._shared.book.addresses(peer.rank))
        if peer.rank in self._seen_at:
            known[self._seen_at[peer.rank]] = None
        for address in known:
            if not self._abroad and not is_loopback(address[0]):
                continue
            try:
                with socket.create_connection(address, DIAL_S) as sock:
                    if self._talk(sock, peer):
                        return True
            except ConnectionRefusedError:
                peer.find_nobody()
            except ssl.SSLError as broken:
                if not isinstance(broken, ssl.SSLEOFError):
                    self._notes.refuse_connection(f"agent {peer.rank}", Refusal.STRANGER)
            except OSError:
                continue
            except Rejected as no:
                self._hear_no(peer, no.reason)
            except Refused as refused:
                self._notes.refuse_connection(f"agent {peer.rank}", refused.reason)
        return False

    def _talk(self, sock: socket.socket, peer: Peer) -> bool:
        """Say and hear hello, then carry; whether it came to that."""
        deadline = time.monotonic() + HELLO_S
        sock.settimeout(HELLO_S)
        with self._guard.as_client(sock) as safe:
            say_hello(safe, self._hello, deadline)
            hello = hear_hello(safe, deadline)
            self._require_welcome(safe, hello)
            if hello.rank != peer.rank:
                raise Refused(Refusal.RANK)
            return self._carry(safe, hello, dialled=True)

    def _carry(self, sock: socket.socket, hello: Hello, *, dialled: bool) -> bool:
        """Carry frames until the connection ends; False if another one is kept instead."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._peers[hello.rank]
        preferred = dialled == (self._hello.rank < hello.rank)
        link = Link(sock, peer, self._shared, incarnation=hello.incarnation, preferred=preferred)
        if not peer.admit(link):
            link.close()
            return False
        try:
            link.run()
        except Refused as refused:
            self._notes.refuse_connection(f"agent {hello.rank}", refused.reason)
        except OSError:
            return True
        finally:
            peer.lose(link)
        return True

    def _hear_no(self, peer: Peer, word: str) -> None:
        if word == NEARBY:
            peer.nearby = True
        elif (peer.rank, word) not in self._no and word in Refusal.__members__:
            self._no.add((peer.rank, word))
            why = Refusal[word]
            self._notes.events.append(("refused", f"agent {peer.rank} refuses this one: {why}"))
