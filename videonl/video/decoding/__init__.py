"""A file is decoded: its container, the table of its frames, and the ways to read them exactly."""
