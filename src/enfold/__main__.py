"""``python -m enfold``: the command line."""

from enfold.cli.main import main

if __name__ == "__main__":
    main()
