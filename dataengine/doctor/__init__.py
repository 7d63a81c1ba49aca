"""What works here: this machine, and the hubs that the sources read."""
