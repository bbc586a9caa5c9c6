"""The page as a process that is killed and begun again at the same address; and who kills it, and the relay."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.rig import patience
from testbed.rig.relay_process import RelayProcess

_ANSWERS = "The page is at "


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class PageProcess:
    """`kiva-relay page` with a configuration whose `page.listen` names a port."""

    config: Path
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Begin a life; back when it answers."""
        log = self.config.with_name("page.log")
        with log.open("ab") as written:
            command = [sys.executable, "-m", "kiva_relay", "page", "--config", str(self.config)]
            process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=dict(os.environ))
        self.process, self.lives = process, self.lives + 1

        def answers() -> bool:
            said = log.read_text(encoding="utf-8")
            assert process.poll() is None, said
            return said.count(_ANSWERS) == self.lives

        patience.eventually(answers)

    def kill(self) -> None:
        """As the kernel does, when there is no memory left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Killer:
    """Kills a relay at random, and in the middle of what Kiva is asked for; begins it again at once."""

    relay: RelayProcess
    asked: Callable[[], int]
    """How many requests Kiva has had."""
    dice: random.Random
    kills: int = 0
    _ready: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The relay runs, and is killed until the block ends; then it is asked to stop."""
        before = self._ready = self.relay.log.count(" ready ")
        self.relay.begin()
        self._over.clear()
        patience.eventually(lambda: self.relay.log.count(" ready ") > before)
        killer = threading.Thread(target=self._work, daemon=True)
        killer.start()
        try:
            yield
        finally:
            self.rests()
            patience.joined(killer)
            self.relay.end()

    def rests(self) -> None:
        """Nobody kills it any more."""
        self._over.set()

    def strike(self) -> None:
        """Now."""
        with self._lock:
            process = self.relay.process
            assert process is not None
            process.kill()
            process.wait()
            self.kills += 1
            self._ready = self.relay.log.count(" ready ")
            self.relay.begin()

    def _works(self) -> bool:
        """Has this life begun? One that dies before it has done anything proves nothing."""
        return self.relay.log.count(" ready ") > self._ready

    def _work(self) -> None:
        while not self._over.wait(self.dice.uniform(3, 6)):
            if not self._works():
                continue
            if self.dice.random() < 0.5:
                was = self.asked()
                while self.asked() == was and not self._over.wait(0.02):
                    pass
            if not self._over.is_set():
                self.strike()
