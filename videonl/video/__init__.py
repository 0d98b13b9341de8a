"""A file becomes exact frames, or one error."""
