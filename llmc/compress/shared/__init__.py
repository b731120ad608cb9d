"""What several methods or formats share."""
