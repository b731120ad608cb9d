"""How commands look: options, tables, progress, help and completion."""
