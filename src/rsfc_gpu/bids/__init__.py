"""Which files: the tables that come with a run."""
