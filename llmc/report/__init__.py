"""From runs to one page, a Markdown summary, JUnit and an exit code."""
