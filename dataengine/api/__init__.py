"""What `import dataengine` offers: a corpus with its verbs, and the functions that learn from one."""
