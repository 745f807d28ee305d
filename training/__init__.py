"""Recipe that trains the built-in models ``nano`` and ``nano-draft``."""
