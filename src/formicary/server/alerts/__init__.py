"""Alerts: rules over the server's own figures, and what is done when one of them holds."""
