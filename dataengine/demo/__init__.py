"""`dataengine demo`: the whole pipeline on models of our own."""
