"""Tracking: the journal that gets every record of a run first, and the delivery of it to trackers."""
