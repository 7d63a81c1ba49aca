"""Where models come from: a file per `--source`, and what is known of a model besides its bytes."""
