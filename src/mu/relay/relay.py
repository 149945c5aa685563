"""The relay: workers cannot accept connections, so two workers that communicate both connect to it.

A worker's first message is `HELLO_STATE:<job>:<me>:<partner>`. From then on each of its messages goes, unchanged, to
the worker whose `<me>` is this worker's `<partner>`. Messages pass through a mailbox, which each name has whether
that worker is connected or not:

    sender --read--> mailbox of the partner --feed--> partner's connection

- If the partner is connected, the mailbox is fed to its connection while little output is queued there. While much is
  queued, the senders are not read from. So a slow receiver slows down its senders, and costs no memory but one
  message of each.
- If the partner is absent, the mailbox keeps its messages, up to limits for all mailboxes together and for those of
  one job. A sender that would exceed a limit gets an error and loses its connection, so that its part of the job fails
  at once; if the message were dropped silently, the partner would wait forever. Kept messages are delivered when the
  partner connects, even if the sender is gone by then, and dropped after a time.

One epoll serves all connections; each turn costs work only for those that are ready, and none can block another.
"""

import errno
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from OpenSSL import SSL

from mu.errors import ProtocolError, reason
from mu.relay.connections import Limits, Peer
from mu.relay.mailboxes import Mailboxes, Name, shown
from mu.tls import connection, listener
from mu.tls.listener import has_spoken
from mu.tls.unverified import Unverified
from mu.wire.socket_nb import SocketNB

HELLO = re.compile(rb"HELLO_STATE:([!-9;-~]{1,128}):(-?\d{1,9}):(-?\d{1,9})")
MAX_HELLO = 1024  # the most bytes of a hello
HIGH, LOW = 1 << 20, 1 << 18  # bytes queued for a receiver: senders are paused above HIGH, resumed below LOW
TICK = 0.5
REPORT_EVERY = 60.0
NOTES_A_PERIOD = 20
ACCEPTS_AT_ONCE = 256
GONE = select.EPOLLHUP | select.EPOLLERR


