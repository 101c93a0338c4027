"""Models and data that need no download: for first steps, bug reports and tests of programs."""
