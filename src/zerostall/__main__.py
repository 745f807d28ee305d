"""`python -m zerostall` is the `zerostall` command."""

from zerostall.cli import main

if __name__ == "__main__":
    main()
