"""Who changed in the MIS, and what it looks like now."""
