"""`python -m ratsvc` is `ratsvc`."""

from ratsvc.cli.main import main

if __name__ == "__main__":
    main()
