"""`python -m formicary` is the command `formicary`."""

from formicary.cli.main import main

if __name__ == "__main__":
    main()
