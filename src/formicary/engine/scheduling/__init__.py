"""Scheduling as a pipeline of small pure policies over a view: gates, order, place."""
