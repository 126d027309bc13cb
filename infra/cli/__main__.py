"""``python -m infra.cli``: the command where no script is installed."""

from infra.cli.main import main

if __name__ == "__main__":
    main()