class Relay:
    """Relays between the connections of a listening socket, with TLS if there is a context, from `run` until `stop`.

    `say` is called with lines to print, from the thread that runs `run`: errors, and if there is anything to
    `report`, the status every minute.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: SSL.Context | None,
        limits: Limits,
        say: Callable[[str], None],
        report: bool = True,
    ) -> None:
        self._listener = listener
        self._context = context
        self._limits = limits
        self._say = say
        self._report = report
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._waking = threading.RLock()
        self._stopped = False
        self._accepting = False
        self._crowded = False  # whether the lack of room was reported
        self._peers: dict[int, Peer] = {}
        self._unverified = Unverified[Peer](limits.unverified, 0, has_spoken)
        self._named: dict[Name, Peer] = {}
        self._mailboxes = Mailboxes[Peer](limits.kept, limits.kept_of_job)
        self._passed = self._passed_bytes = 0
        self._notes = 0
        self._reported = ""
        self._next_report = time.monotonic() + REPORT_EVERY

    def stop(self) -> None:
        """Makes `run` return; may be called from any thread, or a signal handler."""
        self._stopped = True
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Relays until `stop`. At the end all connections and the listening socket are closed."""
        try:
            self._epoll.register(self._wake, select.EPOLLIN)
            self._accept_more(True)
            next_tick = time.monotonic() + TICK
            while not self._stopped:
                self._turn(max(0.0, next_tick - time.monotonic()))
                if time.monotonic() >= next_tick:
                    self._tick()
                    next_tick = time.monotonic() + TICK
            if self._report:
                self._say(f"stopped: {self.status()}")
        finally:
            for peer in list(self._peers.values()):
                with suppress(OSError):
                    peer.channel.do_write()
                peer.channel.close()
            self._listener.close()
            self._epoll.close()
            with self._waking:  # a closed descriptor may be reused at once
                wake, self._wake = self._wake, -1
                os.close(wake)

    def status(self) -> str:
        """Returns a line with the numbers of connections, waiting messages and bytes."""
        text = f"{len(self._peers)} connections"
        if self._unverified:
            text += f" ({len(self._unverified)} have yet to say hello)"
        return (
            f"{text}, {self._mailboxes.waiting} messages waiting ({_megabytes(self._mailboxes.kept)}), "
            f"{self._passed} passed on ({_megabytes(self._passed_bytes)})"
        )

    def _turn(self, timeout: float) -> None:
        for fd, events in self._epoll.poll(timeout):
            peer = self._peers.get(fd)
            if peer is not None:
                self._serve(peer, events)
            elif fd == self._listener.fileno() and self._accepting:
                self._accept()

    def _tick(self) -> None:
        """Does the periodic work: closes late unverified connections, drops old messages, reports."""
        now = time.monotonic()
        while (peer := self._unverified.oldest()) is not None and peer.deadline <= now:
            self._drop(peer, f"no hello within {self._limits.hello_timeout:g} s")
        for name, dropped in self._mailboxes.expire(now, self._named.__contains__):
            timeout = self._limits.tombstone_timeout
            self._note(f"dropped {dropped} messages for {shown(name)}, which has not come in {timeout:g} s")
        self._crowded = self._crowded and len(self._unverified) >= self._limits.unverified
        self._accept_more(True)
        if now >= self._next_report:
            self._next_report = now + REPORT_EVERY
            status = self.status()
            if self._notes > NOTES_A_PERIOD:
                status += f"; {self._notes - NOTES_A_PERIOD} more events like these"
            self._notes = 0
            if self._report and status != self._reported:
                self._say(status)
            self._reported = status

    def _note(self, text: str) -> None:
        """Prints a line about an event, unless there were too many of them."""
        self._notes += 1
        if self._notes <= NOTES_A_PERIOD:
            self._say(text)

    # Connections

    def _accept_more(self, wanted: bool) -> None:
        if wanted and not self._accepting:
            self._epoll.register(self._listener, select.EPOLLIN)
        elif self._accepting and not wanted:
            self._epoll.unregister(self._listener)
        self._accepting = wanted

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                to_go = self._unverified.to_go()
                if error.errno in (errno.EMFILE, errno.ENFILE) and to_go is not None:
                    self._drop(to_go, "there is no room for more connections")
                    continue
                self._note(f"cannot accept a connection: {reason(error)}")
                self._accept_more(False)  # accept again at the next tick
                return
            sock.setblocking(False)
            peer = Peer(sock, listener.shown(address), time.monotonic() + self._limits.hello_timeout)
            self._peers[peer.fd] = peer
            self._epoll.register(peer.fd, peer.mask)
            crowded_out = self._unverified.add(peer)
            if crowded_out is not None:
                self._crowd_out(crowded_out)

    def _crowd_out(self, peer: Peer) -> None:
        """Closes an unverified connection to make room for another; reported once until there is room again."""
        if not self._crowded:
            self._note(
                f"{len(self._unverified)} connections have yet to say hello: for each new one another is closed"
            )
        self._crowded = True
        del self._peers[peer.fd]
        peer.channel.close()

    def _begin(self, peer: Peer) -> None:
        """Sets up TLS, after the connection has sent data. Raises OSError."""
        peer.channel = SocketNB(connection.wrap(peer.sock, self._context))
        peer.channel.limit_message(self._limits.message)
        self._unverified.heard(peer)
        peer.begun = True

    def _serve(self, peer: Peer, events: int) -> None:
        """Reads and writes as much as is possible without waiting."""
        channel = peer.channel
        said = ""
        try:
            if not peer.begun:
                self._begin(peer)
                channel = peer.channel
            if not peer.ready:
                channel.do_handshake()
                peer.ready = not channel.handshaking
            if peer.ready:
                channel.do_write()
                if not peer.paused or events & GONE:
                    channel.do_read()
        except ProtocolError as error:
            said = str(error)
        except OSError as error:
            if not peer.begun:
                self._drop(peer, "it was closed before it was accepted")
                return
            said = reason(error) if peer.ready else connection.handshake_failure(error, self._context)
        while channel.want_handle and peer.fd in self._peers:
            self._take(peer, channel.dequeue_bytes())
        if self._peers.get(peer.fd) is not peer:
            return
        if channel.sock is None:
            if peer.name is None or said:
                self._drop(peer, said or "it closed before it said hello")
            else:
                self._forget(peer)
        elif peer.name is None and channel.unread > MAX_HELLO:
            self._drop(peer, "it sent too much before its hello")
        else:
            self._feed(peer)

    def _set_mask(self, peer: Peer) -> None:
        channel = peer.channel
        if channel.sock is None:  # it will be forgotten
            return
        wanted = 0 if peer.paused else select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self._epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def _drop(self, peer: Peer, reason: str) -> None:
        self._note(f"dropped the connection of {peer}: {reason}")
        self._forget(peer)

    def _refuse(self, peer: Peer, reason: str) -> None:
        """Drops a worker with an error message, so that it can tell its coordinator."""
        peer.channel.enqueue(f"REFUSED:{reason}")
        with suppress(OSError):
            peer.channel.do_write()
        self._drop(peer, reason)

    def _forget(self, peer: Peer) -> None:
        """Closes a connection; the kernel removes a closed descriptor from the epoll."""
        if peer.name is not None and peer.channel.unread:
            self._note(
                f"{peer} is gone in the middle of a message, of which {peer.channel.unread} bytes had come"
            )
        del self._peers[peer.fd]
        if peer in self._unverified:
            self._unverified.remove(peer)
        if peer.name is not None and self._named.get(peer.name) is peer:
            del self._named[peer.name]
            self._resume(peer.name)
        mailbox = self._mailboxes.get(peer.partner)
        if peer.paused and mailbox is not None:
            mailbox.senders.discard(peer)
        peer.channel.close()

    # Messages

    def _take(self, peer: Peer, data: bytes) -> None:
        """Handles one message: the hello, or one for the partner."""
        if peer.partner is not None:
            self._post(peer, peer.partner, data)
            return
        hello = HELLO.fullmatch(data)
        if hello is None:
            self._drop(peer, f"it said {data[:40]!r} instead of HELLO_STATE:<job>:<me>:<partner>")
            return
        job = hello[1].decode()
        name = job, int(hello[2])
        if name in self._named:
            self._refuse(peer, f"{shown(name)} is connected already")
            return
        peer.name, peer.partner = name, (job, int(hello[3]))
        self._unverified.remove(peer)
        self._named[name] = peer

    def _post(self, sender: Peer, name: Name, data: bytes) -> None:
        """Puts a message into the partner's mailbox."""
        receiver = self._named.get(name)
        refusal = self._mailboxes.refusal(name, data) if receiver is None else ""
        if refusal:
            self._refuse(sender, refusal)
            return
        self._mailboxes.put(name, data, time.monotonic() + self._limits.tombstone_timeout)
        if receiver is not None:
            self._feed(receiver)
            here = self._named.get(name) is receiver
            if here and (self._mailboxes.get(name) is not None or receiver.channel.unsent > HIGH):
                self._mailboxes.open(name).senders.add(sender)
                sender.paused = True

    def _feed(self, peer: Peer) -> None:
        """Sends what is in a connection's mailbox, and resumes its senders when the mailbox is empty."""
        name, channel = peer.name, peer.channel
        mailbox = self._mailboxes.get(name)
        if name is not None and mailbox is not None:
            try:
                while mailbox.messages and channel.unsent <= HIGH:
                    data = self._mailboxes.take(name)
                    self._passed += 1
                    self._passed_bytes += len(data)
                    channel.enqueue(data)
                    channel.do_write()
            except OSError as error:
                self._drop(peer, reason(error))
                return
            if not mailbox.messages and channel.unsent <= LOW:
                self._resume(name)
        self._set_mask(peer)

    def _resume(self, name: Name) -> None:
        """Reads again from the senders that were paused for a mailbox."""
        for sender in self._mailboxes.let_go(name):
            sender.paused = False
            self._set_mask(sender)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
