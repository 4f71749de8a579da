"""How long a test waits for what ends by itself, unless it hangs. No test passes or fails by the speed of a machine."""

PATIENCE = 600  # seconds
