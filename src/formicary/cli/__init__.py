"""The command `formicary`: one module per group of subcommands, each loaded when it is called."""
