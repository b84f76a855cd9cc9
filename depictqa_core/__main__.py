"""Entry point of ``python -m depictqa_core`` and ``depictqa``: the command line, interruptible from the start."""

import sys


def main() -> int:
    """Run the command line with the arguments of this process and return the exit status."""
    from .runtime.streams import open_streams

    open_streams()
    try:
        from .cli.commands import main
    except KeyboardInterrupt:
        print("depictqa: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())
