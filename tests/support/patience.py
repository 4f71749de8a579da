"""Time limit for something that ends unless it hangs. No result of a test depends on the speed of the machine."""

PATIENCE = 600  # seconds
