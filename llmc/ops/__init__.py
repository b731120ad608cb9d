"""Pure tensor functions: no modules, devices, files or logging."""
