"""Output folders: whose one is, who writes there now, and how a new result takes an old one's place."""
