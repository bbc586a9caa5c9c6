"""The real relay, killed again and again while the network fails."""
