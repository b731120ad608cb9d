"""How a compressed layer is stored: one format a file."""
