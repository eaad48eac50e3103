"""Entry point of the command `router`."""

from router.cli.main import router


def main() -> None:
    """Runs the command line."""
    router(prog_name="router")


if __name__ == "__main__":
    main()
