"""The walk over blocks: what runs, what is collected, what is written and kept for a restart."""
