"""An account service whose transfers happen once: the key, both entries and the answer are one commit."""
