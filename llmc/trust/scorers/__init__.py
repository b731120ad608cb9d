"""What stored answers score: pure functions of text, in the three versions that published numbers were made with."""
