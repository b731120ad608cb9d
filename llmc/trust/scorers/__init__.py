"""What stored answers score: pure functions of text, in the three published versions and our own."""
