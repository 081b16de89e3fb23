"""Generated from examples/todo/proto by `python -m examples.todo.generate`."""
