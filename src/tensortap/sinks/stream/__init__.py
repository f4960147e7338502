"""Pictures for people who watch while it happens: what is shown, encoded once, and handed to whoever serves it."""
