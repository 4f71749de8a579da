"""Model files, and files that are replaced only by complete ones."""
