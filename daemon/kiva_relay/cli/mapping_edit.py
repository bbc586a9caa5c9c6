"""`kiva-relay mapping edit`: a copy in an editor, checked, compared, and put into force only when a person says yes."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from kiva_relay.capture import revision
from kiva_relay.cli import comparison, frame, mappings, reload
from kiva_relay.clock import SystemClock
from kiva_relay.config import shipped
from kiva_relay.config.settings import Settings
from kiva_relay.config.value import OWN_MAPPINGS
from kiva_relay.errors import ConfigurationError, RelayError, UsageError, counted
from kiva_relay.mapping import example
from kiva_relay.mapping.plan import Document
from kiva_relay.service import opening

_EDITORS = ("sensible-editor", "nano", "vi")


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The mapping.")],
    config: frame.Config = None,
    *,
    yes: frame.Yes = False,
    show_names: Annotated[bool, typer.Option("--show-names", help="Show names and stories, too.")] = False,
) -> int:
    """Edit a mapping as visudo does: a copy in $EDITOR; then the check, the examples, and what it would change.

    It takes effect when you say yes, at once and for the running relay too. Else nothing changes and your text is
    kept beside the mapping, as NAME.yaml.draft; the next `mapping edit` begins with it. Of a ready-made mapping you
    write only what differs (`extends:`), into a file of your own.
    """
    settings = frame.load(config)
    old = mappings.one(name, mappings.load(settings))
    target = _target(settings, old)
    draft = target.with_name(f"{old.name}.yaml.draft")
    frame.header(settings)
    begun = old.written if target == old.file else _beginning(old)
    with _copy(draft.read_text(encoding="utf-8") if draft.exists() else begun, target) as copy:
        if draft.exists():
            frame.say(f"Begins with the text that was kept in {draft}.")
        while True:
            _edit(copy)
            if copy.read_text(encoding="utf-8") == begun:
                frame.say("Nothing changed.")
                return 0
            new = _examined(settings, old, copy, show_names=show_names)
            answer = "y" if yes and new is not None else _asked(good=new is not None)
            while answer == "d" and new is not None:
                comparison.show(comparison.compare(settings, old, new), new, everything=True, show_names=show_names)
                answer = _asked(good=True)
            if answer == "e":
                continue
            if answer != "y" or new is None:
                _keep(copy, draft)
                frame.say(f"Nothing changed. Your text is kept in {draft}")
                return 1
            if _meanwhile(old, target):
                _keep(copy, draft)
                raise UsageError(
                    f"{target} was changed by somebody else meanwhile; nothing was overwritten.",
                    hint=f"Your text is kept in {draft}; begin again: kiva-relay mapping edit {old.name}",
                )
            _put(copy, target, like=old.file)
            draft.unlink(missing_ok=True)
            return _in_force(settings, new)


def _target(settings: Settings, old: Document) -> Path:
    """Where the edited file goes: in place of the old one, or into a folder of one's own beside the ready-made set."""
    ready_made = shipped.folder("mappings")
    if not old.file.resolve().is_relative_to(ready_made.resolve()):
        return old.file
    own = [folder for folder in settings.mapping_folders if not folder.resolve().is_relative_to(ready_made.resolve())]
    if own:
        return own[-1] / old.file.name
    raise UsageError(
        f"{old.name} is ready-made: an upgrade would take your edit away.",
        hint=f"A folder of your own takes what differs:   mkdir {shlex.quote(str(settings.file.parent / OWN_MAPPINGS))}"
        if len(settings.mappings) == 1
        else "A folder of your own takes what differs. In config.yaml:   mappings: [fineract, mappings]",
    )


def _beginning(old: Document) -> str:
    """What the first edit of a ready-made mapping begins with: nothing differs yet, and all of it can be seen."""
    lines = [f"# {line}".rstrip() for line in old.text.splitlines()]
    said = [
        "# Write only what differs; all else stays as in the ready-made mapping and gets its corrections.",
        "# null takes a part out, as in   image_encoded: null",
        f"extends: {old.sources.files[0].called}",
        "",
        "# The ready-made mapping, to copy from:",
    ]
    return "\n".join([*said, *lines]) + "\n"


def _meanwhile(old: Document, target: Path) -> bool:
    """Whether somebody else wrote the file while this person was editing."""
    if target != old.file:
        return target.exists()
    return not target.exists() or target.read_text(encoding="utf-8") != old.written


