"""How a button is pressed that must do a thing once: twice at once, in two tabs, in an old one, while the page is killed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.rig import patience
from testbed.rig.chromium import Window
from testbed.rig.killed_page import Killer, PageProcess

MANNERS = ("double click", "two tabs", "old tab")
NOTHING = re.compile(r"Nothing was (done|changed)|Rien n.a (été fait|changé)|No (se hizo|cambió) nada")
_MOST_PAGES = 12
_SOON = 15
"""Seconds. What is not answered by then is looked at again, and pressed again where it was not heard."""


@dataclass(frozen=True)
class Press:
    """One act: where its button may stand, which it is (a selector), what is typed beside it.

    `within` is the selector of the form's article where fields are filled, `count` how many such acts stand in the
    outbox.
    """

    name: str
    paths: Sequence[str]
    button: str
    count: Callable[[], int]
    typed: Mapping[str, str] = field(default_factory=dict)


def _is_answered(tab: Any, was: str) -> None:
    """Wait until another page came: each button leads to one of another address."""
    tab.wait_for_url(lambda url: url != was, wait_until="commit", timeout=_SOON * 1000)
    tab.wait_for_load_state()


@dataclass
class Presser:
    """Presses in one window, in which somebody is logged in, and remembers the old tabs."""

    window: Window
    page: PageProcess
    killer: Killer
    other: Any = None
    said: str = ""
    old: list[tuple[Press, Any]] = field(default_factory=list)

    def press(self, one: Press, *, manner: str, kill: str = "") -> None:
        """Until it is written down; once, whatever happens.

        `kill`: `before`, the page dies and is not back yet; `at`, it dies at the click; `after`, the relay dies as soon
        as it is written.
        """
        from playwright import sync_api as playwright  # noqa: PLC0415 - where there is no browser, none of it is needed

        before = one.count()
        if kill == "before":
            self.page.kill()
            with contextlib.suppress(playwright.Error):
                self.window.open(one.paths[0])
            self.page.begin()

        dies = [kill == "at"]  # the first time; then she presses again

        def is_done() -> bool:
            if one.count() > before:
                return True
            try:
                self._once(one, manner=manner, dies=bool(dies) and dies.pop())
            except playwright.Error as error:
                self.said = str(error)
                return one.count() > before  # an answer came in between, or none came
            return one.count() > before

        try:
            patience.eventually(is_done, within=40)
        except AssertionError:
            shown = self.window.page.inner_text("body")
            raise AssertionError(f"{one.name}, {manner}: never written down ({self.said}): {shown}") from None
        if kill == "after":
            self.killer.strike()
        assert one.count() == before + 1, f"{one.name}: one press is one act"

    def again(self) -> None:
        """Press in the old tabs what was pressed in others long ago: nothing is done."""
        for one, tab in self.old:
            before = one.count()
            was = tab.url
            self._fill(tab, one)
            self._shown(tab, one).click(no_wait_after=True)
            _is_answered(tab, was)
            assert NOTHING.search(tab.inner_text("body")), f"{one.name}: {tab.inner_text('body')}"
            assert one.count() == before, one.name
            tab.close()
        self.old.clear()

    def _once(self, one: Press, *, manner: str, dies: bool) -> None:
        tab = self.window.page
        if not self._find(tab, one):
            return
        if manner == "double click":
            self._fill(tab, one)
            was = tab.url
            self._shown(tab, one).dblclick(no_wait_after=True)
            if not self._dies(dies=dies):
                _is_answered(tab, was)
            return
        later = self._other() if manner == "two tabs" else self.window.page.context.new_page()
        if not self._find(later, one):
            return
        was, later_was = tab.url, later.url
        self._fill(tab, one)
        if manner == "two tabs":
            self._fill(later, one)
            self._shown(tab, one).click(no_wait_after=True)
            self._shown(later, one).click(no_wait_after=True)
            if self._dies(dies=dies):
                return
            _is_answered(later, later_was)
        else:
            self._shown(tab, one).click(no_wait_after=True)
            if self._dies(dies=dies):
                later.close()
                return
            self.old.append((one, later))
        _is_answered(tab, was)

    def _dies(self, *, dies: bool) -> bool:
        """Let the page die at the click, and be there again: nobody knows whether it was heard."""
        if dies:
            self.page.kill()
            self.page.begin()
        return dies

    def _other(self) -> Any:
        if self.other is None:
            self.other = self.window.page.context.new_page()
        return self.other

    def _find(self, tab: Any, one: Press) -> bool:
        """Open the page on which its button stands."""
        for path in one.paths:
            for number in range(1, _MOST_PAGES):
                more = f"{'&' if '?' in path else '?'}page={number}" if number > 1 else ""
                tab.goto(f"{self.window.url}{path}{more}")
                if tab.locator(one.button).count():
                    return True
                if not tab.locator(f'nav.pages a[href$="page={number + 1}"]').count():
                    break
        return False

    @staticmethod
    def _shown(tab: Any, one: Press) -> Any:
        """Its button, where somebody can see it: what is grave opens first."""
        button = tab.locator(one.button).first
        if not button.is_visible():
            tab.locator("details", has=tab.locator(one.button)).locator("summary").first.click()
        return button

    @staticmethod
    def _fill(tab: Any, one: Press) -> None:
        form = tab.locator(one.button).first.locator("xpath=ancestor::form")
        for name, text in one.typed.items():
            form.locator(f'input[name="{name}"]').fill(text)
