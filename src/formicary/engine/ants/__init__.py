"""The worker: an ant's session with the queen, and one executor per method.

An :class:`~formicary.engine.ants.ant.Ant` joins three parts. The *session* speaks with the queen and keeps the
lease; the *foreman* decides which granted attempt runs when and never runs more than the ant has slots; the
*executors* run them (SHELL, PYTHON, HTTP). Results wait in the *outbox* until the queen says that they are committed.
"""