@contextlib.contextmanager
def _copy(text: str, target: Path) -> Iterator[Path]:
    """A copy in the same folder, which no relay takes for a mapping; gone afterwards."""
    handle, written = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".edit.yaml", dir=target.parent)
    os.close(handle)
    copy = Path(written)
    try:
        copy.write_text(text, encoding="utf-8")
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _edit(copy: Path) -> None:
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = shlex.split(chosen) if chosen else [next(filter(shutil.which, _EDITORS), "vi")]
    try:
        done = subprocess.run([*editor, str(copy)], check=False)  # noqa: S603 - the person's own editor
    except OSError as error:
        raise UsageError(f"The editor {editor[0]} cannot be started: {error.strerror}.", hint="EDITOR=nano") from None
    if done.returncode != 0:
        raise UsageError(f"The editor ended with exit code {done.returncode}; nothing changed.")


def _examined(settings: Settings, old: Document, copy: Path, *, show_names: bool) -> Document | None:
    """Check, examples and difference, each said; None when it cannot be put into force."""
    new, known = mappings.read_copy(settings, old, copy)
    if new is None:
        _say(ConfigurationError(known), copy, old)
        return None
    try:
        with contextlib.closing(opening.open_mis(settings, clock=SystemClock())) as mis:
            wrong = mappings.verified([new], mis, known=known)
            bad = wrong is not None and mappings.severe(wrong.mistakes)
            if not bad:
                frame.say("  check      ok")
                _examples(new, old)
                comparison.show(comparison.compare(settings, old, new, mis), new, show_names=show_names)
    except ConfigurationError as error:  # the examples cannot be read
        _say(error, copy, old)
        return None
    except RelayError as error:
        if mappings.severe(known):
            _say(ConfigurationError(known), copy, old)
        frame.say(f"  book       not compared: {error}")
        return None
    if wrong is not None and bad:
        _say(wrong, copy, old)
    return None if bad else new


def _say(wrong: ConfigurationError, copy: Path, old: Document) -> None:
    frame.say(str(wrong).replace(str(copy), str(old.file)))


def _examples(new: Document, old: Document) -> None:
    results = example.run(new, file=old.examples)
    passed = sum(result.passed for result in results)
    frame.say(f"  examples   {passed} of {counted(len(results), 'example')} pass")
    of_base = example.run_of_base(new, own=old.examples)
    differ = [result.name for result in of_base if not result.passed]
    if of_base:
        frame.say(f"             {len(differ)} of {counted(len(of_base), 'example')} of {of_base[0].base} differ")
        frame.say("\n".join(f"             differs: {name}" for name in differ))
    for result in results:
        if not result.passed:
            frame.say(f"             {old.examples.name}:{result.line}: {result.name}")
            frame.say("\n".join(f"               {line}" for line in result.diff.splitlines()[2:]))


def _asked(*, good: bool) -> str:
    """What to do: `y` (only what is good), `e`, `d`, or `n`."""
    known = (
        "[y] yes   [e] edit again   [d] show all   [N] leave everything as it is"
        if good
        else "[e] edit again   [N] leave everything as it is"
    )
    frame.say()
    if not sys.stdin.isatty():
        return "n"
    sys.stdout.write(f"  {'Put it in force?' if good else 'It cannot be put in force.'}  {known}  ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()[:1]
    if answer in ("o", "s"):
        answer = "y"
    return answer if answer == "e" or (good and answer in ("y", "d")) else "n"


def _keep(copy: Path, draft: Path) -> None:
    shutil.copyfile(copy, draft)


def _put(copy: Path, target: Path, *, like: Path) -> None:
    """In one step: a reader sees the old file or the new one, complete, whatever happens to the machine."""
    stat = like.stat()
    copy.chmod(stat.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(copy, stat.st_uid, stat.st_gid)
    with copy.open("rb") as stream:
        os.fsync(stream.fileno())
    copy.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _in_force(settings: Settings, new: Document) -> int:
    """The running relay takes it at once; it need not ask again what this person has just seen."""
    try:
        with frame.outbox(settings) as outbox:
            with outbox.begin() as tx:
                revision.seen(tx, new)
            return reload.ask(outbox, SystemClock())
    except UsageError as error:
        frame.say(f"Saved. It takes effect when a relay starts: {error}")
        return 0
