"""Templates of job files: our own Go text/template dialect and sandboxed Jinja, both bounded."""
