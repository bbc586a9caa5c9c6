"""What the administrator sets: read, checked, and explained from one typed model."""
