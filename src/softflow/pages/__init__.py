"""What people look at: the report of a run and the page of a store, self-contained HTML."""
