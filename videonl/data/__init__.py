"""Data: records of a video set, exact frames out of files, sampling, transforms."""
