"""``python -m sdopt`` is the command line."""

from sdopt.cli.main import main

if __name__ == "__main__":
    main()
