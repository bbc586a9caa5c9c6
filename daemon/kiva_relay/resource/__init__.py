"""What Kiva accepts: three kinds of thing, their fields and checks. Nothing about transport."""
