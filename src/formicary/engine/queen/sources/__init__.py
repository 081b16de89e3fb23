"""Where events come from by themselves: queues and object stores, one module each."""
