"""Entry point of the `analyzer` command."""

from analyzer.cli import analyzer


def main() -> None:
    """Runs the command line."""
    analyzer(prog_name="analyzer")


if __name__ == "__main__":
    main()
