"""Every type and kind of table that an engine has, mapped and changed, to see which changes are noticed and which wait."""
