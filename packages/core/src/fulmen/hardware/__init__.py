"""Hardware: which device trains, in which precision, and how processes share the work."""
