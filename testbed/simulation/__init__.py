"""The real relay under a scheduler of our own, in a world that the dice rule."""
