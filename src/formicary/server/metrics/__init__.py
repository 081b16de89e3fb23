"""What a server tells Prometheus: a catalogue of metrics, their collection at scrape time, the page `/metrics`."""
