"""The request engine: plans, caches, likelihoods and generation."""
