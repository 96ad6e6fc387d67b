"""Base models: loading them, their defaults, and the small one that is shipped."""
