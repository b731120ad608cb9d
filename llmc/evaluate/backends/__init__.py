"""Who answers: our engine or an lm-eval model class, and lm-eval's own tasks."""
