"""Text that was decoded by the wrong table somewhere on its way: `SÃ£o` for `São`."""

from __future__ import annotations


def mended(text: str) -> str:
    """The text with such letters put right. Of letters that ASCII has none can be wrong, so ftfy is not loaded."""
    if text.isascii():
        return text
    import ftfy  # noqa: PLC0415 - as above

    return str(ftfy.fix_encoding(text))
