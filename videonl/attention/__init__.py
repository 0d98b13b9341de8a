"""What a non-local block looks at."""
