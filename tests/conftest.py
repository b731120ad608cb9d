"""Kernels run in triton's interpreter here. It must be asked for before anything imports triton."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
