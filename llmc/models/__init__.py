"""All knowledge of transformers: loading, the layout of each architecture, tiny models for tests."""
