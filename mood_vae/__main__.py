"""`python -m mood_vae` is the `mood-vae` command."""

from mood_vae.cli import main

if __name__ == "__main__":
    main()
