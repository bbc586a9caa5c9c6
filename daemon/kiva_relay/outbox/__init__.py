"""What we owe Kiva, durably: entries, attempts, holds, and what Kiva answered."""
