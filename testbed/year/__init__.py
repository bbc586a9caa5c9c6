"""A year of reports, played: an institution, its tellers and coordinator, Kiva's stand-in, and a judge of each month."""
