"""What tests stand on: a MIS, a stand-in for Kiva, and a relay between them, whole or in parts."""
