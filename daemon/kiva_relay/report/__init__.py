"""The month: the report of a period, and a line for each loan that Kiva expects in it."""
