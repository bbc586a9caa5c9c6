"""Rows of the MIS to bodies for Kiva, by files that the administrator edits."""
