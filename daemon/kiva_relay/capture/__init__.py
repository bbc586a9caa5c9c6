"""From changed keys to what is owed to Kiva."""
