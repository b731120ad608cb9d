"""The knowledge suite `kick`: one task a file."""
