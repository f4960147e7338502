"""What a browser and a monitoring system see of a run: HTTP, in a thread of its own. Needs the extra `web`."""
