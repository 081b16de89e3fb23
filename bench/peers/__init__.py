"""Other engines measured beside ours: their environments, the services they need and one runner for each."""
