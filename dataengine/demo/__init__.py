"""`dataengine demo`: the whole main job on models of our own."""
