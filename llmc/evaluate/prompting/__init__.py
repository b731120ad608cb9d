"""Chat templates, conversation forms and thoughts."""
